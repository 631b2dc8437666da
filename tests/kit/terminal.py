"""Someone at a terminal: types, reads, resizes the window."""

import fcntl
import os
import re
import select
import struct
import subprocess
import termios
import time
from collections.abc import Sequence

from .runtime import ENVIRONMENT


class Terminal:
    """The master of a pty: what a person sees, and a keyboard."""

    def __init__(self, master: int) -> None:
        self.master = master
        self.seen = ""

    def type(self, text: str) -> None:
        """Press these keys; `\\x03` is Ctrl-C."""
        os.write(self.master, text.encode())

    def line(self, text: str) -> None:
        self.type(text + "\n")

    def expect(self, pattern: str, seconds: float = 15.0) -> re.Match[str]:
        """Read until the pattern (a regular expression) appears; forget what was before it."""
        end = time.monotonic() + seconds
        while True:
            found = re.search(pattern, self.seen)
            if found:
                self.seen = self.seen[found.end() :]
                return found
            left = end - time.monotonic()
            alive = left > 0 and self._read(left)
            assert alive, f"{pattern!r} did not come, but {self.seen!r}"

    def resize(self, rows: int, columns: int) -> None:
        """Change the size of the window; the foreground process group gets SIGWINCH."""
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def _read(self, seconds: float) -> bool:
        """Read something; False at the end (EIO: no process has the other side)."""
        ready, _, _ = select.select([self.master], [], [], seconds)
        if not ready:
            return False
        try:
            data = os.read(self.master, 65536)
        except OSError:
            return False
        self.seen += data.decode(errors="replace")
        return bool(data)

    def close(self) -> None:
        os.close(self.master)


class Session(Terminal):
    """A command on a terminal of its own, in a session of its own."""

    def __init__(self, argv: Sequence[str], rows: int = 24, columns: int = 80) -> None:
        master, slave = os.openpty()
        super().__init__(master)
        self.resize(rows, columns)
        self._before = termios.tcgetattr(slave)
        self.process = subprocess.Popen(
            argv,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=dict(ENVIRONMENT),
            start_new_session=True,
            # The child makes its standard input the session's controlling terminal.
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        self._slave = slave

    def wait(self, seconds: float = 20.0) -> int:
        """The exit code; what is still printed meanwhile is read."""
        end = time.monotonic() + seconds
        while self.process.poll() is None:
            assert time.monotonic() < end, f"does not end; saw {self.seen!r}"
            self._read(0.05)
        while self._read(0.0):
            pass
        return self.process.returncode

    @property
    def restored(self) -> bool:
        """Whether the terminal's settings are again what they were at the start."""
        return termios.tcgetattr(self._slave) == self._before

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self._slave)
        super().close()
