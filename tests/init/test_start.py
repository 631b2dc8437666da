"""What kaa-init does before it reads a batch."""

import fcntl
import os
import signal
import socket
import subprocess
from pathlib import Path

import pytest
from init import driver
from init.driver import Init, descriptors, started

from kaa.program import wire

SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE


def settle(init: Init) -> None:
    """Come back when kaa-init has started: it answers."""
    init.ok(init.program())


def test_an_empty_batch_is_answered(init: Init) -> None:
    reply = init.run(init.program())
    assert (reply.op, reply.err, reply.data, reply.fds) == (-1, 0, b"", [])
    assert init.end() == 0


def test_nothing_above_the_command_socket_is_open(init: Init) -> None:
    found = descriptors(init)
    assert sorted(found) == [0, 1, 2, driver.COMMAND_FD]
    assert found[driver.COMMAND_FD].startswith("socket:")


def test_leaked_descriptors_are_closed() -> None:
    leaked = [os.open("/", os.O_PATH), os.open("/etc/passwd", os.O_RDONLY)]
    try:
        with started(leaked=tuple(leaked)) as init:
            assert sorted(descriptors(init)) == [0, 1, 2, driver.COMMAND_FD]
    finally:
        for fd in leaked:
            os.close(fd)


def test_descriptors_below_the_command_socket_are_left_alone() -> None:
    with started(command_fd=9) as init:
        assert sorted(descriptors(init)) == [0, 1, 2, 9]


def test_the_command_socket_does_not_survive_execve(init: Init) -> None:
    program = init.program()
    program.execve("/bin/sleep", ["sleep", "60"], [])
    init.send(wire.encode(program))
    assert init.socket.recv(1) == b""
    assert sorted(os.listdir(f"/proc/{init.pid}/fd")) == ["0", "1", "2"]


def test_it_is_undumpable_and_has_a_name(init: Init) -> None:
    program = init.program()
    dumpable = program.prctl(3, 0, 0, 0, 0, keep=True)
    program.emit_value(dumpable)
    assert driver.value(init, program) == 0
    assert Path(f"/proc/{init.pid}/comm").read_text() == "kaa-init\n"


def test_inherited_signal_settings_are_reset() -> None:
    before = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    ignored = [signal.SIGUSR1, signal.SIGTERM, 40]
    old = {number: signal.signal(number, signal.SIG_IGN) for number in ignored}
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, 41})
    try:
        with started() as init:
            settle(init)
            lines = Path(f"/proc/{init.pid}/status").read_text().splitlines()
            fields = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
            for name in ("SigIgn", "SigBlk", "SigCgt"):
                assert int(fields[name], 16) == 0, name
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for number, handler in old.items():
            signal.signal(number, handler)
        signal.signal(signal.SIGCHLD, before)


def test_it_starts_from_a_sealed_memfd() -> None:
    fd = os.memfd_create("kaa-init", os.MFD_ALLOW_SEALING | os.MFD_CLOEXEC)
    try:
        os.write(fd, driver.BINARY.read_bytes())
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, SEALS)
        with started(f"/proc/self/fd/{fd}") as init:
            settle(init)
            assert Path(f"/proc/{init.pid}/comm").read_text() == "kaa-init\n"
            assert "memfd:kaa-init" in os.readlink(f"/proc/{init.pid}/exe")
            assert sorted(descriptors(init)) == [0, 1, 2, driver.COMMAND_FD]
            with pytest.raises(OSError, match=r"Text file busy|not permitted"):
                os.open(f"/proc/{init.pid}/exe", os.O_WRONLY)
    finally:
        os.close(fd)


def test_the_progress_page_says_who_and_what(init: Init) -> None:
    settle(init)
    assert init.progress() == (0, 0, 0, -1, init.pid)
    program = init.program()
    program.getpid()
    program.mark(4)
    init.ok(program)
    assert init.progress() == (4, 1, 0, -1, init.pid)
    program = init.program()
    program.mark(5)
    assert init.run(program).err == 22


@pytest.mark.parametrize("argument", [[], [""], ["x"], ["-3"], ["3", "4"], ["9999999999999"]])
def test_nonsense_on_the_command_line(argument: list[str]) -> None:
    done = subprocess.run([driver.BINARY, *argument], check=False, close_fds=True)
    assert done.returncode == driver.MALFORMED


def test_a_command_socket_that_is_not_open() -> None:
    done = subprocess.run([driver.BINARY, "50"], check=False)
    assert done.returncode == driver.SYSTEM


def test_the_runtime_dies_with_a_reply_unread() -> None:
    with started() as init:
        init.send(wire.encode(init.program()))
        while not init.socket.recv(1, socket.MSG_PEEK):
            pass
        assert init.end() == 0
