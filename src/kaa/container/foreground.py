"""Waiting for a process in the foreground: signals passed on, its terminal relayed.

Without a terminal nothing is copied: the process has the caller's stdio. With
one, the caller's terminal is put into raw mode and bytes go both ways; a
change of its size is passed on.
"""

import posix
from _signal import (
    SIG_BLOCK,
    SIG_SETMASK,
    SIGCHLD,
    SIGURG,
    SIGWINCH,
    pidfd_send_signal,
    pthread_sigmask,
    sigtimedwait,
    sigwaitinfo,
)
from errno import EAGAIN, EINTR, EIO
from fcntl import ioctl
from select import POLLERR, POLLHUP, POLLIN, POLLOUT, poll

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_TIOCGWINSZ, _TIOCSWINSZ = 0x5413, 0x5414
# what a fault raises in ourselves, and what cannot be blocked, is left alone
_PASSED_ON = frozenset(range(1, 65)) - {4, 5, 7, 8, 9, 11, 19, 31, 32, 33}
_NOT_FOR_IT = (SIGCHLD, SIGURG, SIGWINCH)
_CHUNK = 65536


class Foreground:
    """From before the container's process exists until after its end.

    Signals are blocked at once, so that none is lost; `close` puts everything
    back as it was.
    """

    def __init__(self) -> None:
        self._mask = pthread_sigmask(SIG_BLOCK, _PASSED_ON)
        self._master = -1
        self._pid = 0
        self._pidfd = -1
        self._saved: list[Any] | None = None

    def adopt(self, master: int, pid: int) -> None:
        """Take over the terminal's master (or -1) of the child `pid`; raw mode begins."""
        self._pid = pid
        self._pidfd = posix.pidfd_open(pid)
        self._master = master
        if master >= 0:
            self._resize()
            self._make_raw()

    def _make_raw(self) -> None:
        import termios

        try:
            self._saved = termios.tcgetattr(0)
        except termios.error:
            return  # not a terminal
        mode = [*self._saved[:6], list(self._saved[6])]
        mode[0] &= ~(
            termios.IGNBRK | termios.BRKINT | termios.PARMRK | termios.ISTRIP
            | termios.INLCR | termios.IGNCR | termios.ICRNL | termios.IXON
        )  # fmt: skip
        mode[1] &= ~termios.OPOST
        mode[2] = mode[2] & ~(termios.CSIZE | termios.PARENB) | termios.CS8
        mode[3] &= ~(termios.ECHO | termios.ECHONL | termios.ICANON | termios.ISIG | termios.IEXTEN)
        mode[6][termios.VMIN], mode[6][termios.VTIME] = 1, 0
        termios.tcsetattr(0, termios.TCSANOW, mode)

    def _resize(self) -> None:
        try:
            size = ioctl(0, _TIOCGWINSZ, b"\0" * 8)
            ioctl(self._master, _TIOCSWINSZ, size)
        except OSError:
            pass  # stdin is no terminal: the size stays as configured

    def close(self) -> None:
        """Cooked mode, the old signal mask, no descriptors."""
        if self._saved is not None:
            import termios

            termios.tcsetattr(0, termios.TCSADRAIN, self._saved)
            self._saved = None
        for fd in (self._master, self._pidfd):
            if fd >= 0:
                posix.close(fd)
        self._master = self._pidfd = -1
        pthread_sigmask(SIG_SETMASK, self._mask)

    def wait(self) -> int:
        """The exit code of the process, 128 + n for signal n."""
        return self._wait_with_terminal() if self._master >= 0 else self._wait_for_signals()

    def _wait_for_signals(self) -> int:
        while True:
            code = self._reap()
            if code is not None:
                return code
            self._pass_on(sigwaitinfo(_PASSED_ON).si_signo)

    def _pass_on(self, signal: int) -> None:
        if signal == SIGWINCH and self._master >= 0:
            self._resize()
        elif signal not in _NOT_FOR_IT:
            try:
                pidfd_send_signal(self._pidfd, signal)
            except ProcessLookupError:
                pass

    def _reap(self) -> int | None:
        """The process's exit code if it has ended; only our child is reaped, not the library's."""
        try:
            pid, status = posix.waitpid(self._pid, posix.WNOHANG)
        except ChildProcessError:
            return 255
        if not pid:
            return None
        if posix.WIFSIGNALED(status):
            return 128 + posix.WTERMSIG(status)
        return posix.WEXITSTATUS(status)

    def _wait_with_terminal(self) -> int:
        relay = Relay(self._master)
        while True:
            ended = relay.turn(self._pidfd)
            while True:
                found = sigtimedwait(_PASSED_ON, 0)
                if found is None:
                    break
                self._pass_on(found.si_signo)
            if ended:
                code = self._reap()
                if code is not None:
                    relay.drain()
                    return code


class Relay:
    """Bytes between our stdin and stdout and a terminal's master."""

    def __init__(self, master: int) -> None:
        self._master = master
        self._input = b""
        self._reading = True
        self._hung_up = False
        posix.set_blocking(master, False)

    def turn(self, pidfd: int) -> bool:
        """Wait for something to do, 50 ms at most (signals are waiting too), and do it.

        True once the process behind `pidfd` has ended.
        """
        waiting = poll()
        waiting.register(pidfd, POLLIN)
        if not self._hung_up:
            waiting.register(self._master, POLLIN | (POLLOUT if self._input else 0))
        if self._reading and not self._input:
            waiting.register(0, POLLIN)
        ended = False
        for fd, event in waiting.poll(50):
            if fd == pidfd:
                ended = True
            elif fd == self._master:
                if event & POLLOUT:
                    self._write_input()
                if event & (POLLIN | POLLHUP | POLLERR):
                    self._copy_output()
            else:
                self._read_input()
        if self._hung_up:
            self._copy_output()  # somebody may have opened the other end again
        return ended

    def _read_input(self) -> None:
        try:
            self._input = posix.read(0, _CHUNK)
        except OSError as error:
            if error.errno in (EAGAIN, EINTR):
                return
            self._input = b""
        if not self._input:
            self._reading = False
            # what the line discipline takes for the end of a file
            self._input = b"\x04"
        self._write_input()

    def _write_input(self) -> None:
        try:
            self._input = self._input[posix.write(self._master, self._input) :]
        except BlockingIOError:
            pass
        except OSError:
            self._input = b""

    def _copy_output(self) -> bool:
        try:
            data = posix.read(self._master, _CHUNK)
        except BlockingIOError:
            self._hung_up = False
            return False
        except OSError as error:
            if error.errno != EIO:  # nobody holds the other end
                raise
            self._hung_up = True
            return False
        self._hung_up = False
        while data:
            data = data[posix.write(1, data) :]
        return True

    def drain(self) -> None:
        """What was still on its way when the process ended."""
        while self._copy_output():
            pass
