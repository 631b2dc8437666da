"""The host's trees that a container in a user namespace is made of.

A tree that is opened on the host and moved into a user namespace's mount
namespace comes without locks: container root could take off its "ro", or
unmount what covers a secret. A mount namespace that is *copied* for a user
namespace has its mounts locked (mount_namespaces(7)). So every tree is put on
a tmpfs of the stage's own mount namespace, and the container's init takes it
from the copy of that. This also makes sources reachable that lie below
directories the container's root may not enter.

The tmpfs is the working directory, because its path may be such a one too.
"""

from kaa.compile.entries import entries
from kaa.compile.mount_api import (
    AT_FDCWD,
    MOVE_FROM_FD,
    NODEV,
    NOEXEC,
    NOSUID,
    S_IFREG,
    SLAVE,
    UNBINDABLE,
    change,
    change_root,
    clone,
    new_mount,
)
from kaa.compile.mounts import id_map, set_attributes
from kaa.program.program import Program, Slot

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kaa.compile.inputs import Inputs
    from kaa.compile.mounts import UserNamespaceOf

ROOTFS = "rootfs"
_CLONE_NEWNS = 0x20000


def stage(p: Program, inputs: "Inputs", userns_of: "UserNamespaceOf | None" = None) -> None:
    """Enter a mount namespace of the stage's own and gather the trees on `inputs.staging`.

    Leaves the working directory there: the rootfs is at "rootfs", the source
    of `mounts[N]` at "N". It must stay so until `mounts.mount_all` is through.
    Binds get their attributes here, so that those are locked too: a bind that
    the config makes read-only stays that even for the container's root.
    """
    p.at("/linux/namespaces", "make a mount namespace to gather the trees in")
    p.unshare(_CLONE_NEWNS)
    change_root(p, SLAVE)
    p.at("", f"mount a tmpfs on {inputs.staging}")
    wanted: list[tuple[str, str | None]] = [("mode", "711")]
    top = new_mount(p, "tmpfs", wanted, NOSUID | NODEV | NOEXEC)
    p.move_mount(top, "", AT_FDCWD, inputs.staging, MOVE_FROM_FD)
    change(p, top, propagation=UNBINDABLE)  # or a bind of "/" would show it
    p.at("/root/path", f"gather the rootfs {inputs.rootfs}")
    p.mkdirat(top, ROOTFS, 0o755)
    _put(p, clone(p, AT_FDCWD, inputs.rootfs, recursive=True), top, ROOTFS)
    for entry in entries(inputs):
        options = entry.options
        if not options.bind or options.remount or entry.below_root:
            continue
        p.at(f"{entry.pointer}/source", f"gather {entry.source} for {entry.destination}")
        tree = clone(p, AT_FDCWD, entry.source, recursive=options.recursive)
        if options.idmap:
            id_map(p, entry, tree, userns_of)
        set_attributes(p, entry, tree)
        name = str(entry.index)
        if inputs.source_kinds.get(entry.index) == "file":
            p.mknodat(top, name, S_IFREG | 0o644, 0)
        else:
            p.mkdirat(top, name, 0o755)
        _put(p, tree, top, name)
    p.at("", "enter the gathered trees")
    p.fchdir(top)
    p.close(top)


def _put(p: Program, tree: Slot, directory: Slot, name: str) -> None:
    p.move_mount(tree, "", directory, name, MOVE_FROM_FD)
    p.close(tree)
