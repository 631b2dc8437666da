"""Questions to an open namespace: ioctl_ns(2)."""

import posix
import sys
from errno import EINVAL, EPERM
from fcntl import ioctl

TYPES = ("cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts")
FOR_CHILDREN = {"pid_for_children": "pid", "time_for_children": "time"}

_GET_USERNS = 0xB701
_GET_PARENT = 0xB702
_GET_OWNER_UID = 0xB704


def inode(fd: int) -> int:
    """The number that tells this namespace from all others."""
    return posix.fstat(fd).st_ino


def owner(fd: int) -> int | None:
    """A descriptor of the user namespace that owns it; None if that is out of our sight."""
    return _related(fd, _GET_USERNS)


def parent(fd: int) -> int | None:
    """A descriptor of a user or pid namespace's parent; None if there is none in our sight."""
    return _related(fd, _GET_PARENT)


def owner_uid(fd: int) -> int:
    """Who made this user namespace, as a uid of ours (the overflow uid if he has none here)."""
    answer = ioctl(fd, _GET_OWNER_UID, bytes(4))
    return int.from_bytes(answer, sys.byteorder)


def number(link: str) -> int:
    """The inode in what readlink(2) says of /proc/PID/ns/x, such as ``mnt:[4026531832]``."""
    return int(link[link.index("[") + 1 : -1])


def _related(fd: int, request: int) -> int | None:
    try:
        return ioctl(fd, request)
    except OSError as error:
        if error.errno in (EPERM, EINVAL):  # EINVAL: this type has no such relation
            return None
        raise
