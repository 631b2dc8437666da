"""The program of the stage: what has to be done in the host's namespaces, and the way out of them.

Kept apart from `kaa.compile.container`, which is imported and compiles while the
kernel is busy with this one.
"""

from _struct import pack
from posix import O_CLOEXEC

from kaa.compile import namespaces, process
from kaa.compile.inputs import Inputs
from kaa.program.program import Program, Slot

_AF_UNIX, _SOCK_STREAM_CLOEXEC = 1, 1 | O_CLOEXEC


class Stage:
    """What the programs share: the descriptors of the namespaces to join (`early` are the
    results of the first attempts), and by index of a mount those with its id mapping."""

    __slots__ = ("early", "mapped", "opened")

    def __init__(
        self, opened: dict[str, Slot], early: dict[str, Slot], mapped: dict[int, Slot]
    ) -> None:
        self.opened = opened
        self.early = early
        self.mapped = mapped


def stage(p: Program, inputs: Inputs) -> Stage:
    """The first program: host-side work, up to and including entering the user namespace."""
    process.privileged(p, inputs.config["process"], inputs)
    opened = namespaces.open_joined(p, inputs)
    mapped: dict[int, Slot] = {}
    if inputs.user_namespaces:
        from kaa.compile import id_maps

        mapped = id_maps.open_user_namespaces(p, inputs)
    if inputs.staged:
        from kaa.compile import staging

        staging.stage(p, inputs, mapped.get)
    early: dict[str, Slot] = {}
    if inputs.in_user_namespace:
        early = namespaces.join_early(p, inputs, opened)
        namespaces.enter_user(p, inputs, opened)
    return Stage(opened, early, mapped)


def stage_rest(p: Program, inputs: Inputs, state: Stage) -> None:
    """The rest of the stage's work, once the maps are written; the fork comes after it."""
    if inputs.in_user_namespace:
        namespaces.become_root(p, inputs)
        namespaces.join_rest(p, inputs, state.opened, state.early)
    else:
        namespaces.join(p, inputs, state.opened)
    for fd in state.opened.values():
        p.close(fd)
    namespaces.make(p, inputs)


def start_socket(p: Program, directory: str, bundle: str) -> Slot:
    """The socket `start.sock` in `directory`, where the created container will wait for `start`.

    Bound by its bare name, since a sockaddr_un holds 107 bytes; the working
    directory is the bundle afterwards, as hooks expect.
    """
    p.at("", f"listen on {directory}/start.sock")
    listener = p.socket(_AF_UNIX, _SOCK_STREAM_CLOEXEC, 0)
    p.chdir(directory)
    address = pack("=H", _AF_UNIX) + b"start.sock\0"
    p.bind(listener, address, len(address))
    p.listen(listener, 16)
    p.at("", "enter the bundle")
    p.chdir(bundle)
    return listener
