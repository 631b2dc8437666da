"""What the steps of a rootfs program share: the new root, and what is still to be done to it."""

from kaa.compile.mount_api import PRIVATE, SHARED, SLAVE, UNBINDABLE
from kaa.errors import ConfigError
from kaa.program.program import Slot

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kaa.compile.inputs import Inputs

_PROPAGATIONS = {
    "": (SLAVE, True),
    "private": (PRIVATE, False),
    "rprivate": (PRIVATE, True),
    "slave": (SLAVE, False),
    "rslave": (SLAVE, True),
    "shared": (SHARED, False),
    "rshared": (SHARED, True),
    "unbindable": (UNBINDABLE, False),
    "runbindable": (UNBINDABLE, True),
}


class Root:
    """The new root while it is being furnished.

    `fd` is an O_PATH descriptor of it (another one after a mount on "/").
    `peers` holds, by index in `mounts`, the trees of binds that stay in the
    host's peer groups, taken before our own mounts have left them.
    `read_only` are mounts to be made read-only at the very end, each with
    its destination and the JSON pointer of its entry.
    """

    __slots__ = ("fd", "peers", "read_only")

    def __init__(self, fd: Slot, peers: dict[int, Slot] | None = None) -> None:
        self.fd = fd
        self.peers = peers or {}
        self.read_only: list[tuple[Slot, str, str]] = []


def root_propagation(inputs: "Inputs") -> tuple[int, bool]:
    """`linux.rootfsPropagation`: the flag of mount(2), and whether it is recursive."""
    name = inputs.linux.get("rootfsPropagation") or ""
    found = _PROPAGATIONS.get(name)
    if found is None:
        raise ConfigError(
            f"unknown propagation {name!r}",
            pointer="/linux/rootfsPropagation",
            hint=f"one of {', '.join(n for n in _PROPAGATIONS if n)}",
        )
    return found
