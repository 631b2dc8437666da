"""fork: the runtime gets a child, in the namespaces that are wanted."""

import errno
import os
import stat
import struct
from pathlib import Path

import pytest
from init.driver import Init, descriptors, fork, value

O_PATH = os.O_PATH | os.O_CLOEXEC


def test_fork_gives_a_child_of_the_runtime_with_the_slots(init: Init) -> None:
    program = init.program()
    fd = program.openat(-100, "/etc", O_PATH, 0)
    init.ok(program)
    stage = init.pid
    pidfd = fork(init)
    try:
        assert init.pid != stage
        assert stat.S_ISDIR(os.stat(f"/proc/{init.pid}/cwd").st_mode)
        ppid = Path(f"/proc/{init.pid}/stat").read_text().rpartition(")")[2].split()[1]
        assert int(ppid) == os.getpid()
        program = init.program()
        program.send_fd(fd)
        dumpable = program.prctl(3, 0, 0, 0, 0, keep=True)
        program.emit_value(dumpable)
        reply = init.ok(program)
        assert reply.data == bytes(8)
        assert os.path.samestat(os.stat("/etc"), os.fstat(reply.fds[0]))
        os.close(reply.fds[0])
        assert f"Pid:\t{init.pid}\n" in Path(f"/proc/self/fdinfo/{pidfd}").read_text()
        assert init.progress()[4] == init.pid
        assert init.end() == 0
    finally:
        os.close(pidfd)


def test_fork_into_new_namespaces(init: Init) -> None:
    os.close(fork(init, 0x20000000 | 0x00020000))
    program = init.program()
    program.emit_value(program.getpid(keep=True))
    assert value(init, program) == 1
    assert init.progress()[4] == 1
    assert os.readlink(f"/proc/{init.pid}/ns/mnt") != os.readlink("/proc/self/ns/mnt")


def test_the_parent_half_sends_what_was_emitted_before(init: Init) -> None:
    program = init.program()
    program.emit_value(5)
    program.send_fd(0)
    program.fork(0)
    stage = init.pid
    reply = init.ok(program)
    five, pid = struct.unpack("=qi", reply.data)
    init.adopt(pid)
    assert five == 5
    assert len(reply.fds) == 2
    for fd in reply.fds:
        os.close(fd)
    assert init.status(stage) == 0
    assert init.ok(init.program()).data == b""
    assert sorted(descriptors(init)) == [0, 1, 2, 3]


@pytest.mark.parametrize("flags", [0x100, 0x4000, 0x80000, 17, 1 << 40, 0x00000800])
def test_fork_takes_namespaces_only(init: Init, flags: int) -> None:
    program = init.program()
    program.fork(flags)
    assert init.run(program).err == errno.EINVAL


def test_fork_that_cannot_be_reported_leaves_no_child(init: Init) -> None:
    program = init.program()
    program.emit(program.buffer(1 << 16), 1 << 16)
    program.fork(0)
    reply = init.run(program)
    assert (reply.op, reply.err) == (1, errno.E2BIG)
    pid, status = os.waitpid(-1, 0)
    assert pid != init.pid
    assert os.waitstatus_to_exitcode(status) == -9
