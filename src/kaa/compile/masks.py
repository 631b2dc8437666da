"""`linux.readonlyPaths` and `linux.maskedPaths`.

A path that does not exist is left out. A masked file gets the host's
/dev/null, verified to be that (the container's may be anything,
CVE-2025-31133) and read-only, since its mode and owner are the host's own. A
masked directory gets a copy of one tmpfs that is empty and stays so.
"""

from errno import EINVAL, ENOENT, ENOTDIR, EPERM

from kaa.caller import normpath
from kaa.compile.mount_api import (
    AT_FDCWD,
    DETACH,
    EXISTING,
    MOVE_FROM_FD,
    NODEV,
    NOEXEC,
    NOSUID,
    RDONLY,
    S_IFCHR,
    S_IFDIR,
    S_IFMT,
    S_IFREG,
    STATX_SIZE,
    STX_MODE,
    STX_RDEV,
    attach,
    change,
    clone,
    facts,
    new_mount,
)
from kaa.compile.root import Root
from kaa.errors import ConfigError
from kaa.program.program import Program, Ref

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kaa.compile.inputs import Inputs

_EMPTY, _NULL = "empty", "null"


def mask(p: Program, inputs: "Inputs", root: Root) -> None:
    """Make `readonlyPaths` read-only, then cover `maskedPaths`. Needs a mount namespace."""
    read_only = _paths(inputs, "readonlyPaths")
    masked = _paths(inputs, "maskedPaths")
    if (read_only or masked) and "mount" not in inputs.namespaces:
        name = "readonlyPaths" if read_only else "maskedPaths"
        raise ConfigError(
            "paths cannot be covered without a mount namespace", pointer=f"/linux/{name}"
        )
    for path, pointer in read_only.items():
        p.at(pointer, f"make {path} read-only")
        _make_read_only(p, root, path)
    if not masked:
        return
    masks = _Masks(p, root)
    for path, pointer in masked.items():
        p.at(pointer, f"mask {path}")
        masks.cover(path)
    masks.put_away()


def _paths(inputs: "Inputs", name: str) -> dict[str, str]:
    """The clean paths, each once, and the pointers to them."""
    found: dict[str, str] = {}
    for index, path in enumerate(inputs.linux.get(name) or []):
        pointer, clean = f"/linux/{name}/{index}", normpath(path)
        if clean == "/":
            raise ConfigError("the root cannot be covered", pointer=pointer)
        found.setdefault(clean, pointer)
    return found


def _make_read_only(p: Program, root: Root, path: str) -> None:
    missing = p.label()
    place = p.resolve(root.fd, path, EXISTING, 0, goto=(missing, ENOENT, ENOTDIR))
    mount = clone(p, place, "", recursive=True)
    change(p, mount, set=RDONLY)  # the other attributes stay as they are
    attach(p, mount, place)
    p.close(mount)
    p.close(place)
    p.place(missing)


class _Masks:
    """What masks are made of: a tmpfs that holds the host's /dev/null and an empty directory.

    Until Linux 6.15 only what is attached can be cloned, so it covers the
    root while the masks are made; those are opened from below it.
    """

    def __init__(self, p: Program, root: Root) -> None:
        self.p = p
        self.root = root
        self.buffer: Ref = p.buffer(STATX_SIZE)
        p.at("/linux/maskedPaths", "make an empty directory")
        wanted: list[tuple[str, str | None]] = [("mode", "555"), ("nr_inodes", "3")]
        self.holder = new_mount(p, "tmpfs", wanted, NOSUID | NODEV | NOEXEC)
        attach(p, self.holder, root.fd)
        p.mkdirat(self.holder, _EMPTY, 0o555)
        p.mknodat(self.holder, _NULL, S_IFREG, 0)
        self._hold_null()
        change(p, self.holder, set=RDONLY)

    def _hold_null(self) -> None:
        p = self.p
        p.at("/linux/maskedPaths", "verify that the host's /dev/null is the null device")
        null = clone(p, AT_FDCWD, "/dev/null", recursive=False)
        facts(p, null, self.buffer)
        p.check(self.buffer + STX_MODE, 2, S_IFMT, S_IFCHR, EPERM)
        p.check(self.buffer + STX_RDEV, 8, -1, 1 | 3 << 32, EPERM)
        change(p, null, set=RDONLY | NOSUID | NOEXEC)
        p.move_mount(null, "", self.holder, _NULL, MOVE_FROM_FD)
        p.close(null)

    def cover(self, path: str) -> None:
        """Cover what is at the path."""
        p = self.p
        missing, file, ready = p.label(), p.label(), p.label()
        place = p.resolve(self.root.fd, path, EXISTING, 0, goto=(missing, ENOENT, ENOTDIR))
        facts(p, place, self.buffer)
        p.check(self.buffer + STX_MODE, 2, S_IFMT, S_IFDIR, EINVAL, goto=(file, EINVAL))
        mask = clone(p, self.holder, _EMPTY, recursive=False)
        p.jump(ready)
        p.place(file)
        clone(p, self.holder, _NULL, recursive=False, into=mask)
        p.place(ready)
        attach(p, mask, place)
        p.close(mask)
        p.close(place)
        p.place(missing)

    def put_away(self) -> None:
        """Uncover the root."""
        p = self.p
        p.at("/linux/maskedPaths", "put the empty directory away")
        p.fchdir(self.holder)
        p.umount2(".", DETACH)
        p.fchdir(self.root.fd)
        p.close(self.holder)
