"""`kill`: a signal for the container's init, or for everything that is in it."""

import posix
from _signal import SIGKILL, pidfd_send_signal

from kaa.container import record as records
from kaa.container.proc import open_pidfd
from kaa.container.signals import parse
from kaa.container.state import cgroup_of, is_alive
from kaa.errors import CgroupError, KaaError, NotRunning, strerror

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kaa.compile.inputs import Json
    from kaa.container.runtime import Runtime


def kill(runtime: "Runtime", id: str, signal: str = "SIGTERM", all: bool = False) -> None:
    """Send `signal` (a name or a number) to the container's init.

    With `all`, a container that has ended is no error. SIGKILL reaches every
    process of a container that has no pid namespace of its own, whose end
    would take them along. Raises NotRunning for a stopped container.
    """
    record = records.load(runtime.root, id)
    number = parse(signal)
    if number == SIGKILL and not record.get("own_pid_namespace", True):
        cgroup = cgroup_of(record)
        if cgroup is not None and (is_alive(record) or cgroup.pids()):
            cgroup.kill_all()
            _send(record, number)
            return
    if not _send(record, number):
        if all:
            return
        raise NotRunning
    if number == SIGKILL:
        cgroup = cgroup_of(record)
        if cgroup is not None and cgroup.frozen():
            # on v1 a frozen process dies only when it thaws
            try:
                cgroup.thaw()
            except CgroupError as error:  # a cgroup above is frozen: it dies when that thaws
                runtime.warn(str(error))


def _send(record: "Json", signal: int) -> bool:
    try:
        pidfd = open_pidfd(record.get("pid") or 0, record.get("start_time") or 0)
    except (ProcessLookupError, ValueError, OSError):
        return False
    try:
        pidfd_send_signal(pidfd, signal)
    except ProcessLookupError:
        return False
    except OSError as error:
        raise KaaError(f"send signal {signal}: {strerror(error.errno or 0)}") from error
    finally:
        posix.close(pidfd)
    return True


def kill_everything(record: "Json") -> None:
    """SIGKILL the init and whatever is in the container's cgroup."""
    _send(record, SIGKILL)
    cgroup = cgroup_of(record)
    if cgroup is not None:
        cgroup.kill_all()
