"""Calls, policies, slots, and the special ops that are a few lines each."""

import errno
import fcntl
import os
import socket
import struct
import time
from pathlib import Path

import pytest
from init.driver import Init, descriptors, value

from kaa.program import wire
from kaa.program.program import ANY, SLOTS, Program, Ref, Slot

O_PATH = os.O_PATH | os.O_CLOEXEC
O_RDONLY = os.O_RDONLY | os.O_CLOEXEC
MISSING = "/nonexistent/file"


def values(init: Init, program: Program) -> list[int]:
    data = init.ok(program).data
    return list(struct.unpack(f"={len(data) // 8}q", data))


# -- calls, slots, policies ------------------------------------------------


def test_results_go_to_slots_and_slots_are_arguments(init: Init) -> None:
    program = init.program()
    fd = program.openat(-100, "/etc/passwd", O_RDONLY, 0)
    room = program.buffer(16)
    count = program.read(fd, room, 16, keep=True)
    program.close(fd)
    program.emit(room, count)
    program.emit_value(count)
    data = init.ok(program).data
    assert data == Path("/etc/passwd").read_bytes()[:16] + struct.pack("=q", 16)


def test_slots_begin_as_minus_one_and_live_on(init: Init) -> None:
    program = init.program()
    program.emit_value(Slot(0))
    program.emit_value(Slot(SLOTS - 1))
    program.getpid(into=Slot(SLOTS - 1))
    assert values(init, program) == [-1, -1]
    program = init.program()
    program.emit_value(Slot(SLOTS - 1))
    assert value(init, program) == init.pid


def test_a_failure_names_the_op_and_ends_the_batch(init: Init) -> None:
    program = init.program()
    program.emit_value(1)
    program.openat(-100, MISSING, O_RDONLY, 0, into=Slot(7))
    program.emit_value(2)
    reply = init.run(program)
    assert (reply.op, reply.err, reply.data) == (1, errno.ENOENT, struct.pack("=q", 1))
    program = init.program()
    program.emit_value(Slot(7))
    assert value(init, program) == -errno.ENOENT


@pytest.mark.parametrize("ok", [(errno.ENOENT,), (errno.EPERM, errno.ENOENT), ANY])
def test_ignored_errors_leave_their_errno_in_the_slot(init: Init, ok: tuple[int, ...]) -> None:
    program = init.program()
    fd = program.openat(-100, MISSING, O_RDONLY, 0, ok=ok)
    program.emit_value(fd)
    assert value(init, program) == -errno.ENOENT


@pytest.mark.parametrize("how", ["ok", "goto"])
def test_an_error_that_was_not_foreseen_stops(init: Init, how: str) -> None:
    program = init.program()
    label = program.label()
    if how == "ok":
        program.openat(-100, MISSING, O_RDONLY, 0, ok=(errno.EPERM, errno.ELOOP))
    else:
        program.openat(-100, MISSING, O_RDONLY, 0, goto=(label, errno.EPERM))
    program.emit_value(1)
    program.place(label)
    reply = init.run(program)
    assert (reply.op, reply.err, reply.data) == (0, errno.ENOENT, b"")


@pytest.mark.parametrize("foreseen", [(errno.ENOENT,), ()])
def test_skip(init: Init, foreseen: tuple[int, ...]) -> None:
    program = init.program()
    label = program.label()
    fd = program.openat(-100, MISSING, O_RDONLY, 0, goto=(label, *foreseen))
    program.emit_value(1)
    program.emit_value(2)
    program.place(label)
    program.emit_value(3)
    program.emit_value(fd)
    assert values(init, program) == [3, -errno.ENOENT]


def test_skip_does_nothing_on_success_and_may_lead_to_the_end(init: Init) -> None:
    program = init.program()
    label = program.label()
    program.getpid(goto=(label,))
    program.emit_value(1)
    program.place(label)
    assert values(init, program) == [1]
    program = init.program()
    label = program.label()
    program.fchdir(-1, goto=(label,))
    program.emit_value(1)
    program.place(label)
    assert values(init, program) == []


