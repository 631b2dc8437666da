"""Where mounts go: destinations below the root, opened once and never outside of it."""

from _struct import Struct
from errno import EPERM
from fcntl import F_DUPFD_CLOEXEC
from posix import O_CLOEXEC, O_DIRECTORY, O_NOFOLLOW, O_PATH

from kaa.compile.entries import Entry
from kaa.compile.mount_api import (
    DIRECTORY,
    NOFOLLOW,
    PROC_SUPER_MAGIC,
    STATX_SIZE,
    change,
)
from kaa.compile.root import Root
from kaa.errors import ConfigError
from kaa.program.program import Program, Slot

_HOW = Struct("=3Q").pack(
    O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC,
    0,
    0x08 | 0x04 | 0x02,  # RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS, RESOLVE_NO_MAGICLINKS
)
_MAX_READ_ONLY = 128


class Targets:
    """The mount points of one program.

    `buffer` is for what the kernel says about files. With `guard_procfs` there
    is a procfs in the container, and a bind whose destination turns out to lie
    in it (by a link of the image) is refused, unless its name says so.
    """

    __slots__ = ("buffer", "guard_procfs", "p", "root")

    def __init__(self, p: Program, root: Root) -> None:
        self.p = p
        self.root = root
        self.buffer = p.buffer(STATX_SIZE)
        self.guard_procfs = False

    def open(self, entry: Entry, kind: int, mode: int) -> Slot:
        """An O_PATH descriptor of the destination; kind and mode are those of `resolve`."""
        p = self.p
        p.at(f"{entry.pointer}/destination", f"open the mount point {entry.destination}")
        target: Slot = p.resolve(self.root.fd, entry.destination, kind, mode)
        if self.guard_procfs and entry.options.bind and not entry.at_proc:
            self._refuse_procfs(entry, target)
        return target

    def _refuse_procfs(self, entry: Entry, target: Slot) -> None:
        p = self.p
        p.at(f"{entry.pointer}/destination", f"{entry.destination} leads into /proc")
        elsewhere = p.label()
        p.fstatfs(target, self.buffer)
        p.check(self.buffer, 8, -1, PROC_SUPER_MAGIC, EPERM, goto=(elsewhere, EPERM))
        p.check(self.buffer, 8, 0, 1, EPERM)
        p.place(elsewhere)

    def open_ordinary(self, entry: Entry) -> Slot:
        """The destination of a proc or sysfs: a directory with no link anywhere in its path.

        A link would put them where nobody looks for them, and something else
        where LSM attributes and sysctls are written (CVE-2019-19921).
        """
        p, path = self.p, entry.destination
        p.at(
            f"{entry.pointer}/destination",
            f'filesystem "{entry.kind}" must be mounted on ordinary directory {path}',
        )
        target: Slot = p.resolve(self.root.fd, path, DIRECTORY | NOFOLLOW, 0o755)
        if path.count("/") > 1:
            p.close(target)
            target = p.openat2(self.root.fd, path[1:], _HOW, len(_HOW))
        return target

    def propagate(self, entry: Entry, mount: Slot) -> None:
        """The propagation options, each by itself and in the order given."""
        for flag, recursive in entry.options.propagation:
            self.p.at(f"{entry.pointer}/options", f"set the propagation of {entry.destination}")
            change(self.p, mount, propagation=flag, recursive=recursive)

    def settle(self, entry: Entry, mount: Slot, *, read_only_later: bool = False) -> None:
        """What remains once a mount is in its place. The slot is taken care of."""
        self.propagate(entry, mount)
        root = self.root
        if entry.destination == "/":
            # what was the root lies below the new mount, and so does its descriptor
            self.p.close(root.fd)
            root.fd = mount
            mount = self.p.fcntl(mount, F_DUPFD_CLOEXEC, 0) if read_only_later else mount
        if read_only_later:
            if len(root.read_only) == _MAX_READ_ONLY:
                raise ConfigError(
                    f"more than {_MAX_READ_ONLY} read-only tmpfs mounts",
                    pointer=entry.pointer,
                )
            root.read_only.append((mount, entry.destination, entry.pointer))
        elif mount is not root.fd:
            self.p.close(mount)
