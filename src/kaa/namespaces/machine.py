"""Every namespace that can be seen from here, and what keeps each alive."""

import posix

from kaa.namespaces import nsfs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_FLAGS = posix.O_RDONLY | posix.O_CLOEXEC | posix.O_NONBLOCK | posix.O_NOCTTY
_GONE = (FileNotFoundError, ProcessLookupError)


class Namespace:
    """One namespace; `pid` is the lowest of its `processes`, 0 without any.

    `owner` and `parent` are inodes, None where the kernel does not tell. `owner_uid`
    made the owner, or made this namespace where it is a user namespace. `mounts` are
    the paths it is bound to, `children` the inodes of namespaces that need it,
    `awaiting` the processes whose children only will be in it.
    """

    __slots__ = ("awaiting", "children", "command", "inode", "mounts", "owner", "owner_uid",
                 "parent", "pid", "processes", "type")  # fmt: skip

    def __init__(self, type: str, inode: int) -> None:
        self.type = type
        self.inode = inode
        self.processes: list[int] = []
        self.pid = 0
        self.command = ""
        self.owner: int | None = None
        self.owner_uid: int | None = None
        self.parent: int | None = None
        self.mounts: list[str] = []
        self.children: list[int] = []
        self.awaiting: list[int] = []

    def held_by(self) -> list[str]:
        """What keeps it alive: process, child process, mount, child namespace."""
        kinds = (
            ("process", self.processes),
            ("for-children", self.awaiting),
            ("mount", self.mounts),
            ("child", self.children),
        )
        return [name for name, holders in kinds if holders]

    def record(self) -> "dict[str, Any]":
        """It as a JSON object."""
        return {
            "type": self.type,
            "inode": self.inode,
            "processes": len(self.processes),
            "pid": self.pid or None,
            "command": self.command,
            "owner": self.owner,
            "owner_uid": self.owner_uid,
            "parent": self.parent,
            "held_by": self.held_by(),
            "mounts": self.mounts,
            "children": self.children,
        }


def scan() -> list[Namespace]:
    """All namespaces of visible processes, of nsfs mounts here, and their ancestors, by type.

    Processes that end meanwhile, and those we may not look into (ptrace(2), access mode
    read), are left out.
    """
    found: dict[tuple[str, int], Namespace] = {}
    for pid in sorted([int(name) for name in posix.listdir("/proc") if name.isdecimal()]):
        _add_process(found, pid)
    mounted = _add_mounts(found)
    for space in list(found.values()):
        _ask(found, space, mounted)
    return [found[key] for key in sorted(found)]


def command(pid: int) -> str:
    """The name of a process, "" if it is gone; what could move a cursor is replaced."""
    try:
        fd = posix.open(f"/proc/{pid}/comm", posix.O_RDONLY | posix.O_CLOEXEC)
    except _GONE:
        return ""
    try:
        text = posix.read(fd, 64).decode("utf-8", "replace").removesuffix("\n")
    except _GONE:
        return ""
    finally:
        posix.close(fd)
    return printable(text)


def printable(text: str) -> str:
    """`text` fit for a terminal: a hostile process chooses its name."""
    return "".join([c if c.isprintable() else "?" for c in text])


def _add_process(found: dict[tuple[str, int], Namespace], pid: int) -> None:
    for name in (*nsfs.TYPES, *nsfs.FOR_CHILDREN):
        try:
            inode = nsfs.number(posix.readlink(f"/proc/{pid}/ns/{name}"))
        except (*_GONE, PermissionError):
            continue
        kind = nsfs.FOR_CHILDREN.get(name, name)
        space = _get(found, kind, inode)
        if name == kind:
            space.processes.append(pid)
        elif pid not in space.processes:
            space.awaiting.append(pid)


def _add_mounts(found: dict[tuple[str, int], Namespace]) -> dict[int, str]:
    """Note what is bound to a path in our mount namespace; the last path for each inode."""
    paths: dict[int, str] = {}
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            fields, _, rest = line.partition(" - ")
            if not rest.startswith("nsfs "):
                continue
            root, path = fields.split(" ")[3:5]
            kind, inode = root.split(":")[0], nsfs.number(root)
            paths[inode] = _unescape(path)
            _get(found, kind, inode).mounts.append(paths[inode])
    return paths


def _unescape(path: str) -> str:
    for code, char in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        path = path.replace(code, char)
    return path


def _get(found: dict[tuple[str, int], Namespace], kind: str, inode: int) -> Namespace:
    space = found.get((kind, inode))
    if space is None:
        space = found[kind, inode] = Namespace(kind, inode)
    return space


def _ask(
    found: dict[tuple[str, int], Namespace], space: Namespace, mounted: dict[int, str]
) -> None:
    if space.processes:
        space.pid = space.processes[0]
        space.command = command(space.pid)
    paths = [f"/proc/{pid}/ns/{space.type}" for pid in space.processes[:1]]
    paths += [f"/proc/{pid}/ns/{space.type}_for_children" for pid in space.awaiting[:1]]
    if space.inode in mounted:
        paths.append(mounted[space.inode])
    for path in paths:
        try:
            fd = posix.open(path, _FLAGS)
        except OSError:  # ended, or covered by another mount, since we saw it
            continue
        try:
            if nsfs.inode(fd) == space.inode:
                _relate(found, space, fd)
                return
        finally:
            posix.close(fd)


def _relate(found: dict[tuple[str, int], Namespace], space: Namespace, fd: int) -> None:
    """Owner and parent of `space`, open at `fd`; those that no process is in are added."""
    if space.type == "user":
        space.owner_uid = nsfs.owner_uid(fd)
    for kind in ("user", "pid"):
        if kind == "pid" and space.type != "pid":
            continue
        other = nsfs.parent(fd) if space.type == kind else nsfs.owner(fd)
        if other is None:
            continue
        try:
            inode = nsfs.inode(other)
            if kind == "user":
                space.owner = inode
                if space.type != "user":
                    space.owner_uid = nsfs.owner_uid(other)
            if space.type == kind:
                space.parent = inode
            new = (kind, inode) not in found
            relative = _get(found, kind, inode)
            if space.inode not in relative.children:
                relative.children.append(space.inode)
            if new:
                _relate(found, relative, other)
        finally:
            posix.close(other)