def test_jump(init: Init) -> None:
    program = init.program()
    label = program.label()
    program.jump(label)
    program.emit_value(1)
    program.emit_value(2)
    program.place(label)
    program.emit_value(3)
    assert values(init, program) == [3]


def test_relocated_vectors(init: Init) -> None:
    program = init.program()
    program.execve("/bin/sh", ["sh", "-c", 'exit "$CODE"'], ["CODE=42"])
    init.send(wire.encode(program))
    assert init.status() == 42


def test_the_kernel_cannot_write_past_the_data(init: Init) -> None:
    program = init.program()
    room = program.buffer(64)
    fd = program.openat(-100, "/dev/zero", O_RDONLY, 0)
    program.read(fd, room, 64)
    program.emit(room, 64)
    assert init.ok(program).data == bytes(64)
    program = init.program()
    room = program.buffer(64)
    count = program.read(fd, room + 32, 4096, keep=True)  # a short read up to the guard
    program.emit_value(count)
    program.pipe2(room + 64, 0)
    reply = init.run(program)
    assert (reply.op, reply.err) == (2, errno.EFAULT)
    assert struct.unpack("=q", reply.data) == (32,)


def test_batches_of_growing_and_shrinking_size(init: Init) -> None:
    for size in (8, 1 << 16, 1 << 20, 64, 5 << 20, 8, 1 << 16):
        program = init.program()
        program.emit(program.bytes(os.urandom(size - 8) + b"the last"), 0)
        program.emit(Ref(size - 8), 8)
        assert init.ok(program).data == b"the last"


# -- the reply ---------------------------------------------------------------


def test_emit_is_bounded_by_the_data(init: Init) -> None:
    for offset, length, fails in ((0, 16, 0), (8, 8, 0), (16, 0, 0), (8, 9, 1), (16, 1, 1)):
        program = init.program()
        room = program.bytes(b"0123456789abcdef")
        program.emit(room + offset, length)
        reply = init.run(program)
        assert reply.err == (errno.EFAULT if fails else 0)
        assert fails or reply.data == b"0123456789abcdef"[offset : offset + length]


@pytest.mark.parametrize("address", [0, 4096, 1 << 47, (1 << 64) - 4])
def test_emit_of_an_address_outside_the_data(init: Init, address: int) -> None:
    program = init.program()
    program.call("emit", address, 8)
    assert init.run(program).err == errno.EFAULT


def test_emit_of_a_negative_length(init: Init) -> None:
    program = init.program()
    fd = program.openat(-100, MISSING, O_RDONLY, 0, ok=ANY)
    program.emit(program.buffer(8), fd)
    assert init.run(program).err == errno.EFAULT


def test_a_reply_holds_64_kib(init: Init) -> None:
    program = init.program()
    room = program.buffer(1 << 16)
    program.emit(room, (1 << 16) - 8)
    program.emit_value(7)
    assert len(init.ok(program).data) == 1 << 16
    program = init.program()
    room = program.buffer(1 << 16)
    program.emit(room, 1 << 16)
    program.emit_value(7)
    reply = init.run(program)
    assert (reply.op, reply.err, len(reply.data)) == (1, errno.E2BIG, 1 << 16)


def test_send_fd_survives_a_close_in_the_same_batch(init: Init) -> None:
    program = init.program()
    fd = program.openat(-100, "/etc", O_PATH, 0)
    program.send_fd(fd)
    program.close(fd)
    (received,) = init.ok(program).fds
    assert os.path.samestat(os.stat("/etc"), os.fstat(received))
    os.close(received)
    assert sorted(descriptors(init)) == [0, 1, 2, 3]


def test_send_fd_of_a_bad_descriptor(init: Init) -> None:
    program = init.program()
    program.send_fd(Slot(200))
    assert init.run(program).err == errno.EBADF


def test_a_reply_carries_32_descriptors(init: Init) -> None:
    for count in (32, 33):
        program = init.program()
        for _ in range(count):
            program.send_fd(0)
        reply = init.run(program)
        assert (reply.op, reply.err) == ((-1, 0) if count == 32 else (32, errno.EMFILE))
        assert len(reply.fds) == 32
        for fd in reply.fds:
            os.close(fd)


# -- poke, check, decimal, find_executable, bring_up, peek, listener ------------


