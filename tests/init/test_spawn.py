"""The op that runs hooks."""

import errno
import os
import signal
import struct
import time
from pathlib import Path

import pytest
from init import driver
from init.driver import Init, descriptors, fork, is_alive

from kaa.program import wire
from kaa.program.program import ANY, Program


def spawn(
    init: Init,
    script: str,
    *,
    stdin: bytes = b"",
    timeout: int = 20000,
    env: "list[str] | None" = None,
    path: str = "/bin/sh",
) -> "tuple[int, bytes]":
    """The wait status, or -errno, and the output."""
    program = init.program()
    append(program, script, stdin, timeout, env or [], path)
    data = init.ok(program).data
    (length,) = struct.unpack_from("=I", data)
    assert len(data) == 4 + length + 8
    return struct.unpack_from("=q", data, 4 + length)[0], data[4 : 4 + length]


def append(
    program: Program, script: str, stdin: bytes, timeout: int, env: "list[str]", path: str
) -> None:
    argv = ["sh", "-c", script]
    status = program.spawn(path, argv, env, stdin, len(stdin), timeout, keep=True, ok=ANY)
    program.emit_value(status)


def wait_for(path: Path) -> str:
    end = time.monotonic() + driver.PATIENCE
    while time.monotonic() < end:
        if path.exists() and path.read_text().endswith("\n"):
            return path.read_text().strip()
        time.sleep(0.005)
    raise TimeoutError(path)


def wait_gone(pid: int) -> None:
    end = time.monotonic() + driver.PATIENCE
    while is_alive(pid):
        assert time.monotonic() < end, f"{pid} is still there"
        time.sleep(0.005)


def children(pid: int) -> list[int]:
    return list(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))


def test_status_output_environment_and_stdin(init: Init) -> None:
    assert spawn(init, "exit 3") == (3 << 8, b"")
    assert spawn(init, "kill -9 $$") == (9, b"")
    assert spawn(init, "echo out; echo err >&2") == (0, b"out\nerr\n")
    assert spawn(init, 'echo "$A$B"', env=["A=1", "B=2"]) == (0, b"12\n")
    assert spawn(init, "cat", stdin=b'{"state": 1}') == (0, b'{"state": 1}')
    assert spawn(init, "wc -c", stdin=b"", env=["PATH=/usr/bin:/bin"]) == (0, b"0\n")


def test_much_stdin_and_a_hook_that_does_not_read_it(init: Init) -> None:
    state = os.urandom(500_000)
    assert spawn(init, "/usr/bin/wc -c", stdin=state) == (0, b"500000\n")
    assert spawn(init, "exit 0", stdin=state) == (0, b"")
    assert spawn(init, "exec 0<&-; /bin/sleep 0.1; echo done", stdin=state) == (0, b"done\n")


def test_only_the_last_4000_bytes_of_the_output(init: Init) -> None:
    status, output = spawn(init, "i=0; while [ $i -lt 2000 ]; do echo line $i; i=$((i+1)); done")
    whole = "".join(f"line {i}\n" for i in range(2000)).encode()
    assert (status, output) == (0, whole[-4000:])
    for size in (3999, 4000, 4001, 4095, 4096, 4097):
        assert spawn(init, f"/usr/bin/head -c {size} /dev/zero; printf X") == (
            (0, bytes(min(size, 3999)) + b"X")
        )
    assert spawn(init, "/usr/bin/head -c 300000 /dev/zero; printf X")[1] == bytes(3999) + b"X"


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("/nonexistent", errno.ENOENT),
        ("/etc/passwd", errno.EACCES),
        ("/etc", errno.EACCES),
        ("/etc/passwd/x", errno.ENOTDIR),
        ("", errno.ENOENT),
    ],
)
def test_what_cannot_be_executed_is_that_errno(init: Init, path: str, error: int) -> None:
    assert spawn(init, "", path=path) == (-error, b"")


def test_arguments_outside_the_data(init: Init) -> None:
    program = init.program()
    program.spawn("/bin/true", ["true"], [], 4096, 10, 0)
    assert init.run(program).err == errno.EFAULT
    program = init.program()
    program.spawn(4096, ["true"], [], 0, 0, 0)
    assert init.run(program).err == errno.EFAULT
    program = init.program()
    program.spawn("/bin/true", ["true"], [], 0, 0, -1)
    assert init.run(program).err == errno.EINVAL


