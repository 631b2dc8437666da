"""Everything kaa raises on purpose.

Each error is one sentence that names what it was about; the parts that a
machine may want (the JSON pointer of the config property, the system call,
the path, the errno, a hint) are attributes, and `record()` is their JSON form.
"""

import errno as _errno
import posix

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

ERRNO_NAMES: dict[int, str] = dict(_errno.errorcode)


class KaaError(Exception):
    """An operation that could not be done; `str(error)` is the sentence for a person."""

    exit_code = 1

    def __init__(
        self,
        message: str,
        *,
        pointer: str | None = None,
        call: str | None = None,
        path: str | None = None,
        errno: int | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.pointer = pointer
        self.call = call
        self.path = path
        self.errno = errno
        self.hint = hint

    def __str__(self) -> str:
        text = f"{self.pointer}: {self.message}" if self.pointer else self.message
        return f"{text} ({self.hint})" if self.hint else text

    def record(self) -> dict[str, object]:
        """The parts that are known, for `--log-format json`."""
        found: dict[str, object] = {"error": type(self).__name__}
        for name in ("pointer", "call", "path", "hint"):
            value = getattr(self, name)
            if value is not None:
                found[name] = value
        if self.errno is not None:
            found["errno"] = ERRNO_NAMES.get(self.errno, str(self.errno))
        return found


class UsageError(KaaError):
    """The command line makes no sense."""


class ConfigError(KaaError):
    """config.json (or another document kaa was given) is wrong at `pointer`."""


class ContainerNotFound(KaaError):
    """No container has this id."""

    def __init__(self, message: str = "container does not exist") -> None:
        super().__init__(message)


class ContainerExists(KaaError):
    """The id is taken."""

    def __init__(self, message: str = "container with given ID already exists") -> None:
        super().__init__(message)


class NotRunning(KaaError):
    """The container is not in a state that allows the operation."""

    def __init__(self, message: str = "container not running") -> None:
        super().__init__(message)


class CgroupError(KaaError):
    """A cgroup could not be made, entered, limited or removed."""


class HookError(KaaError):
    """A hook failed, and its kind says that this matters."""


class SyscallError(KaaError):
    """A system call failed in kaa-init; `pointer` is the config property it was for.

    `call` is its name, `errno` the number, `reason` says in words what it was to do.
    """

    def __init__(self, message: str, *, reason: str = "", **parts: "Any") -> None:
        super().__init__(message, **parts)
        self.reason = reason or message


class InitDied(KaaError):
    """kaa-init ended before its program did (killed, out of memory, a filter)."""


def strerror(number: int) -> str:
    """The errno in the words every client matches ("no such file or directory")."""
    text = posix.strerror(number)
    return text[:1].lower() + text[1:] if text[1:2].islower() else text


def from_oserror(error: OSError, what: str, pointer: str | None = None) -> KaaError:
    """`error` of a host-side file operation, as an error that says what it was for."""
    path = error.filename if isinstance(error.filename, str) else None
    where = f" {path}" if path else ""
    return KaaError(
        f"{what}{where}: {strerror(error.errno or 0)}",
        pointer=pointer,
        path=path,
        errno=error.errno,
    )
