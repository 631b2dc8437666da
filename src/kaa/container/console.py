"""Terminals on the host's side: the console socket, and the relay of a foreground `run`."""

import posix
from _socket import AF_UNIX, SCM_RIGHTS, SOCK_CLOEXEC, SOCK_STREAM, SOL_SOCKET, socket
from _struct import pack

from kaa.errors import KaaError, strerror

_PATH_MAX = 107


def send(path: str, master: int) -> None:
    """Send the terminal's master to the AF_UNIX socket at `path`, and close it here."""
    try:
        _send_fd(path, master, b"/dev/pts/ptmx", "console socket")
    finally:
        posix.close(master)


def send_pidfd(path: str, pidfd: int, payload: bytes) -> None:
    """Send a pidfd to the AF_UNIX socket at `path`; it stays open here."""
    _send_fd(path, pidfd, payload, "pidfd socket")


def _send_fd(path: str, fd: int, payload: bytes, what: str) -> None:
    connection = connect(path, what)
    try:
        connection.sendmsg([payload], [(SOL_SOCKET, SCM_RIGHTS, pack("=i", fd))])
    finally:
        connection.close()


def connect(path: str, what: str) -> socket:
    """Connect to an AF_UNIX stream socket; a path too long for its address goes by a descriptor."""
    connection = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC)
    folder = -1
    try:
        address = path
        if len(path.encode("utf-8", "surrogateescape")) > _PATH_MAX:
            directory, _, name = path.rpartition("/")
            folder = posix.open(directory or "/", posix.O_PATH | posix.O_CLOEXEC)
            address = f"/proc/self/fd/{folder}/{name}"
        connection.connect(address)
    except OSError as error:
        connection.close()
        raise KaaError(
            f"connect to the {what} {path}: {strerror(error.errno or 0)}",
            path=path,
            call="connect",
            errno=error.errno,
        ) from None
    finally:
        if folder >= 0:
            posix.close(folder)
    return connection
