"""Small reads and writes of cgroup files, and walks over trees of cgroups.

A container may own the cgroups below its own and be hostile: it can nest them
deeper than PATH_MAX and make new ones while we look. Walks therefore go from
descriptor to descriptor, hold two of them at a time, and never recurse.
"""

import posix
from errno import EBUSY, EINVAL, ENODEV, ENOENT, ENOTEMPTY, EOPNOTSUPP

from kaa.errors import CgroupError, strerror

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_READ = posix.O_RDONLY | posix.O_CLOEXEC | posix.O_NOFOLLOW
_WRITE = posix.O_WRONLY | posix.O_CLOEXEC | posix.O_NOFOLLOW
_DIRECTORY = posix.O_RDONLY | posix.O_CLOEXEC | posix.O_NOFOLLOW | posix.O_DIRECTORY

GONE = (ENOENT, ENODEV)  # the cgroup was removed before, or while, we looked
BUSY = (EBUSY, ENOTEMPTY)


def read(path: str, dir_fd: int | None = None) -> str:
    """The whole of a file; raises OSError."""
    fd = posix.open(path, _READ, dir_fd=dir_fd)
    try:
        parts = []
        while part := posix.read(fd, 1 << 16):
            parts.append(part)
    finally:
        posix.close(fd)
    return b"".join(parts).decode("utf-8", "surrogateescape")


def read_or(path: str, default: str = "") -> str:
    """What a file says, without the blanks around; `default` if it cannot be read."""
    try:
        return read(path).strip()
    except OSError:
        return default


def write(path: str, value: str) -> None:
    """Write `value` with one write(2), as cgroup files want it; raises OSError."""
    try:
        raw = value.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise OSError(EINVAL, strerror(EINVAL), path) from None
    fd = posix.open(path, _WRITE)
    try:
        posix.write(fd, raw)
    finally:
        posix.close(fd)


def numbers(text: str) -> dict[str, int]:
    """A "flat keyed" file: one `key number` a line (cgroups(7)); other lines are left out."""
    found = {}
    for line in text.split("\n"):
        key, _, value = line.partition(" ")
        if value.isdigit():
            found[key] = int(value)
    return found


def failure(
    error: OSError,
    doing: str,
    path: str,
    *,
    pointer: str | None = None,
    hint: str | None = None,
) -> CgroupError:
    """`error` as a sentence: what was being done, to which file, why it failed."""
    return CgroupError(
        f"{doing} {path}: {strerror(error.errno or 0)}",
        pointer=pointer,
        path=path,
        errno=error.errno,
        hint=hint,
    )


def below(path: str) -> "Iterator[tuple[int, str]]":
    """Every cgroup below the one at `path`, children first, as (fd of its parent, its name).

    The descriptor is only good until the next step. Cgroups that vanish meanwhile are left out.
    """
    try:
        if posix.stat(path).st_nlink == 2:  # kernfs counts subdirectories: there are none
            return
        here = posix.open(path, _DIRECTORY)
    except OSError as error:
        if error.errno in GONE:
            return
        raise
    trail: list[str] = []
    pending = [_children(here)]
    try:
        while True:
            if pending[-1]:
                name = pending[-1].pop()
                try:
                    child = posix.open(name, _DIRECTORY, dir_fd=here)
                except OSError as error:
                    if error.errno in GONE:
                        continue
                    raise
                names = _children(child)
                if names:
                    posix.close(here)
                    here = child
                    trail.append(name)
                    pending.append(names)
                else:
                    posix.close(child)
                    yield here, name
            else:
                pending.pop()
                if not trail:
                    return
                # a cgroup never gets another parent, so ".." is where we came from
                parent = posix.open("..", _DIRECTORY, dir_fd=here)
                posix.close(here)
                here = parent
                yield here, trail.pop()
    finally:
        posix.close(here)


def _children(fd: int) -> list[str]:
    try:
        with posix.scandir(fd) as entries:
            return [e.name for e in entries if e.is_dir(follow_symlinks=False)]
    except OSError as error:
        if error.errno in GONE:
            return []
        raise


def pids(path: str, *, recursive: bool = True) -> list[int]:
    """The processes in a cgroup and those below it; none if it does not exist.

    A process of a pid namespace that is not ours to see reads as 0 and is left out.
    """
    found = _members(path + "/cgroup.procs", None)
    if recursive:
        for fd, name in below(path):
            found += _members(name + "/cgroup.procs", fd)
    return found


def _members(path: str, dir_fd: int | None) -> list[int]:
    try:
        text = read(path, dir_fd)
    except OSError as error:
        # in a threaded cgroup the processes are listed at the root of its threaded subtree
        if error.errno in (*GONE, EOPNOTSUPP):
            return []
        raise
    return [int(pid) for pid in text.split() if pid != "0"]


def remove(path: str) -> bool:
    """Remove a cgroup and those below it; False if processes are still in one."""
    try:
        posix.rmdir(path)
        return True
    except OSError as error:
        if error.errno in GONE:
            return True
        if error.errno not in BUSY:
            raise
    for fd, name in below(path):
        _rmdir(name, fd)
    return _rmdir(path, None)


def _rmdir(path: str, dir_fd: int | None) -> bool:
    try:
        posix.rmdir(path, dir_fd=dir_fd)
    except OSError as error:
        if error.errno in BUSY:
            return False
        if error.errno not in GONE:
            raise
    return True
