"""Signals to many processes. Only imported where the kernel cannot kill a cgroup by itself."""

import posix
from _signal import pidfd_send_signal

from kaa.errors import CgroupError, strerror

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_PIDFDS = 256  # held at once


def signal_all(pids: list[int], signal: int, members: "Callable[[], list[int]]") -> None:
    """Signal `pids`. `members` lists the cgroup anew once we hold their pidfds (pidfd_open(2)):
    a pid that has become another process's meanwhile is left alone."""
    for at in range(0, len(pids), _PIDFDS):
        handles: dict[int, int] = {}
        try:
            for pid in pids[at : at + _PIDFDS]:
                handle = _unless_gone(posix.pidfd_open, pid)
                if handle is not None:
                    handles[pid] = handle
            for pid in handles.keys() & members():
                _unless_gone(pidfd_send_signal, handles[pid], signal)
        finally:
            for handle in handles.values():
                posix.close(handle)


def _unless_gone(call: "Callable[..., Any]", *args: int) -> "Any":
    """The result of the call, or None if the process has ended."""
    try:
        return call(*args)
    except ProcessLookupError:
        return None
    except OSError as error:
        raise CgroupError(
            f"signal a process of the container: {strerror(error.errno or 0)}",
            call=call.__name__,
            errno=error.errno,
        ) from None
