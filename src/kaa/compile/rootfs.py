"""The root file system: entered before anything is mounted, left behind as the only one.

The rootfs is a copy of its mount tree, attached on its own path: the process's
own root stays the host's, until `leave` turns the two around with
pivot_root(2) and lets the host's go. So between the two, host paths are
opened by name, and the container's from `Root.fd`.
"""

from errno import EACCES, EINVAL, ELOOP, ENOENT, EPERM
from posix import O_DIRECTORY

from kaa.compile.entries import entries
from kaa.compile.mount_api import (
    AT_FDCWD,
    DETACH,
    DIRECTORY,
    MOVE_FROM_FD,
    PRIVATE,
    RDONLY,
    SHARED,
    SLAVE,
    UNBINDABLE,
    change,
    change_root,
    clone,
    new_mount,
    open_path,
)
from kaa.compile.root import Root, root_propagation
from kaa.compile.staging import ROOTFS
from kaa.errors import ConfigError
from kaa.program.program import Program, Slot

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kaa.compile.inputs import Inputs

_MAX_PEERS = 64


def enter(p: Program, inputs: "Inputs") -> Root:
    """In the container's mount namespace, new or joined: mount the rootfs on its own path.

    Without a mount namespace the rootfs is only opened. Raises ConfigError for
    a propagation that makes no sense.
    """
    flag, _ = root_propagation(inputs)
    if "mount" not in inputs.namespaces:
        p.at("/root/path", f"open the rootfs {inputs.rootfs}")
        return Root(open_path(p, AT_FDCWD, inputs.rootfs, O_DIRECTORY))
    if inputs.no_pivot and flag == PRIVATE:
        raise ConfigError(
            "private propagation cannot be had without pivot_root",
            pointer="/linux/rootfsPropagation",
            hint="leave --no-pivot out, or use slave",
        )
    peers = _separate(p, inputs)
    p.at("/root/path", f"mount the rootfs {inputs.rootfs}")
    path = ROOTFS if inputs.staged else inputs.rootfs
    tree = clone(p, AT_FDCWD, path, recursive=True)
    _put(p, inputs, tree)
    return Root(tree, peers)


def _put(p: Program, inputs: "Inputs", tree: Slot) -> None:
    """Attach the tree on its own path, where hooks look for it before the pivot.

    Where that is out of a user namespace's reach "/" serves as well.
    """
    hidden, done = p.label(), p.label()
    p.move_mount(tree, "", AT_FDCWD, inputs.rootfs, MOVE_FROM_FD, goto=(hidden, EACCES, ENOENT))
    p.jump(done)
    p.place(hidden)
    p.move_mount(tree, "", AT_FDCWD, "/", MOVE_FROM_FD)
    p.place(done)


def _separate(p: Program, inputs: "Inputs") -> dict[int, Slot]:
    """Take our mounts out of the host's peer groups, so that what we mount stays with us.

    Where the config asks for shared propagation, the binds that are to stay the
    host's peers are copied before that. (In a user namespace no mount is one.)
    """
    flag, _ = root_propagation(inputs)
    peers: dict[int, Slot] = {}
    if flag == SHARED and not inputs.in_user_namespace:
        peers = _peers(p, inputs)
    p.at("/linux/rootfsPropagation", "take the mounts out of the host's peer groups")
    change_root(p, PRIVATE if flag in (PRIVATE, UNBINDABLE) else SLAVE)
    return peers


def _peers(p: Program, inputs: "Inputs") -> dict[int, Slot]:
    """The sources of the binds with shared propagation, by index."""
    found: dict[int, Slot] = {}
    for entry in entries(inputs):
        options = entry.options
        if not options.bind or options.remount or entry.below_root:
            continue
        if any(flag == SHARED for flag, _ in options.propagation):
            if len(found) == _MAX_PEERS:
                entry.refuse(f"more than {_MAX_PEERS} shared binds", "options")
            p.at(f"{entry.pointer}/source", f"open {entry.source} for {entry.destination}")
            found[entry.index] = clone(p, AT_FDCWD, entry.source, recursive=options.recursive)
    return found


def leave(
    p: Program,
    inputs: "Inputs",
    root: Root,
    full_mounts: "tuple[str, ...] | list[str]" = ("/proc", "/sys"),
) -> None:
    """Make read-only what is to be, and let the host's root go: "/" is the container's.

    `full_mounts` matters with --no-pivot only: the host's mount points of
    every procfs and sysfs that shows its whole file system.
    """
    config = inputs.config
    read_only = bool(config["root"].get("readonly"))
    if read_only and "mount" not in inputs.namespaces:
        raise ConfigError(
            "the root cannot be made read-only without a mount namespace", pointer="/root/readonly"
        )
    if read_only or root.read_only:
        _make_working_directory(p, inputs, root)
    for mount, destination, pointer in root.read_only:
        p.at(f"{pointer}/options", f"make {destination} read-only")
        change(p, mount, set=RDONLY)
        p.close(mount)
    if read_only:
        p.at("/root/readonly", "make the root read-only")
        change(p, root.fd, set=RDONLY)
    p.at("/root/path", "make the rootfs the root")
    p.fchdir(root.fd)
    if "mount" not in inputs.namespaces:
        p.chroot(".")
    elif inputs.no_pivot:
        _detach_full_mounts(p, full_mounts)
        p.at("/root/path", "move the rootfs to /")
        # Only at the very top does ".." end in the rootfs for one who can chroot.
        # ELOOP: that is where `_put` had to leave it.
        p.move_mount(root.fd, "", AT_FDCWD, "/", MOVE_FROM_FD, ok=(ELOOP,))
        p.chroot(".")
    else:
        # the old root ends up on the new one, where "." still leads to it
        p.pivot_root(".", ".")
        p.umount2(".", DETACH)
    p.at("/root/path", "make the rootfs the root")
    p.chdir("/")
    flag, recursive = root_propagation(inputs)
    if flag in (SHARED, UNBINDABLE) and "mount" in inputs.namespaces:
        p.at("/linux/rootfsPropagation", "set the propagation of the root")
        change(p, root.fd, propagation=flag, recursive=recursive)
    p.close(root.fd)


def _make_working_directory(p: Program, inputs: "Inputs", root: Root) -> None:
    """`process.cwd`, while it can be made; whatever is wrong with it shows when it is entered."""
    cwd = (inputs.config.get("process") or {}).get("cwd") or "/"
    there = p.label()
    p.at("/process/cwd", f"make the working directory {cwd}")
    directory = p.resolve(root.fd, cwd, DIRECTORY, 0o755, goto=(there,))
    p.close(directory)
    p.place(there)


def _detach_full_mounts(p: Program, paths: "tuple[str, ...] | list[str]") -> None:
    """Without pivot_root the host's mounts stay below the rootfs.

    No path leads there, but the kernel takes a full procfs or sysfs among
    them as proof that a container may mount another one, with nothing masked.
    They are detached; where that is not allowed (they are locked) covered.
    """
    for path in paths:
        p.at("/root/path", f"detach the host's {path}")
        locked, done = p.label(), p.label()
        p.umount2(path, DETACH, goto=(locked, EINVAL, EPERM, ENOENT))
        p.jump(done)
        p.place(locked)
        cover = new_mount(p, "tmpfs", [("nr_inodes", "1")], RDONLY)
        p.move_mount(cover, "", AT_FDCWD, path, MOVE_FROM_FD, ok=(ENOENT,))
        p.close(cover)
        p.place(done)
