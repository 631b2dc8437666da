"""A running process of a container, with the controls of `subprocess.Popen`."""

import io
import os
import selectors
import signal
import threading
import time
from collections.abc import Callable
from typing import IO, Any, Self

from kaa.api.child import UNKNOWN, Child
from kaa.api.errors import OutputLimitExceeded, TimeoutExpired
from kaa.api.stdio import Stdio

_CHUNK = 65536
_DRAIN_S = 1.0


class Text:
    """How bytes become text, if they do: `subprocess`'s text, encoding and errors."""

    def __init__(self, text: bool, encoding: str | None, errors: str | None) -> None:
        self.wanted = bool(text or encoding or errors)
        self.encoding = encoding or "utf-8"
        self.errors = errors or "strict"

    def decode(self, data: bytes) -> bytes | str:
        """`data`, or the text that it is, with the line ends of Python."""
        if not self.wanted:
            return data
        text = data.decode(self.encoding, self.errors)
        return text.replace("\r\n", "\n").replace("\r", "\n")

    def encode(self, data: bytes | str) -> bytes:
        """What is to be written for `data`."""
        return data.encode(self.encoding, self.errors) if isinstance(data, str) else bytes(data)

    def file(self, fd: int, mode: str) -> IO[Any]:
        """A file object that owns `fd`."""
        raw: Any = os.fdopen(fd, mode)
        if not self.wanted:
            return raw  # type: ignore[no-any-return]
        return io.TextIOWrapper(raw, self.encoding, self.errors, write_through=True)


class Process:
    """A process of a container.

    `stdin`, `stdout` and `stderr` are file objects where they are pipes, else
    None. Every method may be called from any thread; only one thread may
    `communicate`. Takes over the child and our ends of `stdio`.

    As a context manager it closes the pipes and waits for the end, after
    having killed the process if the block was left by an exception.
    """

    def __init__(
        self,
        args: list[str],
        child: Child,
        stdio: Stdio,
        *,
        text: Text | None = None,
        max_output: int | None = None,
        on_end: Callable[[], None] | None = None,
        on_signal: Callable[[int], None] | None = None,
    ) -> None:
        self.args = args
        self.pid = child.pid
        self.child = child
        self.text = text or Text(False, None, None)
        self.max_output = max_output
        self.stdin = self._file(stdio.stdin, "wb")
        self.stdout = self._file(stdio.stdout, "rb")
        self.stderr = self._file(stdio.stderr, "rb")
        stdio.stdin = stdio.stdout = stdio.stderr = -1
        self._on_end = on_end
        self._on_signal = on_signal or child.send_signal
        self._ending = threading.RLock()
        self._ended = False
        self._conversation: _Conversation | None = None

    def _file(self, fd: int, mode: str) -> IO[Any] | None:
        return self.text.file(fd, mode) if fd >= 0 else None

    @property
    def returncode(self) -> int | None:
        """The exit status once the end was noticed, -N for signal N; None before."""
        return self.child.returncode if self._ended else None

    def poll(self) -> int | None:
        """The exit status if it has ended, else None."""
        if self.child.poll():
            self.finish()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end and return the exit status. Raises TimeoutExpired."""
        if not self.child.wait(timeout):
            raise TimeoutExpired(self.args, timeout or 0.0)
        self.finish()
        return UNKNOWN if self.child.returncode is None else self.child.returncode

    def finish(self) -> None:
        """The process has ended: what has to be done then is done, once."""
        with self._ending:
            if self._ended:
                return
            self._ended = True
            if self._on_end:
                self._on_end()
            self.child.close()

    def send_signal(self, number: int) -> None:
        """Send a signal; nothing happens if the process has ended."""
        if not self.child.ended:
            self._on_signal(number)

    def terminate(self) -> None:
        """SIGTERM, which the first process of a container gets only if it handles it."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def communicate(
        self, input: bytes | str | None = None, timeout: float | None = None
    ) -> tuple[Any, Any]:
        """Feed `input` to stdin, read both outputs to their ends, and wait for the process.

        Returns stdout and stderr, None for what is no pipe. Raises
        TimeoutExpired, after which it may be called again, and
        OutputLimitExceeded, after the process was killed.
        """
        if self._conversation is None:
            self._conversation = _Conversation(self, self.text.encode(input or b""))
        talk = self._conversation
        end = None if timeout is None else time.monotonic() + timeout
        if not talk.go_on(end):
            raise TimeoutExpired(self.args, timeout or 0.0, *talk.said())
        self.wait(None if end is None else max(0.0, end - time.monotonic()))
        if talk.over_limit:
            raise OutputLimitExceeded(self.args, self.max_output or 0, *talk.said())
        return talk.said()

    def kill_and_drain(self) -> tuple[Any, Any]:
        """Kill it, wait for its end, and return what it wrote before."""
        self.kill()
        self.wait()
        talk = self._conversation
        if talk is None:
            return None, None
        talk.go_on(time.monotonic() + _DRAIN_S)  # somebody it left behind may hold the pipes
        talk.close()
        return talk.said()

    def close_pipes(self) -> None:
        """Close our ends of the pipes."""
        for file in (self.stdin, self.stdout, self.stderr):
            if file is not None:
                try:
                    file.close()
                except OSError:
                    pass  # nobody reads what was still to be written

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is not None:
            self.kill()
        self.close_pipes()
        self.wait()