@pytest.mark.parametrize(("width", "expected"), [(1, "88"), (2, "8877"), (4, "88776655")])
def test_poke_writes_that_many_bytes(init: Init, width: int, expected: str) -> None:
    program = init.program()
    room = program.buffer(16)
    program.poke(room + 3, width, 0x1122334455667788)
    program.emit(room, 16)
    assert init.ok(program).data == (bytes(3) + bytes.fromhex(expected)).ljust(16, b"\0")


def test_poke_of_a_slot_into_a_struct(init: Init) -> None:
    program = init.program()
    room = program.buffer(8)
    pid = program.getpid(keep=True)
    program.poke(room, 8, pid)
    program.emit(room, 8)
    assert value(init, program) == init.pid


@pytest.mark.parametrize(
    ("offset", "width", "error"),
    [
        *((0, 3, errno.EINVAL), (0, 0, errno.EINVAL), (0, 16, errno.EINVAL), (8, 8, 0)),
        *((9, 8, errno.EFAULT), (16, 1, errno.EFAULT), (15, 1, 0), (13, 4, errno.EFAULT)),
    ],
)
def test_poke_and_check_are_bounded(init: Init, offset: int, width: int, error: int) -> None:
    for special in ("poke", "check"):
        program = init.program()
        room = program.buffer(16)
        if special == "poke":
            program.poke(room + offset, width, 0)
        else:
            program.check(room + offset, width, 0, 0, errno.EDOM)
        assert init.run(program).err == error


def test_poke_outside_the_data(init: Init) -> None:
    program = init.program()
    program.call("poke", 0x400000, 8, 0)
    assert init.run(program).err == errno.EFAULT
    program = init.program()
    program.call("poke", (1 << 64) - 1, 1, 0)
    assert init.run(program).err == errno.EFAULT


def test_check(init: Init) -> None:
    word = struct.pack("=Q", 0x1122334455667788)
    for width, mask, wanted, fails in (
        (8, (1 << 64) - 1, 0x1122334455667788, False),
        (4, 0xFFFF, 0x7788, False),
        (2, 0xFFFFFFFF, 0x7788, False),
        (1, 0x0F, 9, True),
    ):
        program = init.program()
        program.check(program.bytes(word), width, mask, wanted, errno.EXDEV)
        assert init.run(program).err == (errno.EXDEV if fails else 0)
    for bad in (0, 4096, -1):
        program = init.program()
        program.check(program.bytes(word), 8, 0, 1, bad)
        assert init.run(program).err == errno.EINVAL


@pytest.mark.parametrize("number", [0, 7, 10, 4711, -1, (1 << 63) - 1, -(1 << 63)])
def test_decimal(init: Init, number: int) -> None:
    text = str(number).encode() + b"\0"
    room_for = (len(text) + 7) // 8 * 8
    program = init.program()
    room = program.buffer(room_for)
    program.decimal(room, len(text), number)
    program.emit(room, room_for)
    assert init.ok(program).data == text.ljust(room_for, b"\0")
    program = init.program()
    program.decimal(program.buffer(room_for), len(text) - 1, number)
    assert init.run(program).err == errno.ERANGE
    program = init.program()
    program.decimal(program.buffer(room_for), room_for + 1, number)
    assert init.run(program).err == errno.EFAULT


def find(init: Init, candidates: list[str]) -> "str | int":
    """The path that was found, by letting readlinkat use the address; or the errno."""
    program = init.program()
    found = program.find_executable(candidates, ok=(errno.ENOENT, errno.EACCES))
    program.emit_value(found)
    address = value(init, program)
    if address < 0:
        return -address
    program = init.program()
    found = program.find_executable(candidates)
    room = program.buffer(256)
    program.statx(-100, found, 0, 0x7FF, room)
    program.emit(room, 256)
    inode = struct.unpack_from("=Q", init.ok(program).data, 32)[0]
    return next(
        path for path in candidates if os.path.exists(path) and os.stat(path).st_ino == inode
    )


