"""Standard input, output and error of a container's process, in the words of `subprocess`."""

import os
import subprocess
from typing import IO, TypeAlias

PIPE, STDOUT, DEVNULL = subprocess.PIPE, subprocess.STDOUT, subprocess.DEVNULL

Stream: TypeAlias = "int | IO[bytes] | IO[str] | None"


class Stdio:
    """Three descriptors for the process (`theirs`), and our ends of what is a pipe (-1: none).

    None shares our own stream of that number. `close` gives everything back
    that was not taken; `close_theirs` is for after the start.
    """

    def __init__(self, stdin: Stream, stdout: Stream, stderr: Stream) -> None:
        self._opened: list[int] = []
        self.stdin = self.stdout = self.stderr = -1
        try:
            zero, self.stdin = self._input(stdin)
            one, self.stdout = self._output(stdout, 1)
            two, self.stderr = (one, -1) if stderr == STDOUT else self._output(stderr, 2)
        except BaseException:
            self.close()
            raise
        self.theirs = (zero, one, two)

    def _input(self, stream: Stream) -> tuple[int, int]:
        if stream == PIPE:
            theirs, ours = os.pipe()
            self._opened.append(theirs)
            return theirs, ours
        return self._plain(stream, 0), -1

    def _output(self, stream: Stream, number: int) -> tuple[int, int]:
        if stream == STDOUT:
            raise ValueError("STDOUT is for stderr only")
        if stream == PIPE:
            ours, theirs = os.pipe()
            self._opened.append(theirs)
            return theirs, ours
        return self._plain(stream, number), -1

    def _plain(self, stream: Stream, number: int) -> int:
        if isinstance(stream, int) and stream >= 0:
            return stream
        if stream is None and is_open(number):
            return number
        if stream is None or stream == DEVNULL:
            null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
            self._opened.append(null)
            return null
        if isinstance(stream, int):
            raise ValueError(f"{stream} is no descriptor, and not PIPE, STDOUT or DEVNULL")
        return stream.fileno()

    def close_theirs(self) -> None:
        """The process has its ends: close ours of the same."""
        while self._opened:
            os.close(self._opened.pop())

    def close(self) -> None:
        """Close everything."""
        self.close_theirs()
        for name in ("stdin", "stdout", "stderr"):
            fd = getattr(self, name)
            if fd >= 0:
                os.close(fd)
            setattr(self, name, -1)


def is_open(fd: int) -> bool:
    """Whether there is such a descriptor."""
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True
