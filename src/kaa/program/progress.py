"""How far a kaa-init has come, from the progress file: for whoever waits for the execve."""

import posix
from _socket import MSG_NOSIGNAL
from _struct import unpack_from
from select import POLLIN, poll

from kaa.errors import InitDied, SyscallError, strerror
from kaa.program.op import Op
from kaa.program.wire import EXECUTING, PROGRESS, PROGRESS_SIZE, SAID_OFFSET, WORDS_OFFSET

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from collections.abc import Callable

    from kaa.program.program import Program


class Stopped(Exception):
    """A program stopped behind its gate; `said` is what it emitted there last."""

    def __init__(self, op: Op, errno: int, said: bytes) -> None:
        super().__init__(op, errno, said)
        self.op = op
        self.errno = errno
        self.said = said


def await_end(socket: "socket", pidfd: int, on_sync: "Callable[[], None] | None" = None) -> None:
    """Wait for end of file on the socket, or for the end of the process behind `pidfd` (or -1).

    `on_sync` is called when the program comes to its `sync`, which waits for it.

    Another thread's fork may hold the far end open, so end of file can come late.
    """
    waiting = poll()
    waiting.register(socket, POLLIN)
    if pidfd >= 0:
        waiting.register(pidfd, POLLIN)
    while True:
        for fd, _ in waiting.poll():
            if fd == pidfd or not _receive(socket):
                return
            if on_sync:
                on_sync()
            socket.send(b"C", MSG_NOSIGNAL)


def _receive(socket: "socket") -> bytes:
    try:
        return socket.recv(1)
    except ConnectionResetError:  # it ended with our last word unread
        return b""


def check_executed(progress: int, op_at: "Callable[[int], Op]") -> None:
    """After end of file: raise Stopped unless the progress file says that execve was reached.

    `op_at` gives the op at an index of the program that ran last, or raises IndexError.
    """
    page = posix.pread(progress, PROGRESS_SIZE, 0)
    if len(page) != PROGRESS_SIZE:
        raise InitDied("kaa-init left no word of its progress")
    phase, index, errno, _, _ = PROGRESS.unpack_from(page)
    if errno:
        try:
            op = op_at(index)
        except IndexError:
            op = Op("execve", (), "", "start the process")
        said = unpack_from("=I", page, SAID_OFFSET)[0]
        raise Stopped(op, errno, page[WORDS_OFFSET : WORDS_OFFSET + said])
    if phase != EXECUTING:
        raise InitDied("kaa-init died before it could execute the process")


def syscall_error(op: Op, program: "Program | None", errno: int, words: str) -> SyscallError:
    """`op` failed with `errno`; `words` is what the kernel said itself."""
    from kaa.program.describe import hint_for, path_of

    path = path_of(op, program) if program else None
    said = f" ({words})" if words else ""
    return SyscallError(
        f"{op.phrase}: {op.call}{f' {path}' if path else ''}: {strerror(errno)}{said}",
        pointer=op.pointer or None,
        call=op.call,
        path=path,
        errno=errno,
        hint=hint_for(op.call, errno),
        reason=op.phrase,
    )
