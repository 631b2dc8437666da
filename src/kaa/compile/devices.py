"""/dev: the default devices, `linux.devices`, the customary links, the console.

Everything is made relative to a descriptor of the directory it goes to, and
no link in a last component is ever followed: an image whose /dev is a link
gets its devices below its own root (CVE-2026-41579).
"""

from errno import EEXIST, ENOENT, EPERM, EROFS
from posix import O_NOFOLLOW

from kaa.caller import normpath
from kaa.compile.mount_api import (
    AT_EMPTY_PATH,
    AT_FDCWD,
    DEVPTS_SUPER_MAGIC,
    DIRECTORY,
    MOVE_FROM_FD,
    NOEXEC,
    NOSUID,
    RDONLY,
    S_IFBLK,
    S_IFCHR,
    S_IFIFO,
    S_IFMT,
    S_IFREG,
    STATX_SIZE,
    STX_MODE,
    STX_RDEV,
    attach,
    change,
    clone,
    facts,
    open_path,
)
from kaa.compile.mounts import is_bound, is_fresh, mounted_after
from kaa.compile.root import Root
from kaa.errors import ConfigError
from kaa.program.program import Program, Ref, Slot

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kaa.compile.inputs import Inputs, Json
    from kaa.program.program import Label

_TYPES = {"c": S_IFCHR, "u": S_IFCHR, "b": S_IFBLK, "p": S_IFIFO}
_DEFAULTS = {
    "/dev/null": (1, 3),
    "/dev/zero": (1, 5),
    "/dev/full": (1, 7),
    "/dev/random": (1, 8),
    "/dev/urandom": (1, 9),
    "/dev/tty": (5, 0),
}
_LINKS = {
    "fd": "/proc/self/fd",
    "stdin": "/proc/self/fd/0",
    "stdout": "/proc/self/fd/1",
    "stderr": "/proc/self/fd/2",
    "core": "/proc/kcore",
    "ptmx": "pts/ptmx",
}


class Device:
    """A node to be made: `rdev` is (major, minor), `mode` has the type in it."""

    __slots__ = ("gid", "is_default", "mode", "name", "path", "pointer", "rdev", "type", "uid")

    def __init__(
        self, path: str, pointer: str, mode: int, rdev: tuple[int, int], is_default: bool = False
    ) -> None:
        self.path = path
        self.name = path.rpartition("/")[2]
        self.pointer = pointer
        self.is_default = is_default
        self.type = mode & S_IFMT
        self.mode = mode
        self.rdev = rdev
        self.uid = self.gid = 0

    @property
    def number(self) -> int:
        """The number as mknod(2) takes it: 12 bits of major, 20 of minor."""
        major, minor = self.rdev
        return (minor & 0xFF) | major << 8 | (minor & ~0xFF) << 12


def devices(inputs: "Inputs") -> list[Device]:
    """The default devices and those of `linux.devices`, where a later path replaces an earlier.

    Raises ConfigError for what is no device.
    """
    found = {
        path: Device(path, "/linux/devices", S_IFCHR | 0o666, rdev, is_default=True)
        for path, rdev in _DEFAULTS.items()
    }
    for index, entry in enumerate(inputs.linux.get("devices") or []):
        device = _device(entry, f"/linux/devices/{index}")
        found[device.path] = device
    # whatever is asked for, /dev/ptmx is the link into the container's own devpts
    found.pop("/dev/ptmx", None)
    return list(found.values())


def _device(entry: "Json", pointer: str) -> Device:
    kind = _TYPES.get(entry["type"])
    path = normpath(entry["path"])
    if kind is None:
        raise ConfigError(
            f"unknown device type {entry['type']!r}", pointer=f"{pointer}/type", hint="c, u, b or p"
        )
    if path == "/" or "\0" in path:
        raise ConfigError("no path for a device", pointer=f"{pointer}/path")
    major, minor = entry.get("major") or 0, entry.get("minor") or 0
    if not 0 <= major < 1 << 12 or not 0 <= minor < 1 << 20:
        raise ConfigError(f"no such device number: {major}:{minor}", pointer=pointer)
    mode = entry.get("fileMode")
    permissions = 0o666 if mode is None else mode & 0o7777
    number = (0, 0) if kind == S_IFIFO else (major, minor)
    device = Device(path, pointer, kind | permissions, number)
    device.uid, device.gid = entry.get("uid") or 0, entry.get("gid") or 0
    return device


def make_devices(p: Program, inputs: "Inputs", root: Root) -> None:
    """Furnish /dev, unless the config binds one that is furnished already.

    What the config mounts on the path of a device stays in its place.
    """
    if is_bound(inputs, "/dev"):
        return
    taken = mounted_after(inputs, "/dev")
    by_directory: dict[str, list[Device]] = {"/dev": []}
    for device in devices(inputs):
        if device.path not in taken:
            by_directory.setdefault(device.path.rpartition("/")[0] or "/", []).append(device)
    maker = _Maker(p, may_make=not inputs.in_user_namespace)
    fresh = is_fresh(inputs, "/dev")
    umask = p.umask(0, keep=True)
    for path, members in by_directory.items():
        p.at("/linux/devices", f"open {path} for devices")
        directory = p.resolve(root.fd, path, DIRECTORY, 0o755)
        if path == "/dev" and fresh:
            maker.make_defaults([d for d in members if d.is_default], directory)
            members = [d for d in members if not d.is_default]
        for device in members:
            maker.make(device, directory)
        if path == "/dev":
            _links(p, inputs, directory)
        p.close(directory)
    p.umask(umask)
    p.slots.give_back(umask)


