"""Starting a kaa-init, giving it programs, and understanding its answers.

A kaa-init that was just started is called the *stage*: it runs in the
namespaces of the caller. Its `fork` op makes the process that lives on.
"""

import posix
from _signal import SIGKILL, pidfd_send_signal
from _socket import (
    AF_UNIX,
    CMSG_SPACE,
    MSG_CMSG_CLOEXEC,
    MSG_CTRUNC,
    MSG_NOSIGNAL,
    MSG_PEEK,
    SCM_RIGHTS,
    SOCK_CLOEXEC,
    SOCK_STREAM,
    SOL_SOCKET,
    socketpair,
)
from _struct import unpack_from
from errno import EACCES, EINVAL, EPIPE
from fcntl import F_DUPFD_CLOEXEC, fcntl

from kaa.errors import InitDied, KaaError, SyscallError, strerror
from kaa.program.program import Program, Slots
from kaa.program.progress import await_end, check_executed, syscall_error
from kaa.program.wire import MAGIC, PROGRESS, REPLY, encode, initial_progress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from collections.abc import Callable

    from kaa.caller import Caller
    from kaa.program.op import Op

_MAX_REPLY = 1 << 17
_MAX_FDS = 32
_ADD_SEALS = 1033
_SEAL_EVERYTHING = 0x1F  # seal, shrink, grow, write, future write
_MFD_CLOEXEC_SEALING = 3
_MFD_EXEC = 0x10

_sealed: list[int] = []


class Reply:
    """What a batch sent back: the emitted bytes, in order, and the descriptors."""

    __slots__ = ("_at", "data", "fds")

    def __init__(self, data: bytes, fds: list[int]) -> None:
        self.data = data
        self.fds = fds
        self._at = 0

    def take(self, size: int) -> bytes:
        """The next `size` emitted bytes."""
        piece = self.data[self._at : self._at + size]
        if len(piece) != size:
            raise KaaError("kaa-init sent less than its program emits")
        self._at += size
        return piece

    def value(self) -> int:
        """The next emitted 64-bit value, signed."""
        return int.from_bytes(self.take(8), "little", signed=True)

    @property
    def left(self) -> int:
        """How many emitted bytes were not taken yet."""
        return len(self.data) - self._at

    def rest(self) -> bytes:
        """What is left of the emitted bytes."""
        return self.take(self.left)

    def close(self) -> None:
        """Close the descriptors that came."""
        while self.fds:
            posix.close(self.fds.pop())


class Failure(Exception):
    """A batch stopped: which op, with which errno; `reply` is what came until then."""

    def __init__(self, program: Program, index: int, errno: int, reply: Reply) -> None:
        super().__init__(index, errno)
        self.program = program
        self.index = index
        self.errno = errno
        self.reply = reply

    @property
    def op(self) -> "Op":
        """The op that failed."""
        return self.program.op(self.index)


