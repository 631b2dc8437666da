"""config.json and its parts, from files and bytes to dictionaries that can be relied upon."""

import posix
from errno import EISDIR

from kaa import codec
from kaa.errors import ConfigError, strerror
from kaa.spec.check import shown
from kaa.spec.validate import validate, validate_process, validate_resources

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Json = dict[str, Any]

NAME = "config.json"
_S_IFMT, _S_IFDIR, _S_IFREG = 0o170000, 0o040000, 0o100000
MAX_SIZE = 16 << 20  # bytes; the largest real configurations are below one MiB


def load(bundle: str) -> "Json":
    """The validated configuration of the bundle in the absolute directory `bundle`.

    A document of an older specification, 0.4.0 or later, comes in the form of
    today. Raises ConfigError.
    """
    path = f"{bundle}/{NAME}"
    try:
        data = _read(path)
    except FileNotFoundError as error:
        if _is_missing(bundle):
            raise ConfigError(
                f"bundle {bundle}: {strerror(error.errno or 0)}", path=bundle, errno=error.errno
            ) from None
        raise ConfigError(
            f"JSON specification file {NAME} not found",
            path=path,
            call="open",
            errno=error.errno,
            hint=f"looked for {path}",
        ) from None
    except OSError as error:
        raise ConfigError(
            f"read {path}: {strerror(error.errno or 0)}", path=path, call="read", errno=error.errno
        ) from None
    except ValueError as error:  # a NUL in the path
        raise ConfigError(f"read {path!r}: {error}") from None
    return parse(data, path)


def _is_missing(path: str) -> bool:
    try:
        posix.stat(path)
    except OSError:
        return True
    return False


def _read(path: str) -> bytes:
    """Everything in the file, or the first byte too much. Raises OSError, and ConfigError for
    what is no file at all: a fifo, say, on which one could wait for ever."""
    fd = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC | posix.O_NONBLOCK)
    try:
        kind = posix.fstat(fd).st_mode & _S_IFMT
        if kind == _S_IFDIR:
            raise IsADirectoryError(EISDIR, "Is a directory", path)
        if kind != _S_IFREG:
            raise ConfigError(f"read {path}: it is not a regular file", path=path)
        chunks = []
        left = MAX_SIZE + 1
        while left > 0 and (chunk := posix.read(fd, min(left, 1 << 16))):
            chunks.append(chunk)
            left -= len(chunk)
        return b"".join(chunks)
    finally:
        posix.close(fd)


def parse(data: bytes, where: str = NAME) -> "Json":
    """The validated configuration in `data`; `where` names it in errors. Raises ConfigError."""
    document = _object(data, where)
    version = document.get("ociVersion")
    if isinstance(version, str) and version.startswith(("0.", "1.0.0-")):
        from kaa.spec import legacy

        legacy.upgrade(document)
    _drop_empty_seccomp(document)
    validate(document, where)
    return document


def parse_process(data: bytes, where: str = "process") -> "Json":
    """The validated `process` object in `data`, for `exec --process`. Raises ConfigError.

    Pointers in errors begin at the object itself.
    """
    process = _object(data, where)
    if isinstance(process.get("capabilities"), list):
        from kaa.spec import legacy

        legacy.upgrade_process(process)
    validate_process(process, where)
    return process


def parse_resources(data: bytes, where: str = "resources") -> "Json":
    """The validated `linux.resources` object in `data`, for `update -r`. Raises ConfigError.

    Pointers in errors begin at the object itself.
    """
    resources = _object(data, where)
    validate_resources(resources, where)
    return resources


def _object(data: bytes, where: str) -> "Json":
    if len(data) > MAX_SIZE:
        raise ConfigError(f"{where} is larger than {MAX_SIZE >> 20} MiB", path=where)
    document = codec.loads(data, where)
    if not isinstance(document, dict):
        raise ConfigError(f"{where} must be an object, not {shown(document)}", path=where)
    return document


def _drop_empty_seccomp(document: "Json") -> None:
    """No default action and no rules: seccomp was not asked for, as every runtime reads it."""
    linux = document.get("linux")
    seccomp = linux.get("seccomp") if isinstance(linux, dict) else None
    if not isinstance(seccomp, dict):
        return
    if seccomp.get("defaultAction") in (None, "") and seccomp.get("syscalls") in (None, []):
        del document["linux"]["seccomp"]
