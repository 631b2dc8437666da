"""`run`: create, start, and (in the foreground) wait for the end."""

import posix

from kaa.container import record as records
from kaa.container.cleanup import clean_up, run_poststop
from kaa.container.foreground import Foreground
from kaa.container.launch import Launch, check_terminal
from kaa.container.start import run_poststart
from kaa.container.state import cgroup_of
from kaa.spec.load import load

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kaa.container.runtime import Runtime


def run(
    runtime: "Runtime",
    id: str,
    *,
    bundle: str,
    pid_file: str = "",
    console_socket: str = "",
    pidfd_socket: str = "",
    no_pivot: bool = False,
    no_new_keyring: bool = False,
    preserve_fds: int = 0,
    detach: bool = False,
    keep: bool = False,
) -> int:
    """Run the bundle as the container `id`; returns the exit code of its process.

    In the foreground signals are passed on, a terminal is relayed, and the
    container is removed at its end unless `keep`; 128 + n stands for the death
    by signal n. With `detach` it returns 0 once the process was executed.
    """
    bundle = runtime.caller.path(bundle)
    config = load(bundle)
    check_terminal(bool(config["process"].get("terminal")), console_socket, detach=detach)
    with records.Lock(runtime.root, id) as lock:
        launch = Launch(
            runtime,
            id,
            config,
            bundle=bundle,
            no_pivot=no_pivot,
            no_new_keyring=no_new_keyring,
            preserve_fds=preserve_fds,
        )
        foreground = None if detach else Foreground()
        try:
            launch.set_up(gate=False)
            if console_socket:
                from kaa.container import console

                console.send(runtime.caller.path(console_socket), launch.take_master())
            if foreground:
                foreground.adopt(launch.take_master(), launch.init.pid)
            launch.announce(pid_file, pidfd_socket)
            launch.go()
            run_poststart(runtime, config, launch.record)
        except BaseException:
            if foreground:
                foreground.close()
            launch.undo()
            lock.forget()
            raise
    if foreground is None:
        try:
            if launch.notify:
                launch.notify.await_ready(launch.init.pid, launch.init.pidfd)
        finally:
            launch.close()
        return 0
    try:
        if launch.notify:
            launch.notify.serve()
        code = foreground.wait()
    finally:
        foreground.close()
        launch.close()
    if not keep:
        remove(runtime, launch)
    return code


def remove(runtime: "Runtime", launch: Launch) -> None:
    """Remove the container at its end; fine if somebody else did."""
    with records.Lock(runtime.root, launch.record["id"]) as lock:
        if not posix.access(launch.path, posix.F_OK):
            return  # somebody deleted it meanwhile
        clean_up(runtime, launch.record, cgroup_of(launch.record), launch.path)
        lock.forget()
    run_poststop(runtime, launch.config, launch.record)
