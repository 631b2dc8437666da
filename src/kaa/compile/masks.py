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
    NODEV,
    NOEXEC,
    NOSUID,
    RDONLY,
    S_IFCHR,
    S_IFDIR,
    S_IFMT,
    STATX_SIZE,
    STX_MODE,
    STX_RDEV,
    attach,
    change,
    clone,
    facts,
    new_mount,
    open_path,
)
from kaa.compile.root import Root
from kaa.errors import ConfigError
from kaa.program.program import Program, Ref, Slot

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kaa.compile.inputs import Inputs

_NULL = 1 | 3 << 32


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
    if masked:
        _Masks(p, root).cover(masked)


def _paths(inputs: "Inputs", name: str) -> dict[str, str]:
    """The clean paths, each once, and the pointers to them."""
    found: dict[str, str] = {}
    for index, path in enumerate(inputs.linux.get(name) or []):
        found.setdefault(normpath(path), f"/linux/{name}/{index}")
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
    """What masks are made of: the host's /dev/null, and an empty directory."""

    def __init__(self, p: Program, root: Root) -> None:
        self.p = p
        self.root = root
        self.buffer: Ref = p.buffer(STATX_SIZE)

    def cover(self, masked: dict[str, str]) -> None:
        """Cover each of the paths."""
        p = self.p
        null = self._host_null()
        empty = self._empty_directory()
        for path, pointer in masked.items():
            p.at(pointer, f"mask {path}")
            self._cover(path, null, empty)
        p.at("/linux/maskedPaths", "put the empty directory away")
        p.fchdir(empty)
        p.umount2(".", DETACH)
        p.fchdir(self.root.fd)
        p.close(empty)
        p.close(null)

    def _host_null(self) -> Slot:
        p = self.p
        p.at("/linux/maskedPaths", "verify that the host's /dev/null is the null device")
        null = open_path(p, AT_FDCWD, "/dev/null")
        facts(p, null, self.buffer)
        p.check(self.buffer + STX_MODE, 2, S_IFMT, S_IFCHR, EPERM)
        p.check(self.buffer + STX_RDEV, 8, -1, _NULL, EPERM)
        return null

    def _empty_directory(self) -> Slot:
        """A tmpfs that can be cloned: until Linux 6.15 only one that is attached can, so it
        covers the root while the masks are made, which are opened from below it."""
        p = self.p
        p.at("/linux/maskedPaths", "make an empty directory")
        wanted: list[tuple[str, str | None]] = [("mode", "555"), ("nr_inodes", "1")]
        empty = new_mount(p, "tmpfs", wanted, RDONLY | NOSUID | NODEV | NOEXEC)
        attach(p, empty, self.root.fd)
        return empty

    def _cover(self, path: str, null: Slot, empty: Slot) -> None:
        p = self.p
        missing, file, ready = p.label(), p.label(), p.label()
        place = p.resolve(self.root.fd, path, EXISTING, 0, goto=(missing, ENOENT, ENOTDIR))
        facts(p, place, self.buffer)
        p.check(self.buffer + STX_MODE, 2, S_IFMT, S_IFDIR, EINVAL, goto=(file, EINVAL))
        cover = clone(p, empty, "", recursive=False)
        p.jump(ready)
        p.place(file)
        clone(p, null, "", recursive=False, into=cover)
        change(p, cover, set=RDONLY | NOSUID | NOEXEC)
        p.place(ready)
        attach(p, cover, place)
        p.close(cover)
        p.close(place)
        p.place(missing)
