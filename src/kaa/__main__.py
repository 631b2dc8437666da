"""The way in and the way out of the `kaa` command; also `python -m kaa`."""

import posix
import sys

from kaa.cli.main import main
from kaa.errors import strerror

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn


def run() -> "NoReturn":
    """Run the command in `sys.argv` and end the process with its exit status.

    The interpreter is not torn down (posix._exit): that takes longer than many
    a command, and there is nothing in it to save but what is flushed here.
    """
    _name_process()
    posix._exit(_flush(main(sys.argv[1:])))


def _name_process() -> None:
    """Let ps(1) and top(1) say kaa, not python (proc(5), /proc/pid/comm)."""
    try:
        fd = posix.open("/proc/self/comm", posix.O_WRONLY | posix.O_CLOEXEC)
    except OSError:
        return  # a name is not worth failing for
    try:
        posix.write(fd, b"kaa")
    finally:
        posix.close(fd)


def _flush(status: int) -> int:
    """Write out what is still buffered; output that was lost makes a success a failure."""
    try:
        if sys.stdout is not None:  # it is None where the caller closed descriptor 1
            sys.stdout.flush()
    except OSError as error:
        if status == 0:
            status = 1
            _complain(f"kaa: cannot write to standard output: {strerror(error.errno or 0)}\n")
    return status


def _complain(message: str) -> None:
    try:
        posix.write(2, message.encode())
    except OSError:
        pass  # there is nobody left to tell


if __name__ == "__main__":
    run()
