"""`create`: from a bundle to a container that waits for its start."""

from kaa.container import record as records
from kaa.container.launch import Launch, check_terminal
from kaa.spec.load import load

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kaa.container.runtime import Runtime


def create(
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
) -> None:
    """Make the container `id` from the bundle; its process waits for `start`.

    Raises ConfigError for what is wrong with config.json, ContainerExists,
    SyscallError for what the kernel refused; nothing is left behind then.
    """
    config = load(runtime.caller.path(bundle))
    check_terminal(bool(config["process"].get("terminal")), console_socket, detach=True)
    with records.Lock(runtime.root, id) as lock:
        launch = Launch(
            runtime,
            id,
            config,
            bundle=runtime.caller.path(bundle),
            no_pivot=no_pivot,
            no_new_keyring=no_new_keyring,
            preserve_fds=preserve_fds,
        )
        try:
            launch.set_up(gate=True)
            if console_socket:
                from kaa.container import console

                console.send(runtime.caller.path(console_socket), launch.take_master())
            launch.announce(pid_file, pidfd_socket)
            launch.init.release()
        except BaseException:
            launch.undo()
            lock.forget()
            raise
        launch.close()