def test_find_executable(init: Init, tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    plain = tmp_path / "plain"
    plain.write_text("")
    directory = tmp_path / "directory"
    directory.mkdir()
    link = tmp_path / "link"
    link.symlink_to(program)
    missing = str(tmp_path / "missing")
    beyond = f"{plain}/x"
    assert find(init, [missing, beyond, str(program)]) == str(program)
    assert find(init, [str(plain), str(directory), str(program)]) == str(program)
    assert find(init, [str(plain), str(link)]) in (str(link), str(program))
    assert find(init, []) == errno.ENOENT
    assert find(init, [missing, beyond]) == errno.ENOENT
    assert find(init, [missing, str(plain)]) == errno.EACCES
    assert find(init, [str(directory), missing]) == errno.EACCES


def test_find_executable_asks_for_the_effective_ids(init: Init, tmp_path: Path) -> None:
    program_file = tmp_path / "mine"
    program_file.write_text("")
    program_file.chmod(0o700)
    os.chmod(tmp_path, 0o755)
    for parent in list(tmp_path.parents)[:3]:
        if parent != Path("/tmp"):
            os.chmod(parent, 0o755)
    program = init.program()
    program.setresuid(-1, 12345, -1)
    found = program.find_executable([str(program_file)], ok=ANY)
    program.emit_value(found)
    assert value(init, program) == -errno.EACCES


def test_find_executable_stays_within_the_data(init: Init) -> None:
    program = init.program()
    program.find_executable(program.bytes(struct.pack("=Q", 0x400000)))
    assert init.run(program).err == errno.EFAULT
    program = init.program()
    room = program.buffer(8)
    program.pointer(room, program.bytes(b"/bin/sh "))  # neither terminated: string, vector
    program.find_executable(room)
    assert init.run(program).err == errno.EFAULT


def test_bring_up(init: Init) -> None:
    program = init.program()
    program.unshare(0x40000000)
    init.ok(program)
    program = init.program()
    program.bring_up("lo")
    program.send_fd(program.socket(2, 2, 0))
    (fd,) = init.ok(program).fds
    with socket.socket(fileno=fd) as inside:
        answer = fcntl.ioctl(inside, 0x8913, struct.pack("=16sh22x", b"lo", 0))
    assert struct.unpack_from("=h", answer, 16)[0] & 1
    for name in ("none0", "a" * 15, "a" * 16, "a" * 300):
        program = init.program()
        program.bring_up(name)
        assert init.run(program).err == errno.ENODEV


@pytest.mark.parametrize("width", [1, 2, 4, 8])
def test_peek(init: Init, width: int) -> None:
    word = bytes(range(0xA0, 0xA8))
    program = init.program()
    found = program.peek(program.bytes(b"x" * 3 + word) + 3, width, keep=True)
    program.emit_value(found)
    (result,) = struct.unpack("=Q", init.ok(program).data)
    assert result == int.from_bytes(word[:width], "little")


@pytest.mark.parametrize(
    ("offset", "width", "error"),
    [(0, 3, errno.EINVAL), (9, 8, errno.EFAULT), (16, 1, errno.EFAULT), (8, 8, 0)],
)
def test_peek_is_bounded(init: Init, offset: int, width: int, error: int) -> None:
    program = init.program()
    room = program.buffer(16)
    program.peek(room + offset, width)
    assert init.run(program).err == error


def test_listener_waits_until_python_has_taken_it(init: Init) -> None:
    program = init.program()
    program.listener(17)
    init.send(wire.encode(program))
    end = time.monotonic() + 10
    while init.progress()[3] != 17:
        assert time.monotonic() < end
    init.socket.settimeout(0.2)
    with pytest.raises(TimeoutError):
        init.reply()
    # no system call: it is running, not waiting in the kernel
    assert Path(f"/proc/{init.pid}/syscall").read_text() == "running\n"
    os.pwrite(init.page, struct.pack("=I", 1), 20)
    init.socket.settimeout(10)
    assert init.reply().err == 0


@pytest.mark.slow
def test_listener_does_not_wait_for_ever(init: Init) -> None:
    program = init.program()
    program.listener(17)
    init.socket.settimeout(60)
    begin = time.monotonic()
    assert init.run(program).err == errno.ETIMEDOUT
    assert 4 < time.monotonic() - begin < 40