def test_it_gets_three_descriptors_and_default_signals(init: Init) -> None:
    # descriptor 3 is ls's own
    assert spawn(init, "exec /bin/ls /proc/self/fd") == (0, b"0\n1\n2\n3\n")
    status, output = spawn(init, "exec /bin/cat /proc/self/status")
    assert status == 0
    for field in ("SigIgn", "SigBlk", "SigCgt"):
        assert f"{field}:\t{0:016x}\n" in output.decode()


def test_it_has_its_own_process_group_and_the_cwd(init: Init, tmp_path: Path) -> None:
    program = init.program()
    program.chdir(str(tmp_path))
    init.ok(program)
    status, output = spawn(init, "read x < /proc/self/stat; echo $$ $x; pwd -P")
    assert status == 0
    pid, *stat = output.decode().splitlines()[0].split()
    assert stat[4] == pid
    assert output.decode().splitlines()[1] == str(tmp_path)


def test_nothing_is_left_in_kaa_init(init: Init) -> None:
    for script in ("exit 0", "/bin/sleep 100", "exit 1"):
        spawn(init, script, timeout=50, stdin=b"x" * 100_000)
    spawn(init, "", path="/nonexistent")
    assert sorted(descriptors(init)) == [0, 1, 2, driver.COMMAND_FD]
    assert Path(f"/proc/{init.pid}/task/{init.pid}/children").read_text() == ""
    assert "SigIgn:\t0000000000000000\n" in Path(f"/proc/{init.pid}/status").read_text()


def test_a_timeout_kills_the_group_and_keeps_the_output(init: Init, tmp_path: Path) -> None:
    note = tmp_path / "pid"
    script = f"/bin/sleep 100 & echo $! > {note}; echo waiting; wait"
    begin = time.monotonic()
    status, output = spawn(init, script, timeout=300)
    assert (status, output) == (-errno.ETIMEDOUT, b"waiting\n")
    assert 0.3 <= time.monotonic() - begin < 10
    wait_gone(int(wait_for(note)))


def test_a_hook_may_leave_a_daemon_that_holds_its_output(init: Init, tmp_path: Path) -> None:
    note = tmp_path / "pid"
    begin = time.monotonic()
    assert spawn(init, f"/bin/sleep 100 & echo $! > {note}; echo up")[1] == b"up\n"
    assert time.monotonic() - begin < 10
    daemon = int(wait_for(note))
    try:
        assert is_alive(daemon)
        noisy = "while :; do echo noise; done & echo $!"
        status, output = spawn(init, f"{noisy} > {note}2")
        assert status == 0
        assert len(output) <= 4000
        os.kill(int(wait_for(Path(f"{note}2"))), signal.SIGKILL)
    finally:
        os.kill(daemon, signal.SIGKILL)


@pytest.mark.parametrize("where", ["stage", "pid 1"])
def test_the_end_of_the_runtime_ends_the_hook_and_kaa_init(
    init: Init, tmp_path: Path, where: str
) -> None:
    if where == "pid 1":
        os.close(fork(init, 0x20000000))
    note = tmp_path / "pid"
    program = init.program()
    append(program, f"/bin/sleep 100 & echo up > {note}; wait", b"", 0, [], "/bin/sh")
    init.send(wire.encode(program))
    wait_for(note)
    (hook,) = children(init.pid)
    (grandchild,) = children(hook)
    assert init.end() == 0
    wait_gone(hook)
    wait_gone(grandchild)


def test_a_hook_dies_with_a_killed_kaa_init(init: Init, tmp_path: Path) -> None:
    note = tmp_path / "pid"
    program = init.program()
    append(program, f"echo $$ > {note}; exec /bin/sleep 100", b"", 0, [], "/bin/sh")
    init.send(wire.encode(program))
    hook = int(wait_for(note))
    os.kill(init.pid, signal.SIGKILL)
    assert init.status() == -9
    wait_gone(hook)


def test_closed_stdio_is_not_confused_with_the_pipes(init: Init) -> None:
    program = init.program()
    for fd in (0, 1, 2):
        program.call("close", fd)
    init.ok(program)
    assert spawn(init, "cat; echo err >&2", stdin=b"in ", env=["PATH=/bin"]) == (0, b"in err\n")