def _links(p: Program, inputs: "Inputs", dev: Slot) -> None:
    p.at("", "make the links in /dev")
    # an image's own ptmx would be the host's
    p.unlinkat(dev, "ptmx", 0, ok=(ENOENT, EROFS))
    for name, target in _LINKS.items():
        if name != "core" or inputs.has_kcore:
            p.symlinkat(target, dev, name, ok=(EEXIST,))


class _Maker:
    """Makes nodes: with mknod where that is allowed, else as binds of the host's."""

    def __init__(self, p: Program, *, may_make: bool) -> None:
        self.p = p
        self.may_make = may_make
        self.buffer: Ref | None = None

    def make_defaults(self, members: list[Device], directory: Slot) -> None:
        """The default devices in an empty directory. If one cannot be made, all are bound."""
        p = self.p
        bind, done = p.label(), p.label()
        if self.may_make:
            for device in members:
                p.at(device.pointer, f"make the device {device.path}")
                p.mknodat(
                    directory, device.name, device.mode, device.number, goto=(bind, EEXIST, EPERM)
                )
            p.jump(done)
        p.place(bind)
        for device in members:
            self._bind(device, directory)
        p.place(done)

    def make(self, device: Device, directory: Slot) -> None:
        """A device, unless it is there already; what is not it is covered by the host's."""
        p = self.p
        p.at(device.pointer, f"make the device {device.path}")
        if not self.may_make and device.type != S_IFIFO:
            self._bind(device, directory)
            return
        instead, other, missing, done = p.label(), p.label(), p.label(), p.label()
        p.mknodat(directory, device.name, device.mode, device.number, goto=(instead, EEXIST, EPERM))
        if device.uid or device.gid:
            node = open_path(p, directory, device.name, O_NOFOLLOW)
            self._verify(device, node)
            p.fchownat(node, "", device.uid, device.gid, AT_EMPTY_PATH)
            p.close(node)
        p.jump(done)
        p.place(instead)
        node = open_path(p, directory, device.name, O_NOFOLLOW, goto=(missing, ENOENT))
        self._verify(device, node, other)
        p.call("close", node)
        p.jump(done)
        p.place(other)
        p.close(node)
        p.place(missing)
        self._bind(device, directory)
        p.place(done)

    def _bind(self, device: Device, directory: Slot) -> None:
        """The host's node of this path on an empty file.

        Read-only, which devices are not affected by, but their mode and owner
        are: these are the host's. That a link is not followed is the nature
        of move_mount's target.
        """
        p = self.p
        p.at(device.pointer, f"bind the host's {device.path}")
        source = clone(p, AT_FDCWD, device.path, recursive=False)
        self._verify(device, source)
        change(p, source, set=RDONLY | NOSUID | NOEXEC)
        p.mknodat(directory, device.name, S_IFREG | 0o644, 0, ok=(EEXIST,))
        p.move_mount(source, "", directory, device.name, MOVE_FROM_FD)
        p.close(source)

    def _verify(self, device: Device, node: Slot, otherwise: "Label | None" = None) -> None:
        """Type and number are those of the device; else go on at the label, or stop."""
        p = self.p
        goto = (otherwise, EEXIST) if otherwise else None
        if self.buffer is None:
            self.buffer = p.buffer(STATX_SIZE)
        major, minor = device.rdev
        facts(p, node, self.buffer)
        p.check(self.buffer + STX_MODE, 2, S_IFMT, device.type, EEXIST, goto=goto)
        p.check(self.buffer + STX_RDEV, 8, -1, major | minor << 32, EEXIST, goto=goto)


def bind_console(p: Program, root: Slot, pty_peer: Slot) -> None:
    """Bind the peer of a pseudo-terminal on /dev/console below `root` (a `Root.fd`).

    `pty_peer` is a descriptor from TIOCGPTPEER; that it is of a devpts is
    verified, and the file is made without following a link (CVE-2025-52565).
    """
    p.at("/process/terminal", "bind the terminal on /dev/console")
    buffer = p.buffer(STATX_SIZE)
    p.fstatfs(pty_peer, buffer)
    p.check(buffer, 8, -1, DEVPTS_SUPER_MAGIC, EPERM)
    dev = p.resolve(root, "/dev", DIRECTORY, 0o755)
    p.mknodat(dev, "console", S_IFREG | 0o620, 0, ok=(EEXIST,))
    console = open_path(p, dev, "console", O_NOFOLLOW)
    p.close(dev)
    terminal = clone(p, pty_peer, "", recursive=False)
    attach(p, terminal, console)
    p.close(console)
    p.close(terminal)
