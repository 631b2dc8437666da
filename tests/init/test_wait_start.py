"""The gate between create and start, and what happens after it."""

import errno
import os
import signal
import socket
import struct
import time
from pathlib import Path

import pytest
from init import driver
from init.driver import STOPPED, Gone, Init, fork

from kaa.program import wire
from kaa.program.program import Program, Slot

CREATED, GO = 2, 3
OUTSIDER = 12345


def gate(
    init: Init, directory: "Path | None" = None, uid: int = 0, script: str = "exit 42"
) -> None:
    """Send the last program; come back when kaa-init has said that it waits."""
    program = init.program()
    listener: "Slot | int" = -1
    if directory is not None:
        directory.chmod(0o777)
        listener = program.socket(1, socket.SOCK_STREAM | socket.SOCK_CLOEXEC, 0)
        address = struct.pack("=H", 1) + f"{directory}/start.sock".encode() + b"\0"
        program.bind(listener, address, len(address))
        program.listen(listener, 4)
        program.fchmodat(-100, f"{directory}/start.sock", 0o777)
    program.wait_start(listener, uid)
    program.execve("/bin/sh", ["sh", "-c", script], [])
    reply = init.run(program)
    assert (reply.op, reply.err) == (-1, 0)
    assert init.progress()[0] == CREATED


def connect(directory: Path) -> socket.socket:
    peer = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    peer.settimeout(driver.PATIENCE)
    try:
        peer.connect(f"{directory}/start.sock")
    except OSError:
        peer.close()
        raise
    return peer


def connect_as(directory: Path, uid: int) -> socket.socket:
    before = os.geteuid()
    os.seteuid(uid)
    try:
        return connect(directory)
    finally:
        os.seteuid(before)


