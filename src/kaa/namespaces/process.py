"""The namespaces of one process."""

import posix

from kaa.errors import KaaError, UsageError, from_oserror
from kaa.namespaces import nsfs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_READ = posix.O_RDONLY | posix.O_CLOEXEC


class Process:
    """A process that is looked into. All that is read is of this process, never of a successor.

    Raises KaaError if there is none of that pid, or we may not look. Use with ``with``.
    """

    def __init__(self, pid: int) -> None:
        self.pid = pid
        try:
            self._fd = posix.open(f"/proc/{pid}", _READ | posix.O_DIRECTORY)
        except FileNotFoundError:
            raise _missing(pid) from None

    def __enter__(self) -> "Process":
        return self

    def __exit__(self, *_: object) -> None:
        posix.close(self._fd)

    def namespaces(self) -> dict[str, int]:
        """Name in /proc/PID/ns (with pid_for_children and time_for_children) to inode."""
        found = {}
        for name in (*nsfs.TYPES, *nsfs.FOR_CHILDREN):
            try:
                found[name] = nsfs.number(posix.readlink(f"ns/{name}", dir_fd=self._fd))
            except FileNotFoundError:
                if name not in nsfs.FOR_CHILDREN:  # no pid 1 in it yet, or an old kernel
                    self._text("stat")  # gone?
            except OSError as error:
                raise self._error(error) from None
        if not found:
            raise _missing(self.pid)
        return found

    def pids(self) -> "list[dict[str, int | None]]":
        """Its pid in each pid namespace, outermost (that of /proc) first; `inode` None: unseen."""
        numbers = [int(word) for word in self._status("NSpid").split()]
        return [
            {"level": level, "inode": inode, "pid": pid}
            for level, (inode, pid) in enumerate(
                zip(reversed(self._ancestors(len(numbers))), numbers, strict=True)
            )
        ]

    def _ancestors(self, depth: int) -> list[int | None]:
        """The inodes of its pid namespace and of those above, `depth` of them."""
        found: list[int | None] = []
        try:
            fd: int | None = posix.open("ns/pid", _READ, dir_fd=self._fd)
        except OSError as error:
            raise self._error(error) from None
        while fd is not None:
            found.append(nsfs.inode(fd))
            try:
                above = nsfs.parent(fd) if len(found) < depth else None
            finally:
                posix.close(fd)
            fd = above
        return found + [None] * (depth - len(found))

    def id_map(self, kind: str) -> list[list[int]]:
        """`kind` uid or gid: [inside, outside, count] of each range (user_namespaces(7))."""
        return [[int(n) for n in line.split()] for line in self._text(f"{kind}_map").splitlines()]

    def propagation(self) -> dict[str, int]:
        """How many of its mounts are shared, slave, ... (mount_namespaces(7)); one may be two."""
        counts = {"shared": 0, "slave": 0, "private": 0, "unbindable": 0}
        for line in self._text("mountinfo").splitlines():
            tags = line.partition(" - ")[0].split(" ")[6:]
            kinds = {"shared" for tag in tags if tag.startswith("shared:")}
            kinds |= {"slave" for tag in tags if tag.startswith("master:")}
            kinds |= {tag for tag in tags if tag == "unbindable"}
            for kind in kinds or {"private"}:
                counts[kind] += 1
        return counts

    def record(self) -> "dict[str, Any]":
        """Everything above as a JSON object."""
        return {
            "pid": self.pid,
            "namespaces": self.namespaces(),
            "pids": self.pids(),
            "uid_map": self.id_map("uid"),
            "gid_map": self.id_map("gid"),
            "propagation": self.propagation(),
        }

    def _status(self, key: str) -> str:
        for line in self._text("status").splitlines():
            name, _, value = line.partition(":")
            if name == key:
                return value
        raise KaaError(f"/proc/{self.pid}/status has no {key}", hint="kaa needs Linux 5.14")

    def _text(self, name: str) -> str:
        try:
            fd = posix.open(name, _READ, dir_fd=self._fd)
            with open(fd, encoding="utf-8", errors="replace", newline="\n") as file:
                return file.read()
        except OSError as error:
            raise self._error(error) from None

    def _error(self, error: OSError) -> KaaError:
        if isinstance(error, (FileNotFoundError, ProcessLookupError)):
            return _missing(self.pid)
        return from_oserror(error, f"look into process {self.pid}:")


def parse(word: str) -> int:
    """The pid that somebody wrote. Raises UsageError."""
    if not (word.isascii() and word.isdecimal() and 0 < len(word) < 11 and int(word)):
        raise UsageError(f"{word!r} is not a pid")
    return int(word)


def _missing(pid: int) -> KaaError:
    return KaaError(f"there is no process {pid}", path=f"/proc/{pid}")
