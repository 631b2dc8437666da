"""What kaa remembers of a container: a directory below the root.

    <root>/<id>/state.json    the record, replaced atomically
    <root>/<id>/config.json   the configuration as it was at create
    <root>/<id>/progress      the page that kaa-init marks its progress in
    <root>/<id>/start.sock    where the created container waits
    <root>/.locks/<id>        flock(2)ed by whoever changes the container

The lock lies outside the directory so that it can be held while that comes
and goes. The record is written before the first side effect (`creating`, with
the cgroups that are about to be made), so that what a killed kaa leaves
behind can always be named and removed.
"""

import posix
from errno import EEXIST, ELOOP, ENOENT, ENOTDIR, ENOTEMPTY
from fcntl import LOCK_EX, flock
from time import gmtime, time_ns

from kaa import codec
from kaa.errors import ContainerExists, ContainerNotFound, KaaError, from_oserror

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kaa.compile.inputs import Json

_LOCKS = ".locks"
_FIELDS = {"id", "status", "pid", "start_time", "created", "bundle", "rootfs"}
_ID_MAX = 255
_ID_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_+-.")
_DIRECTORY = posix.O_DIRECTORY | posix.O_CLOEXEC | posix.O_NOFOLLOW


def check_id(id: str) -> None:
    """Refuse an id that is not a plain name; every operation checks before it makes a path."""
    if not id:
        raise KaaError("container id cannot be empty")
    if (
        not _ID_CHARACTERS.issuperset(id)
        or id in (".", "..", _LOCKS, ".cache")
        or len(id) > _ID_MAX
    ):
        raise KaaError("invalid container ID format")


def directory(root: str, id: str) -> str:
    """The container's directory."""
    check_id(id)
    return f"{root}/{id}"


class BrokenRecord(KaaError):
    """A state.json that kaa did not write, or that somebody has damaged."""


class Lock:
    """Held while a container changes; a context manager."""

    __slots__ = ("_directory", "_fd", "_path", "_root")

    def __init__(self, root: str, id: str) -> None:
        check_id(id)
        self._root = root
        self._directory = f"{root}/{id}"
        self._path = f"{root}/{_LOCKS}/{id}"
        self._fd = -1

    def __enter__(self) -> "Lock":
        while True:
            try:
                fd = posix.open(
                    self._path,
                    posix.O_RDWR | posix.O_CREAT | posix.O_CLOEXEC | posix.O_NOFOLLOW,
                    0o600,
                )
            except FileNotFoundError:
                _make_directories(f"{self._root}/{_LOCKS}")
                continue
            except OSError as error:
                raise from_oserror(error, "lock") from error
            flock(fd, LOCK_EX)
            # the last holder may have removed the file that we waited for
            try:
                if posix.fstat(fd).st_ino == posix.stat(self._path).st_ino:
                    self._fd = fd
                    return self
            except FileNotFoundError:
                pass
            posix.close(fd)

    def forget(self) -> None:
        """The container is gone: remove the lock's file too."""
        try:
            posix.unlink(self._path)
        except FileNotFoundError:
            pass

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is not None and not posix.access(self._directory, posix.F_OK):
            self.forget()  # what failed was to make it, or it never was
        posix.close(self._fd)


def _make_directories(path: str) -> None:
    """mkdir -p, the new ones 0700."""
    try:
        posix.mkdir(path, 0o700)
    except FileNotFoundError:
        _make_directories(path.rpartition("/")[0])
        _make_directories(path)
    except FileExistsError:
        pass
    except OSError as error:
        raise from_oserror(error, "make the root directory") from error


def make_directory(root: str, id: str) -> str:
    """The directory of a new container; ContainerExists if the id is taken."""
    path = directory(root, id)
    try:
        posix.mkdir(path, 0o700)
    except OSError as error:
        if error.errno == EEXIST:
            raise ContainerExists from None
        raise from_oserror(error, "make the state directory") from error
    return path


