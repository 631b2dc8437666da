"""`start`: open the gate at which the created container waits."""

import posix

from kaa.container import hooks
from kaa.container import record as records
from kaa.container.console import connect
from kaa.container.proc import open_pidfd
from kaa.container.state import cgroup_of, document, limit_processes, status
from kaa.errors import HookError, InitDied, KaaError, NotRunning
from kaa.program.op import Op
from kaa.program.progress import Stopped, await_end, check_executed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from kaa.compile.inputs import Json
    from kaa.container.notify_socket import NotifySocket
    from kaa.container.runtime import Runtime

_REFUSALS = {
    "creating": "cannot start a container that is still being created",
    "running": "cannot start an already running container",
    "stopped": "cannot start a container that has stopped",
    "paused": "cannot start a container in the paused state",
}


def start(runtime: "Runtime", id: str) -> None:
    """Start the process of the created container `id`; returns once it was executed.

    Raises NotRunning unless the container is `created`, and the error of the
    step that failed (a hook, a limit, execve itself).
    """
    with records.Lock(runtime.root, id):
        record = records.load(runtime.root, id)
        now = status(runtime.root, record)
        if now != "created":
            raise NotRunning(_REFUSALS[now])
        path = records.directory(runtime.root, id)
        config = records.load_config(runtime.root, id)
        notify = _notify_socket(runtime, record, path)
        progress = posix.open(f"{path}/progress", posix.O_RDWR | posix.O_CLOEXEC)
        try:
            _open_gate(runtime, config, record, path, progress)
            run_poststart(runtime, config, record)
        except BaseException:
            if notify:
                notify.close()
            raise
        finally:
            posix.close(progress)
    if notify:
        _await_ready(notify, record)


def _notify_socket(runtime: "Runtime", record: "Json", path: str) -> "NotifySocket | None":
    """Where the process will say that it is ready, if somebody wants to know."""
    if not record.get("notify") or not runtime.caller.environ.get("NOTIFY_SOCKET"):
        return None
    from kaa.container.notify_socket import NotifySocket

    return NotifySocket(runtime, path)


def _await_ready(notify: "NotifySocket", record: "Json") -> None:
    try:
        pidfd = open_pidfd(record["pid"], record["start_time"])
    except ProcessLookupError:
        return  # it has ended already
    else:
        try:
            notify.await_ready(record["pid"], pidfd)
        finally:
            posix.close(pidfd)
    finally:
        notify.close()


def _open_gate(
    runtime: "Runtime", config: "Json", record: "Json", path: str, progress: int
) -> None:
    try:
        pidfd = open_pidfd(record["pid"], record["start_time"])
    except ProcessLookupError:
        raise NotRunning(_REFUSALS["stopped"]) from None
    connection = connect(f"{path}/start.sock", "start socket")
    try:
        connection.send(b"G")
        section = (config.get("linux") or {}).get("seccomp") or {}
        if section.get("listenerPath"):
            from kaa.container.seccomp import hand_over_listener, seccomp_filter

            filter = seccomp_filter(runtime, section)
            state = document(record, "created")
            hand_over_listener(runtime, filter, state, pidfd, progress, connection)
        await_end(connection, pidfd, lambda: limit_processes(cgroup_of(record), config))
    finally:
        connection.close()
        posix.close(pidfd)
    try:
        check_executed(progress, recorded_ops(record))
    except Stopped as stopped:
        raise hooks.start_error(stopped) from None
    except InitDied as error:
        cgroup = cgroup_of(record)
        if cgroup and cgroup.oom_kills():
            raise KaaError(
                "container init was OOM-killed (memory limit too low?)",
                pointer="/linux/resources/memory/limit",
            ) from error
        raise


def recorded_ops(record: "Json") -> "Callable[[int], Op]":
    """The ops behind the gate, by their index, as far as an error needs them."""

    def op_at(index: int) -> Op:
        pointer, phrase, call = record["start"][max(0, index - record["gate"])]
        return Op(call, (), pointer, phrase)

    return op_at


def run_poststart(runtime: "Runtime", config: "Json", record: "Json") -> None:
    """The poststart hooks; when one fails the container is killed and the start has failed."""
    if not (config.get("hooks") or {}).get("poststart"):
        return
    try:
        hooks.run(runtime, config, ("poststart",), document(record, "running"))
    except HookError:
        from kaa.container.kill import kill_everything

        kill_everything(record)
        raise