class Init:
    """A running kaa-init and the socket to it.

    `pid` and `pidfd` are the stage's, and after a program that ended in `fork`
    the child's. `slots` is shared by all its programs, since slots live on.
    """

    __slots__ = ("_owned", "_stage", "pid", "pidfd", "progress", "slots", "socket")

    def __init__(self, socket: "socket", pid: int, progress: int, owned: int) -> None:
        self.socket = socket
        self.pid = pid
        self.pidfd = -1
        self.slots = Slots()
        self._stage = pid
        self.progress = progress
        self._owned = owned

    @classmethod
    def spawn(
        cls,
        caller: "Caller",
        progress: int = -1,
        *,
        preserve_fds: int = 0,
        stdio: tuple[int, int, int] | None = None,
    ) -> "Init":
        """Start a stage with the descriptors 3..3+preserve_fds and the caller's stdio, or `stdio`.

        `progress` is a descriptor of the progress file; it stays the caller's
        and must stay open while this object is used. Without one, an anonymous
        file serves.
        """
        command_fd = 3 + preserve_fds
        # the sources must not lie where a later dup2 of the list writes
        low = max(64, command_fd + 2)
        moved: list[int] = []
        owned = -1
        mine: socket | None = None
        try:
            # first of all: a closed one among them must not become a descriptor of ours
            moved.extend(fcntl(fd, F_DUPFD_CLOEXEC, low) for fd in stdio or caller.stdio)
            if progress < 0:
                progress = owned = posix.memfd_create("progress", posix.MFD_CLOEXEC)
                posix.write(owned, initial_progress())
            moved.append(fcntl(progress, F_DUPFD_CLOEXEC, low))
            mine, theirs = socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC)
            moved.append(fcntl(theirs.fileno(), F_DUPFD_CLOEXEC, low))
            theirs.close()
            pid = _spawn(command_fd, moved, (0, 1, 2, command_fd + 1, command_fd))
        except (OSError, KaaError) as error:
            if mine is not None:
                mine.close()
            if owned >= 0:
                posix.close(owned)
            if isinstance(error, KaaError):
                raise
            raise KaaError(
                f"start kaa-init: {strerror(error.errno or 0)}",
                call="posix_spawn",
                errno=error.errno,
                hint="are /proc, and descriptors 0 to 2, there?",
            ) from error
        finally:
            for fd in moved:
                posix.close(fd)
        return cls(mine, pid, progress, owned)

    # -- programs --------------------------------------------------------

    def run(self, program: Program) -> Reply:
        """Send a program and wait for its reply; a failure is a `SyscallError` that says why."""
        try:
            self.send(program)
            return self.receive(program)
        except Failure as failure:
            failure.reply.close()
            raise self.explain(failure) from None

    def send(self, program: Program) -> None:
        """Send a program; the answer is fetched with `receive`."""
        try:
            self.socket.sendall(encode(program), MSG_NOSIGNAL)
        except OSError as error:
            if error.errno != EPIPE:
                raise
            raise self._died() from None

    def receive(self, program: Program) -> Reply:
        """The reply to `program`; raises `Failure` when an op stopped it."""
        data, fds = self._receive(REPLY.size)
        reply = Reply(b"", fds)
        try:
            magic, size, index, errno, nfds, _ = REPLY.unpack(data)
            if magic != MAGIC or not REPLY.size <= size <= _MAX_REPLY or nfds != len(fds):
                raise KaaError("kaa-init sent nonsense")
            while len(data) < size:
                more, unexpected = self._receive(size - len(data))
                fds += unexpected
                data += more
            if nfds != len(fds):
                raise KaaError("kaa-init sent descriptors that nobody asked for")
        except KaaError:
            reply.close()
            raise
        reply.data = data[REPLY.size :]
        if index >= 0:
            raise Failure(program, min(index, len(program) - 1), errno, reply)
        return reply

    def _receive(self, size: int) -> tuple[bytes, list[int]]:
        try:
            data, ancillary, flags, _ = self.socket.recvmsg(
                size, CMSG_SPACE(4 * _MAX_FDS), MSG_CMSG_CLOEXEC
            )
        except ConnectionResetError:  # it died with our program unread
            raise self._died() from None
        fds: list[int] = []
        for level, kind, payload in ancillary:
            if level == SOL_SOCKET and kind == SCM_RIGHTS:
                fds += unpack_from(f"={len(payload) // 4}i", payload)
        if flags & MSG_CTRUNC or (fds and not data):
            for fd in fds:
                posix.close(fd)
            raise KaaError("kaa-init sent too many descriptors")
        if not data:
            raise self._died()
        return data, fds

    def send_fork(self, program: Program, flags: int = 0) -> None:
        """Send a program that ends in `fork`; `receive_fork` must follow."""
        program.at("", "fork the container's process")
        program.call("fork", flags)
        self.send(program)

    def receive_fork(self, program: Program) -> None:
        """The answer to a fork: this object is the child afterwards, and the stage is reaped."""
        try:
            reply = self.receive(program)
        except Failure as failure:
            failure.reply.close()
            raise self.explain(failure) from None
        if len(reply.fds) != 1:
            reply.close()
            raise KaaError("kaa-init sent no pidfd")
        self.pid = int.from_bytes(reply.take(4), "little")
        self.pidfd = reply.fds.pop()
        self._reap_stage()

    # -- the end ---------------------------------------------------------

    def release(self) -> None:
        """Let the waiting init serve its start socket; it survives us from here on."""
        self._say(b"R")

    def go(self) -> None:
        """Let the waiting init start the process at once."""
        self._say(b"G")

    def await_sync(self, program: Program) -> None:
        """Wait until `program`, which was sent, has come to its `sync`. Raises Failure."""
        try:
            word = self.socket.recv(1, MSG_PEEK)
        except ConnectionResetError:
            word = b""
        if word == b"S":
            self.socket.recv(1)
        elif word:
            self.receive(program).close()
        else:
            raise self._died()

    def resume(self) -> None:
        """Let the program go on behind its `sync`."""
        self._say(b"C")

    def _say(self, word: bytes) -> None:
        try:
            self.socket.send(word, MSG_NOSIGNAL)
        except OSError:
            raise self._died() from None

    def wait_exec(self, program: Program, on_sync: "Callable[[], None] | None" = None) -> None:
        """Wait until the process was executed (or has ended right after it).

        The last word is the progress file's. Raises Stopped when an op failed.
        """
        await_end(self.socket, self.pidfd, on_sync)
        check_executed(self.progress, program.op)

    def kill(self) -> None:
        """Kill whatever this object holds and reap it; never fails."""
        try:
            if self.pidfd >= 0:
                pidfd_send_signal(self.pidfd, SIGKILL)
            elif self.pid > 0:
                posix.kill(self.pid, SIGKILL)
        except OSError:
            pass
        self.close()
        self._reap_stage()
        if self.pid > 0:
            try:
                posix.waitpid(self.pid, 0)
            except ChildProcessError:
                pass
            self.pid = 0

    def close(self) -> None:
        """Close the socket (a stage, and an init that was not released, exit) and the pidfd."""
        self.socket.close()
        if self.pidfd >= 0:
            posix.close(self.pidfd)
            self.pidfd = -1
        if self._owned >= 0:
            posix.close(self._owned)
            self._owned = -1

    def end(self) -> None:
        """Close and reap a stage that has done its work."""
        self.close()
        self._reap_stage()

    def _reap_stage(self) -> None:
        if self._stage:
            try:
                posix.waitpid(self._stage, 0)
            except ChildProcessError:
                pass  # the library's user reaps on SIGCHLD
            if self.pid == self._stage:
                self.pid = 0
            self._stage = 0

    # -- errors ----------------------------------------------------------

    def explain(self, failure: Failure) -> SyscallError:
        """The error for a person: property, call, path, errno, and the kernel's own words."""
        op = failure.op
        words = ""
        if op.call in ("fsconfig", "fsmount"):
            words = self._kernel_message(op)
        return syscall_error(op, failure.program, failure.errno, words)

    def _kernel_message(self, op: "Op") -> str:
        """What the kernel wrote into the file system context (fsopen(2))."""
        program = Program(self.slots)
        buffer = program.buffer(1024)
        length = program.call("read", op.args[0], buffer, 1024, keep=True)
        program.emit(buffer, length)
        try:
            self.send(program)
            reply = self.receive(program)
        except (Failure, KaaError):
            return ""
        return reply.rest().decode("utf-8", "replace").strip().removeprefix("e ")

    def _died(self) -> InitDied:
        page = posix.pread(self.progress, PROGRESS.size, 0)
        op = PROGRESS.unpack(page)[1] if len(page) == PROGRESS.size else 0
        return InitDied(f"kaa-init died{self._wait_status()} (at op {op})")

    def _wait_status(self) -> str:
        pid = self._stage or self.pid
        if not pid:
            return ""
        try:
            _, status = posix.waitpid(pid, 0)
        except ChildProcessError:
            return ""
        if pid == self._stage:
            self._stage = 0
        if pid == self.pid:
            self.pid = 0
        if posix.WIFSIGNALED(status):
            return f", killed by signal {posix.WTERMSIG(status)}"
        return f", exit status {posix.WEXITSTATUS(status)}"


