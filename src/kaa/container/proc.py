"""Facts about a process, from /proc/PID/stat: proc_pid_stat(5)."""

import posix


class Process:
    """A process as it is now: `state` is the letter of ps, `start_time` tells reused pids apart."""

    __slots__ = ("start_time", "state")

    def __init__(self, state: str, start_time: int) -> None:
        self.state = state
        self.start_time = start_time

    @property
    def alive(self) -> bool:
        """False for zombies and the dead."""
        return self.state not in "ZXx"


def stat(pid: int) -> Process | None:
    """The process, or None if there is none."""
    try:
        fd = posix.open(f"/proc/{pid}/stat", posix.O_RDONLY | posix.O_CLOEXEC)
    except (FileNotFoundError, ProcessLookupError):
        return None
    try:
        text = posix.read(fd, 4096)
    except ProcessLookupError:
        return None
    finally:
        posix.close(fd)
    # the command's name may hold anything, so count from its closing parenthesis
    fields = text[text.rindex(b")") + 2 :].split()
    return Process(fields[0].decode(), int(fields[19]))


def is_same(pid: int, start_time: int) -> bool:
    """Whether the process of that time still lives."""
    if pid <= 0:
        return False
    found = stat(pid)
    return found is not None and found.alive and found.start_time == start_time


def reap(pid: int, start_time: int) -> None:
    """If that process is a zombie of ours (of a library's user), take its status."""
    found = stat(pid)
    if found is not None and found.start_time == start_time and not found.alive:
        try:
            posix.waitpid(pid, posix.WNOHANG)
        except ChildProcessError:
            pass


def open_pidfd(pid: int, start_time: int) -> int:
    """A pidfd of exactly that process; ProcessLookupError if it is gone."""
    fd = posix.pidfd_open(pid)
    if is_same(pid, start_time):
        return fd
    posix.close(fd)
    raise ProcessLookupError(pid)