def remove_directory(path: str) -> None:
    """Remove a container's directory and the files in it, following no link; absent is fine."""
    try:
        fd = posix.open(path, posix.O_RDONLY | _DIRECTORY)
    except OSError as error:
        if error.errno in (ENOENT, ENOTDIR, ELOOP):
            return
        raise
    try:
        for name in posix.listdir(fd):
            try:
                posix.unlink(name, dir_fd=fd)
            except IsADirectoryError:
                posix.rmdir(name, dir_fd=fd)
    finally:
        posix.close(fd)
    try:
        posix.rmdir(path)
    except OSError as error:
        if error.errno not in (ENOENT, ENOTEMPTY):
            raise


def write(path: str, content: bytes, *, mode: int = 0o600) -> None:
    """Replace a file atomically: a reader sees the old or the new, never a half."""
    folder, _, name = path.rpartition("/")
    temporary = f"{folder}/.{name}.{posix.getpid()}"
    flags = posix.O_WRONLY | posix.O_CREAT | posix.O_EXCL | posix.O_CLOEXEC | posix.O_NOFOLLOW
    try:
        fd = posix.open(temporary, flags, mode)
        try:
            _write_all(fd, content)
        finally:
            posix.close(fd)
        posix.rename(temporary, path)
    except OSError as error:
        try:
            posix.unlink(temporary)
        except OSError:
            pass
        raise from_oserror(error, "write") from error


def write_new(path: str, content: bytes) -> None:
    """Write a file that nobody looks for yet, as its directory was just made."""
    flags = posix.O_WRONLY | posix.O_CREAT | posix.O_EXCL | posix.O_CLOEXEC | posix.O_NOFOLLOW
    try:
        fd = posix.open(path, flags, 0o600)
        try:
            _write_all(fd, content)
        finally:
            posix.close(fd)
    except OSError as error:
        raise from_oserror(error, "write") from error


def _write_all(fd: int, content: bytes) -> None:
    while content:
        content = content[posix.write(fd, content) :]


def read_file(path: str) -> bytes:
    """A small file of ours."""
    fd = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC | posix.O_NOFOLLOW)
    try:
        size = posix.fstat(fd).st_size
        content = posix.read(fd, size + 1)
        while len(content) < size:
            more = posix.read(fd, size - len(content))
            if not more:
                break
            content += more
        return content
    finally:
        posix.close(fd)


def save(path: str, record: "Json") -> None:
    """Write the record into the container's directory."""
    write(f"{path}/state.json", codec.dumps(record))


def load(root: str, id: str) -> "Json":
    """The record of a container; ContainerNotFound if there is none."""
    path = f"{directory(root, id)}/state.json"
    try:
        found = codec.loads(read_file(path))
    except KaaError as error:
        raise BrokenRecord(f"the state of container {id} is damaged: {error.message}") from None
    except (FileNotFoundError, NotADirectoryError):
        raise ContainerNotFound from None
    except OSError as error:
        raise from_oserror(error, "read the state of the container") from error
    if type(found) is not dict or not found.keys() >= _FIELDS:
        raise BrokenRecord(f"the state of container {id} is damaged: fields are missing")
    return found


def load_config(root: str, id: str) -> "Json":
    """The configuration as it was when the container was created."""
    try:
        return codec.loads(read_file(f"{directory(root, id)}/config.json"))  # type: ignore[no-any-return]
    except FileNotFoundError:
        raise ContainerNotFound from None


def ids(root: str) -> list[str]:
    """Every id below the root, sorted."""
    found = []
    for name in posix.listdir(root):
        try:
            check_id(name)
        except KaaError:
            continue
        found.append(name)
    return sorted(found)


def now() -> str:
    """The time as RFC 3339 with nanoseconds."""
    ns = time_ns()
    t = gmtime(ns // 1_000_000_000)
    return (
        f"{t.tm_year:04}-{t.tm_mon:02}-{t.tm_mday:02}T{t.tm_hour:02}:{t.tm_min:02}:{t.tm_sec:02}"
        f".{ns % 1_000_000_000:09}Z"
    )
