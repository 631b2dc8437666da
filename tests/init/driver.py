"""Starts kaa-init over a socketpair and speaks its protocol, right or wrong."""

import array
import os
import select
import signal
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kaa.program import wire
from kaa.program.program import Program, Slots

BINARY = Path()  # set by conftest.py
COMMAND_FD = 3
MALFORMED, SYSTEM, STOPPED = 70, 71, 72
PATIENCE = 20.0


class Reply:
    """What a batch sent back."""

    def __init__(self, op: int, err: int, data: bytes, fds: list[int]) -> None:
        self.op = op
        self.err = err
        self.data = data
        self.fds = fds

    def __repr__(self) -> str:
        name = os.strerror(self.err) if self.err else "ok"
        return f"<Reply op={self.op} {name} {self.data[:40]!r} fds={self.fds}>"


class Gone(Exception):
    """kaa-init closed the socket instead of replying."""


class Init:
    """One kaa-init (and, after a fork, its child) at the other end of a socket."""

    def __init__(
        self,
        binary: "str | Path | None" = None,
        *,
        leaked: "tuple[int, ...]" = (),
        command_fd: int = COMMAND_FD,
        stdio: "tuple[int, int, int]" = (0, 1, 2),
    ) -> None:
        self.socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(PATIENCE)
        self.page = os.memfd_create("progress")
        os.write(self.page, wire.initial_progress())
        self.slots = Slots()
        self._unreaped: set[int] = set()
        moved = [os.dup2(fd, 100 + i) for i, fd in enumerate((theirs.fileno(), self.page, *stdio))]
        targets = [command_fd, command_fd + 1, 0, 1, 2]
        actions = [
            (os.POSIX_SPAWN_DUP2, fd, target) for fd, target in zip(moved, targets, strict=True)
        ]
        actions += [(os.POSIX_SPAWN_DUP2, fd, command_fd + 2 + i) for i, fd in enumerate(leaked)]
        try:
            self.pid = os.posix_spawn(
                str(binary or BINARY), ["kaa-init", str(command_fd)], {}, file_actions=actions
            )
        finally:
            theirs.close()
            for fd in moved:
                os.close(fd)
        self._unreaped.add(self.pid)

    # -- talking ---------------------------------------------------------

    def program(self) -> Program:
        """An empty program that shares this kaa-init's slots."""
        return Program(self.slots)

    def send(self, batch: bytes) -> None:
        self.socket.sendall(batch)

    def reply(self) -> Reply:
        """The next reply; Gone if the socket ends, TimeoutError if nothing comes."""
        head = bytearray()
        fds = array.array("i")
        while len(head) < wire.REPLY.size:
            room = socket.CMSG_SPACE(64 * fds.itemsize)
            try:
                piece, control, flags, _ = self.socket.recvmsg(wire.REPLY.size - len(head), room)
            except ConnectionResetError as error:
                raise Gone("the connection was reset") from error
            if not piece:
                raise Gone(f"end of file after {len(head)} bytes")
            assert not flags & socket.MSG_CTRUNC
            for level, kind, passed in control:
                assert (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS)
                fds.frombytes(passed)
            head += piece
        magic, size, op, err, count, reserved = wire.REPLY.unpack(head)
        assert (magic, reserved) == (wire.MAGIC, 0)
        data = bytearray()
        while len(data) < size - wire.REPLY.size:
            more = self.socket.recv(size - wire.REPLY.size - len(data))
            if not more:
                raise Gone("end of file within a reply")
            data += more
        assert count == len(fds)
        return Reply(op, err, bytes(data), list(fds))

    def run(self, program: Program) -> Reply:
        self.send(wire.encode(program))
        return self.reply()

    def ok(self, program: Program) -> Reply:
        """Run it, and it must succeed."""
        reply = self.run(program)
        if reply.err:
            op = program.ops[reply.op]
            raise AssertionError(f"op {reply.op} ({op.call}): {os.strerror(reply.err)}")
        assert reply.op == -1
        return reply

    def progress(self) -> "tuple[int, int, int, int, int]":
        """Phase, op, err, listener, pid."""
        raw = os.pread(self.page, wire.PROGRESS.size, 0)
        phase, op, err, listener, pid = wire.PROGRESS.unpack(raw)
        return phase, op, err, listener, pid

    # -- ending ----------------------------------------------------------

    def adopt(self, pid: int) -> None:
        """A fork made this process; it is our child, and what the socket talks to now."""
        self.pid = pid
        self._unreaped.add(pid)

    def status(self, pid: "int | None" = None) -> int:
        """Wait for the end: the exit status, or minus the signal."""
        pid = pid or self.pid
        pidfd = os.pidfd_open(pid)
        try:
            ready, _, _ = select.select([pidfd], [], [], PATIENCE)
        finally:
            os.close(pidfd)
        if not ready:
            raise TimeoutError(f"kaa-init {pid} did not end")
        self._unreaped.discard(pid)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    def end(self) -> int:
        """Close the socket; the exit status."""
        self.socket.close()
        return self.status()

    def close(self) -> None:
        """Leave nothing behind."""
        self.socket.close()
        os.close(self.page)
        for pid in self._unreaped:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


@contextmanager
def started(
    binary: "str | Path | None" = None,
    *,
    leaked: "tuple[int, ...]" = (),
    command_fd: int = COMMAND_FD,
    stdio: "tuple[int, int, int]" = (0, 1, 2),
) -> Iterator[Init]:
    """A kaa-init for the length of a with block."""
    init = Init(binary, leaked=leaked, command_fd=command_fd, stdio=stdio)
    try:
        yield init
    finally:
        init.close()


def fork(init: Init, flags: int = 0) -> int:
    """Run the op `fork`: the pidfd of the child, which is what `init` is from here on."""
    program = init.program()
    program.fork(flags)
    stage = init.pid
    reply = init.ok(program)
    (pid,) = struct.unpack("=i", reply.data)
    init.adopt(pid)
    assert init.status(stage) == 0
    (pidfd,) = reply.fds
    return pidfd


def value(init: Init, program: Program) -> int:
    """Run a program that emits one value: that value."""
    (found,) = struct.unpack("=q", init.ok(program).data)
    return int(found)


def is_alive(pid: int) -> bool:
    """Running, and not merely waiting to be reaped."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


def descriptors(init: Init) -> dict[int, str]:
    """What kaa-init has open, between two batches."""
    init.ok(init.program())  # it closes what a reply carried only after sending it
    directory = f"/proc/{init.pid}/fd"
    return {int(name): os.readlink(f"{directory}/{name}") for name in os.listdir(directory)}
