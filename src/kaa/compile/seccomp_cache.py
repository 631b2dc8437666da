"""A directory of small blobs that only its owner can have put there.

What is read here governs what a container may do, so nothing is believed that
another user, or a container that got hold of the directory's path, could have
planted: the directory and every entry must belong to us and be closed to
others, nothing is reached through a link, and an entry carries the digest of
its own content and name. An entry that fails is ignored and replaced. The cache
is never a reason to fail: without one, everything is compiled again.
"""

import posix

try:
    from _blake2 import blake2b
except ImportError:  # an interpreter that has only OpenSSL's digests
    from hashlib import blake2b

MAX_ENTRIES = 64
MAX_SIZE = 1 << 17  # bytes of an entry; a filter has 32 KiB at most

_DIGEST_SIZE = 32
_DIRECTORY = posix.O_RDONLY | posix.O_DIRECTORY | posix.O_NOFOLLOW | posix.O_CLOEXEC
# O_NONBLOCK: a fifo must not hold us up until it has been looked at.
_READ = posix.O_RDONLY | posix.O_NOFOLLOW | posix.O_CLOEXEC | posix.O_NONBLOCK
_WRITE = posix.O_WRONLY | posix.O_CREAT | posix.O_EXCL | posix.O_NOFOLLOW | posix.O_CLOEXEC
_TYPE, _IS_DIRECTORY, _IS_REGULAR = 0o170000, 0o040000, 0o100000


def digest(data: bytes) -> bytes:
    """A 256-bit digest; nobody can find a second input for it."""
    return blake2b(data, digest_size=_DIGEST_SIZE).digest()


def open_directory(path: str, uid: int) -> int:
    """A descriptor of the cache directory, made when missing, or -1 when it cannot be trusted.

    It must be a real directory (its last component is not a link) that belongs
    to `uid` and that nobody else can enter.
    """
    try:
        try:
            fd = posix.open(path, _DIRECTORY)
        except FileNotFoundError:
            try:
                posix.mkdir(path, 0o700)
            except FileExistsError:
                pass  # another kaa was faster
            fd = posix.open(path, _DIRECTORY)
    except (OSError, ValueError):
        return -1
    if _is_ours(posix.fstat(fd), uid, _IS_DIRECTORY):
        return fd
    posix.close(fd)
    return -1


def read(directory: int, uid: int, key: str) -> "bytes | None":
    """The content of the entry `key` (a file name), or None: missing, broken, or not ours."""
    try:
        fd = posix.open(key, _READ, dir_fd=directory)
    except OSError:
        return None
    try:
        status = posix.fstat(fd)
        if not _is_ours(status, uid, _IS_REGULAR) or status.st_size > MAX_SIZE:
            return None
        blob = posix.read(fd, MAX_SIZE)
    except OSError:
        return None
    finally:
        posix.close(fd)
    content = blob[_DIGEST_SIZE:]
    if blob[:_DIGEST_SIZE] != _seal(key, content):
        return None
    return content


def write(directory: int, key: str, content: bytes) -> None:
    """Put the entry there, whole or not at all; errors leave the cache without it."""
    blob = _seal(key, content) + content
    temporary = f"{key}.{posix.urandom(8).hex()}"
    try:
        fd = posix.open(temporary, _WRITE, 0o600, dir_fd=directory)
        try:
            try:
                complete = posix.write(fd, blob) == len(blob)
            finally:
                posix.close(fd)
            if complete:
                posix.rename(temporary, key, src_dir_fd=directory, dst_dir_fd=directory)
        except OSError:
            complete = False
        if complete:
            _prune(directory, key)
        else:
            posix.unlink(temporary, dir_fd=directory)
    except OSError:
        pass


def _is_ours(status: posix.stat_result, uid: int, kind: int) -> bool:
    mode = status.st_mode
    return mode & _TYPE == kind and status.st_uid == uid and not mode & 0o077


def _seal(key: str, content: bytes) -> bytes:
    # The key is part of it, or an entry could be given another's name.
    return digest(key.encode() + b"\0" + content)


def _prune(directory: int, newest: str) -> None:
    """Remove the oldest entries (and left-over temporary files) above the limit."""
    names = posix.listdir(directory)
    if len(names) <= MAX_ENTRIES:
        return
    aged = []
    for name in names:
        try:
            status = posix.stat(name, dir_fd=directory, follow_symlinks=False)
        except FileNotFoundError:
            continue  # pruned by another kaa
        if name != newest:
            aged.append((status.st_mtime_ns, name))
    aged.sort()
    for _, name in aged[: max(0, len(aged) + 1 - MAX_ENTRIES)]:
        try:
            posix.unlink(name, dir_fd=directory)
        except OSError:
            pass  # already gone, or a directory: not one of ours