class _Conversation:
    """Input on its way in, output on its way out; goes on where a timeout interrupted it."""

    def __init__(self, process: Process, data: bytes) -> None:
        self._process = process
        self._data = memoryview(data)
        self._chunks: dict[int, list[bytes]] = {}
        self._size = 0
        self.over_limit = False
        self._selector = selectors.PollSelector()
        if not process.child.ended:
            self._selector.register(process.child.pidfd, selectors.EVENT_READ)
        for number, file in ((1, process.stdout), (2, process.stderr)):
            if file is not None:
                self._chunks[number] = []
                os.set_blocking(file.fileno(), False)
                self._selector.register(file.fileno(), selectors.EVENT_READ, (number, file))
        stdin = process.stdin
        if stdin is not None:
            try:
                stdin.flush()
            except BrokenPipeError:
                pass
            if data:
                os.set_blocking(stdin.fileno(), False)
                self._selector.register(stdin.fileno(), selectors.EVENT_WRITE, (0, stdin))
            else:
                self._close(stdin)

    def go_on(self, end: float | None) -> bool:
        """Until every pipe is at its end; False when the time is over."""
        while any(key.data is not None for key in self._selector.get_map().values()):
            left = None if end is None else end - time.monotonic()
            if left is not None and left <= 0:
                return False
            for key, _ in self._selector.select(left):
                if key.data is None:
                    # what the end of a container's first process sets in motion ends the pipes
                    self._selector.unregister(key.fileobj)
                    self._process.poll()
                else:
                    self._turn(*key.data)
        return True

    def _turn(self, number: int, file: IO[Any]) -> None:
        try:
            if number == 0:
                self._data = self._data[os.write(file.fileno(), self._data[:_CHUNK]) :]
                if not self._data:
                    self._forget(file)
                return
            chunk = os.read(file.fileno(), _CHUNK)
        except BlockingIOError:
            return
        except BrokenPipeError:
            self._forget(file)
            return
        if not chunk:
            self._forget(file)
            return
        self._size += len(chunk)
        limit = self._process.max_output
        if limit is not None and self._size > limit:
            chunk = chunk[: max(0, len(chunk) - (self._size - limit))]
            if not self.over_limit:
                self.over_limit = True
                self._process.kill()
        self._chunks[number].append(chunk)

    def _forget(self, file: IO[Any]) -> None:
        self._selector.unregister(file.fileno())
        self._close(file)

    def _close(self, file: IO[Any]) -> None:
        try:
            file.close()
        except BrokenPipeError:
            pass

    def close(self) -> None:
        """Read no more."""
        self._process.close_pipes()
        self._selector.close()

    def said(self) -> tuple[Any, Any]:
        """What was read of stdout and stderr."""
        decode = self._process.text.decode
        first, second = (
            decode(b"".join(self._chunks[number])) if number in self._chunks else None
            for number in (1, 2)
        )
        return first, second
