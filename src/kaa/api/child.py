"""The process of a container as its parent sees it: by a pidfd, and by that alone.

waitid(2) with P_PIDFD collects this child and no other, so that `subprocess`,
asyncio and whatever else starts processes here keep theirs.
"""

import os
import select
import signal
import threading
import time
import weakref

UNKNOWN = 255  # somebody else has collected it: the status that asyncio reports as well


class Child:
    """A process and its end. Every method may be called from any thread.

    Takes over `pidfd`. With `ours` False it may be somebody else's child: then
    its end is seen, and `returncode` stays None.
    """

    def __init__(self, pid: int, pidfd: int, *, ours: bool = True) -> None:
        self.pid = pid
        self.pidfd = pidfd
        self.ended = False
        self.returncode: int | None = None
        self._ours = ours
        self._collect = True
        self._lock = threading.Lock()
        self._close = weakref.finalize(self, os.close, pidfd)

    def poll(self) -> bool:
        """Whether it has ended; `returncode` is set then, negative for a signal."""
        with self._lock:
            if not self.ended and self._close.alive:
                self._look()
            return self.ended

    def _look(self) -> None:
        if self._collect:
            try:
                found = os.waitid(os.P_PIDFD, self.pidfd, os.WEXITED | os.WNOHANG)
            except ChildProcessError:
                self._collect = False
            else:
                if found is not None:
                    exited = found.si_code == os.CLD_EXITED
                    self.returncode = found.si_status if exited else -found.si_status
                    self.ended = True
                return
        if self._readable():
            self.returncode = UNKNOWN if self._ours else None
            self.ended = True

    def _readable(self) -> bool:
        waiting = select.poll()
        waiting.register(self.pidfd, select.POLLIN)
        return bool(waiting.poll(0))

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for the end, at most `timeout` seconds; False when the time is over."""
        if self.poll():
            return True
        mine = self.dup()
        if mine < 0:
            return self.ended
        try:
            waiting = select.poll()
            waiting.register(mine, select.POLLIN)
            end = None if timeout is None else time.monotonic() + timeout
            while True:
                left = None if end is None else max(0.0, end - time.monotonic()) * 1000
                if waiting.poll(left):
                    self.poll()
                    return True
                if end is not None and time.monotonic() >= end:
                    return self.poll()
        finally:
            os.close(mine)

    def dup(self) -> int:
        """A pidfd that nobody else closes, the caller's; -1 if `close` was first."""
        with self._lock:
            return os.dup(self.pidfd) if self._close.alive else -1

    def send_signal(self, number: int) -> None:
        """Send a signal; nothing happens if it has ended."""
        with self._lock:
            if self.ended or not self._close.alive:
                return
            try:
                signal.pidfd_send_signal(self.pidfd, number)
            except ProcessLookupError:
                pass

    def close(self) -> None:
        """Give the descriptor back. What is not known by now will never be."""
        with self._lock:
            self._close()


_known: "weakref.WeakValueDictionary[tuple[int, int], Child]" = weakref.WeakValueDictionary()
_known_lock = threading.Lock()


def remember(child: Child, start_time: int) -> None:
    """Let `find` give this object to whoever loads the same container in this process."""
    with _known_lock:
        _known[child.pid, start_time] = child


def find(pid: int, start_time: int) -> Child | None:
    """The object of this process's own child, if it is one."""
    with _known_lock:
        return _known.get((pid, start_time))