@pytest.fixture
def public(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short directory that every user may enter."""
    path = tmp_path_factory.mktemp("gate")
    for part in (path, *path.parents):
        if part == Path("/tmp"):
            break
        part.chmod(0o711)
    return path


def test_go_at_once(init: Init) -> None:
    gate(init)
    init.socket.send(b"G")
    assert init.socket.recv(1) == b""
    assert init.status() == 42
    assert init.progress()[0] == GO
    assert init.progress()[2] == 0


def test_what_was_emitted_comes_with_ready(init: Init) -> None:
    program = init.program()
    program.emit_value(9)
    program.send_fd(0)
    program.wait_start(-1, 0)
    reply = init.ok(program)
    assert (reply.data, len(reply.fds)) == (struct.pack("=q", 9), 1)
    os.close(reply.fds[0])
    assert init.end() == 0


@pytest.mark.parametrize("word", [b"", b"x", b"\0", b"R"])
def test_anything_but_go_ends_it(init: Init, word: bytes) -> None:
    gate(init)  # without a socket to wait on, a release has no meaning
    if word:
        init.socket.send(word)
    else:
        init.socket.close()
    assert init.status() == 0


def test_start_through_the_socket(init: Init, public: Path) -> None:
    gate(init, public)
    init.socket.send(b"R")
    assert init.socket.recv(1) == b""
    with connect(public) as peer:
        peer.send(b"G")
        assert peer.recv(1) == b""
    assert init.status() == 42


def test_go_at_once_closes_the_socket(init: Init, public: Path) -> None:
    gate(init, public, script="exec /bin/sleep 60")
    init.socket.send(b"G")
    assert init.socket.recv(1) == b""
    with pytest.raises(ConnectionRefusedError):
        connect(public)


def test_the_connection_becomes_the_command_socket(init: Init, public: Path) -> None:
    program = init.program()
    listener = program.socket(1, socket.SOCK_STREAM | socket.SOCK_CLOEXEC, 0)
    address = struct.pack("=H", 1) + f"{public}/start.sock".encode() + b"\0"
    program.bind(listener, address, len(address))
    program.listen(listener, 4)
    program.wait_start(listener, 0)
    program.spawn("/bin/sleep", ["sleep", "60"], [], 0, 0, 0)  # a startContainer hook
    init.ok(program)
    init.socket.send(b"R")
    assert init.socket.recv(1) == b""
    peer = connect(public)
    peer.send(b"G")
    while init.progress()[0] != GO:
        time.sleep(0.005)
    fds = set(map(int, os.listdir(f"/proc/{init.pid}/fd")))
    assert driver.COMMAND_FD in fds
    flags = Path(f"/proc/{init.pid}/fdinfo/{driver.COMMAND_FD}").read_text()
    assert int(flags.split("flags:")[1].split()[0], 8) & os.O_CLOEXEC
    peer.close()  # `start` dies while its hook runs
    assert init.status() == 0


def test_end_of_file_means_accept_again(init: Init, public: Path) -> None:
    gate(init, public)
    init.socket.send(b"R")
    for word in (b"", b"x", b"", b"R"):
        with connect(public) as peer:
            if word:
                peer.send(word)
            else:
                peer.shutdown(socket.SHUT_WR)
            assert peer.recv(1) == b""
    assert driver.is_alive(init.pid)
    assert init.progress()[0] == CREATED
    with connect(public) as peer:
        peer.send(b"G")
        assert peer.recv(1) == b""
    assert init.status() == 42


def test_another_uid_is_refused(init: Init, public: Path) -> None:
    gate(init, public, uid=OUTSIDER)
    init.socket.send(b"R")
    with connect_as(public, OUTSIDER + 1) as peer:
        try:
            peer.send(b"G")
            assert peer.recv(1) == b""
        except (BrokenPipeError, ConnectionResetError):
            pass
    assert driver.is_alive(init.pid)
    assert init.progress()[0] == CREATED
    with connect_as(public, OUTSIDER) as peer:
        peer.send(b"G")
        assert peer.recv(1) == b""
    assert init.status() == 42


def test_root_may_always(init: Init, public: Path) -> None:
    gate(init, public, uid=OUTSIDER)
    init.socket.send(b"R")
    with connect(public) as peer:
        peer.send(b"G")
        assert peer.recv(1) == b""
    assert init.status() == 42


def test_the_uid_is_the_user_namespaces_own(init: Init, public: Path) -> None:
    """The host's root has no number in there: it is the overflow uid, as is everybody else."""
    program = init.program()
    program.prctl(4, 1, 0, 0, 0)
    program.unshare(0x10000000)
    init.ok(program)
    Path(f"/proc/{init.pid}/uid_map").write_text("0 100000 1")
    gate(init, public, uid=65534)
    init.socket.send(b"R")
    with connect_as(public, 100000) as peer:  # root of the container, who is 0 in there
        peer.send(b"x")
        assert peer.recv(1) == b""
    with connect(public) as peer:
        peer.send(b"G")
        assert peer.recv(1) == b""
    assert init.status() == 42


SIGNALS = [
    signal.SIGHUP,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGTERM,
    signal.SIGALRM,
    signal.SIGUSR1,
    signal.SIGUSR2,
]


@pytest.mark.parametrize("number", SIGNALS)
def test_signals_end_it_even_as_pid_1(init: Init, public: Path, number: int) -> None:
    os.close(fork(init, 0x20000000))
    gate(init, public)
    init.socket.send(b"R")
    assert init.socket.recv(1) == b""
    os.kill(init.pid, number)
    assert init.status() == 128 + number


def test_the_handlers_do_not_survive_execve(init: Init) -> None:
    gate(init, script="exec /bin/sleep 60")
    init.socket.send(b"G")
    status = Path(f"/proc/{init.pid}/status")
    end = time.monotonic() + driver.PATIENCE
    while "Name:\tsleep\n" not in status.read_text():
        assert time.monotonic() < end
        time.sleep(0.005)
    assert f"SigCgt:\t{0:016x}\n" in status.read_text()


def test_a_failure_after_the_gate_is_in_the_page(init: Init) -> None:
    program = init.program()
    program.wait_start(-1, 0)
    program.getpid()
    program.execve("/nonexistent", ["x"], [])
    init.ok(program)
    init.socket.send(b"G")
    with pytest.raises(Gone):
        init.reply()
    assert init.status() == STOPPED
    assert init.progress()[:3] == (GO, 2, errno.ENOENT)


def test_emitting_after_the_gate_does_no_harm(init: Init) -> None:
    program = init.program()
    program.wait_start(-1, 0)
    for _ in range(3):
        program.emit(program.buffer(1 << 15), 1 << 15)
    program.emit_value(1)
    for _ in range(40):
        program.send_fd(0)
    program.execve("/bin/true", ["true"], [])
    init.ok(program)
    init.socket.send(b"G")
    with pytest.raises(Gone):
        init.reply()
    assert init.status() == 0


def test_the_last_hooks_words_are_in_the_page(init: Init) -> None:
    program = init.program()
    program.wait_start(-1, 0)
    for script in ("/usr/bin/head -c 9999 /dev/zero", "/usr/bin/head -c 9999 /dev/zero; echo why"):
        program.spawn("/bin/sh", ["sh", "-c", script], [], 0, 0, 0)
    program.execve("/nonexistent", ["x"], [])
    init.ok(program)
    init.socket.send(b"G")
    assert init.status() == STOPPED
    assert init.progress()[:3] == (GO, 3, errno.ENOENT)
    said, length = struct.unpack("=II", os.pread(init.page, 8, 24))
    assert (said, length) == (4004, 4000)
    assert os.pread(init.page, said - 4, 32) == bytes(3996) + b"why\n"


def test_a_second_gate_and_a_fork_behind_it_are_refused(init: Init) -> None:
    for special, error in (("wait_start", errno.EINVAL), ("fork", errno.EPERM)):
        with driver.started() as other:
            program = other.program()
            program.wait_start(-1, 0)
            program.call(special, *((-1, 0) if special == "wait_start" else (0,)))
            other.ok(program)
            other.socket.send(b"G")
            assert other.status() == STOPPED
            assert other.progress()[:3] == (GO, 1, error)
    assert init.end() == 0


def test_a_program_that_only_ends(init: Init) -> None:
    program = init.program()
    program.wait_start(-1, 0)
    program.getpid()
    init.ok(program)
    init.socket.send(b"G")
    assert init.status() == 0


# -- the seccomp filter ------------------------------------------------------

NUMBERS = {"x86_64": {"sendmsg": 46, "exit_group": 231, "exit": 60, "execve": 59}}
NUMBERS["aarch64"] = {"sendmsg": 211, "exit_group": 94, "exit": 93, "execve": 221}


def load_filter(program: Program, names: "list[str]", action: int) -> None:
    """These calls get the action, all others are allowed."""
    code = [struct.pack("=HBBI", 0x20, 0, 0, 0)]
    for name in names:
        code.append(struct.pack("=HBBI", 0x15, 0, 1, NUMBERS[os.uname().machine][name]))
        code.append(struct.pack("=HBBI", 0x06, 0, 0, action))
    code.append(struct.pack("=HBBI", 0x06, 0, 0, 0x7FFF0000))
    fprog = program.bytes(struct.pack("=HxxxxxxQ", len(code), 0))
    program.pointer(fprog + 8, program.bytes(b"".join(code)))
    program.mark(wire.EXECUTING)
    program.call("seccomp", 1, 0, fprog)


def test_the_page_knows_even_if_the_filter_kills_what_replies(init: Init) -> None:
    program = init.program()
    load_filter(program, ["sendmsg"], 0x80000000)
    program.execve("/nonexistent", ["x"], [])
    init.send(wire.encode(program))
    with pytest.raises(Gone):
        init.reply()
    assert init.status() == -signal.SIGSYS
    assert init.progress()[:3] == (wire.EXECUTING, 2, errno.ENOENT)


def test_without_exit_it_traps(init: Init) -> None:
    program = init.program()
    program.wait_start(-1, 0)
    load_filter(program, ["exit_group", "exit"], 0x00050000 | errno.EPERM)
    program.execve("/nonexistent", ["x"], [])
    init.ok(program)
    init.socket.send(b"G")
    assert init.status() in (-signal.SIGILL, -signal.SIGTRAP)
    assert init.progress()[:3] == (wire.EXECUTING, 3, errno.ENOENT)