def _spawn(command_fd: int, sources: list[int], targets: tuple[int, ...]) -> int:
    """Start kaa-init with each source descriptor at its target. It resets signals itself."""
    return posix.posix_spawn(
        f"/proc/self/fd/{_executable()}",
        ["kaa-init", str(command_fd)],
        {},
        file_actions=[
            (posix.POSIX_SPAWN_DUP2, source, target)
            for source, target in zip(sources, targets, strict=True)
        ],
    )


def _executable() -> int:
    """A descriptor of kaa-init that nobody can ever write to through /proc/PID/exe."""
    if not _sealed:
        _sealed.append(_seal(_binary()))
        while len(_sealed) > 1:  # another thread was as quick: the first one counts
            posix.close(_sealed.pop())
    return _sealed[0]


def _binary() -> bytes:
    path = __file__.rpartition("/program/")[0] + "/init/kaa-init"
    try:
        fd = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
    except FileNotFoundError:
        raise KaaError(
            "kaa-init is missing", path=path, hint="kaa was not built: run `make build`"
        ) from None
    try:
        return posix.read(fd, 1 << 20)
    finally:
        posix.close(fd)


def _seal(binary: bytes) -> int:
    for flags in (_MFD_CLOEXEC_SEALING | _MFD_EXEC, _MFD_CLOEXEC_SEALING):
        try:
            fd = posix.memfd_create("kaa-init", flags)
        except OSError as error:
            if error.errno == EINVAL:  # no MFD_EXEC before Linux 6.3
                continue
            if error.errno == EACCES:  # vm.memfd_noexec=2
                return _unlinked(binary)
            raise KaaError(f"memfd_create: {strerror(error.errno or 0)}") from error
        posix.write(fd, binary)
        fcntl(fd, _ADD_SEALS, _SEAL_EVERYTHING)
        return fd
    raise KaaError("memfd_create: invalid argument", hint="kaa needs Linux 5.14 or newer")


def _unlinked(binary: bytes) -> int:
    """A nameless file, reopened read-only: a copy that only this container could spoil."""
    for directory in ("/run", "/dev/shm", "/tmp"):  # noqa: S108
        try:
            fd = posix.open(directory, posix.O_TMPFILE | posix.O_RDWR | posix.O_CLOEXEC, 0o500)
        except OSError:
            continue
        try:
            posix.write(fd, binary)
            return posix.open(f"/proc/self/fd/{fd}", posix.O_RDONLY | posix.O_CLOEXEC)
        finally:
            posix.close(fd)
    raise KaaError(
        "no place for kaa-init",
        hint="vm.memfd_noexec is 2 and neither /run nor /dev/shm nor /tmp takes O_TMPFILE",
    )
