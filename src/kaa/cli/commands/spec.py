"""kaa spec"""

import posix

from kaa import codec
from kaa.errors import KaaError, from_oserror

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kaa.cli.main import Session


def command(session: "Session") -> int:
    """Write a config.json to start from; never over another one."""
    from kaa.spec.default import document

    caller = session.caller
    config = document(session.options.get("rootless", False), (caller.euid, caller.egid))
    create_file(f"{session.bundle()}/config.json", codec.pretty(config, "\t") + "\n")
    return 0


def create_file(path: str, text: str) -> None:
    """Write a new file, whole or not at all. Raises KaaError."""
    flags = posix.O_WRONLY | posix.O_CREAT | posix.O_EXCL | posix.O_CLOEXEC
    try:
        fd = posix.open(path, flags, 0o666)  # the user's own document: the umask decides
    except FileExistsError:
        raise KaaError("File config.json exists. Remove it first", path=path) from None
    except OSError as error:
        raise from_oserror(error, "create") from error
    try:
        data = text.encode()
        while data:
            data = data[posix.write(fd, data) :]
    except OSError as error:
        posix.unlink(path)
        raise from_oserror(error, f"write {path}") from error
    finally:
        posix.close(fd)
