"""The kernel's mount API in the few moves that a root file system is made of.

Constants of <linux/mount.h>, <linux/fcntl.h> and <linux/stat.h>; see
open_tree(2), move_mount(2), mount_setattr(2), fsopen(2), statx(2).
"""

from _struct import Struct
from posix import O_CLOEXEC, O_PATH

from kaa.program.program import ANY, Program, Ref, Slot

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

AT_FDCWD = -100
AT_SYMLINK_NOFOLLOW = 0x100
AT_EMPTY_PATH = 0x1000
AT_RECURSIVE = 0x8000

OPEN_TREE_CLONE = 1
MOVE_FROM_FD = 0x04  # MOVE_MOUNT_F_EMPTY_PATH
MOVE_TO_FD = 0x40  # MOVE_MOUNT_T_EMPTY_PATH
FSOPEN_CLOEXEC = FSMOUNT_CLOEXEC = FSPICK_CLOEXEC = 1
FSPICK_EMPTY_PATH = 8
SET_FLAG, SET_STRING, CREATE, RECONFIGURE = 0, 1, 6, 7  # fsconfig commands

RDONLY, NOSUID, NODEV, NOEXEC = 0x1, 0x2, 0x4, 0x8
NOATIME, STRICTATIME, ATIME, NODIRATIME = 0x10, 0x20, 0x70, 0x80
IDMAP, NOSYMFOLLOW = 0x100000, 0x200000

UNBINDABLE, PRIVATE, SLAVE, SHARED = 1 << 17, 1 << 18, 1 << 19, 1 << 20

DETACH = 2  # umount2: MNT_DETACH

S_IFMT, S_IFIFO, S_IFCHR, S_IFDIR, S_IFBLK, S_IFREG = (
    0o170000,
    0o010000,
    0o020000,
    0o040000,
    0o060000,
    0o100000,
)
STATX_BASIC_STATS = 0x7FF
STATX_SIZE = 256
STX_UID, STX_GID, STX_MODE, STX_RDEV = 20, 24, 28, 128

PROC_SUPER_MAGIC = 0x9FA0
DEVPTS_SUPER_MAGIC = 0x1CD1

# resolve's kinds (docs/protocol.md)
EXISTING, DIRECTORY, FILE, NOFOLLOW = 0, 1, 2, 16

_ATTR = Struct("=4Q")


def clone(
    p: Program,
    directory: "int | Slot",
    path: str,
    *,
    recursive: bool,
    into: "Slot | None" = None,
) -> Slot:
    """A detached copy of the mount tree at `path` ("" for the descriptor itself)."""
    flags = OPEN_TREE_CLONE | O_CLOEXEC
    if recursive:
        flags |= AT_RECURSIVE
    if not path:
        flags |= AT_EMPTY_PATH
    return p.call("open_tree", directory, path, flags, into=into)


def change(
    p: Program,
    mount: Slot,
    *,
    set: int = 0,
    clear: int = 0,
    propagation: int = 0,
    recursive: bool = False,
) -> None:
    """Change attributes, or the propagation, of a mount or a whole tree.

    The access time modes are one field: setting one clears the others.
    """
    if set & ATIME:
        clear |= ATIME
    flags = AT_EMPTY_PATH | (AT_RECURSIVE if recursive else 0)
    p.mount_setattr(mount, "", flags, _ATTR.pack(set, clear, propagation, 0), _ATTR.size)


def change_root(p: Program, propagation: int) -> None:
    """Change the propagation of all mounts from the process's root directory on."""
    p.mount_setattr(AT_FDCWD, "/", AT_RECURSIVE, _ATTR.pack(0, 0, propagation, 0), _ATTR.size)


def map_ids(p: Program, mount: Slot, user_namespace: Slot, *, recursive: bool) -> None:
    """Give a detached mount the id mapping of a user namespace, once and for all."""
    attr = p.bytes(_ATTR.pack(IDMAP, 0, 0, 0))
    p.poke(attr + 24, 8, user_namespace)
    flags = AT_EMPTY_PATH | (AT_RECURSIVE if recursive else 0)
    p.mount_setattr(mount, "", flags, attr, _ATTR.size)


def attach(p: Program, mount: Slot, target: Slot) -> None:
    """Attach a detached mount at an O_PATH descriptor."""
    p.move_mount(mount, "", target, "", MOVE_FROM_FD | MOVE_TO_FD)


def new_mount(
    p: Program,
    kind: str,
    settings: "list[tuple[str, str | None]]",
    attributes: int,
    *,
    refused: tuple[int, ...] = (),
    instead: "Callable[[Slot], None] | None" = None,
) -> Slot:
    """A detached mount of the file system `kind`; a setting without a value is a flag.

    If the kernel refuses it with one of the errnos `refused`, what `instead`
    appends has to put another mount into the slot that it is given.
    """
    other = p.label() if instead else None
    goto = (other, *refused) if instead else None
    context = p.fsopen(kind, FSOPEN_CLOEXEC, goto=goto)
    for key, value in settings:
        command = SET_FLAG if value is None else SET_STRING
        p.fsconfig(context, command, key, value, 0)
    p.fsconfig(context, CREATE, None, None, 0, goto=goto)
    mount: Slot = p.fsmount(context, FSMOUNT_CLOEXEC, attributes, goto=goto)
    p.call("close", context)
    if other and instead:
        done = p.label()
        p.jump(done)
        p.place(other)
        p.call("close", context, ok=ANY)  # none if it was refused at once
        instead(mount)
        p.place(done)
    p.slots.give_back(context)
    return mount


def facts(p: Program, fd: Slot, buffer: Ref) -> None:
    """statx(2) of a descriptor into a buffer of STATX_SIZE bytes."""
    p.statx(fd, "", AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS, buffer)


def open_path(
    p: Program,
    directory: "int | Slot",
    path: str,
    flags: int = 0,
    goto: "tuple[Any, ...] | None" = None,
) -> Slot:
    """An O_PATH descriptor."""
    return p.call("openat", directory, path, O_PATH | O_CLOEXEC | flags, 0, goto=goto)
