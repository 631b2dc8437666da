"""Terminals: through a console socket, and in the foreground through a pty."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from kit.console import ConsoleSocket
from kit.container import Container, wait_for
from kit.terminal import Session, Terminal


@pytest.fixture
def console(tmp: Path) -> Iterator[ConsoleSocket]:
    found = ConsoleSocket(tmp / "console.sock")
    yield found
    found.close()


@pytest.fixture
def interactive(container: Container) -> Container:
    """A container whose process is a shell at a terminal."""
    container.process["terminal"] = True
    container.process["args"] = ["sh", "-i"]
    container.process["env"].append("PS1=ready> ")
    return container


def session(container: Container, *args: object, rows: int = 30, columns: int = 100) -> Session:
    container.write()
    argv = container.runtime.argv("run", "--bundle", container.bundle, *args, container.id)
    return Session(argv, rows, columns)


def test_console_socket(interactive: Container, console: ConsoleSocket) -> None:
    interactive.process["consoleSize"] = {"height": 33, "width": 99}
    interactive.create("--console-socket", console.path).ok()
    descriptor, name = console.receive()
    assert name, "a receiver expects at least one byte with the descriptor"
    terminal = Terminal(descriptor)
    try:
        interactive.start().ok()
        terminal.expect("ready> ")
        terminal.line("tty; stty size")
        terminal.expect(r"/dev/(pts/0|console)\r\n")
        terminal.expect(r"33 99\r\n")
        terminal.line("exit")
        interactive.wait("stopped")
    finally:
        terminal.close()


def test_dev_console_is_the_terminal(interactive: Container, console: ConsoleSocket) -> None:
    interactive.create("--console-socket", console.path).ok()
    terminal = Terminal(console.receive()[0])
    try:
        interactive.start().ok()
        terminal.expect("ready> ")
        terminal.line("stat -c '%F %t' /dev/console; echo to-console > /dev/console")
        terminal.expect(r"character special file 88\r\n")
        terminal.expect(r"to-console\r\n")
        terminal.line("echo owner $(stat -c %u $(tty)); exit")
        terminal.expect(r"owner 0\r\n")
    finally:
        terminal.close()


def test_the_terminal_belongs_to_the_user(interactive: Container, console: ConsoleSocket) -> None:
    interactive.process["user"] = {"uid": 1000, "gid": 1000}
    interactive.create("--console-socket", console.path).ok()
    terminal = Terminal(console.receive()[0])
    try:
        interactive.start().ok()
        terminal.expect("ready> ")
        terminal.line("echo owner $(stat -c %u /dev/pts/0); echo again > /dev/pts/0; exit")
        terminal.expect(r"owner 1000\r\n")
        terminal.expect(r"again")
    finally:
        terminal.close()


def test_a_long_path_of_the_console_socket(interactive: Container, tmp: Path) -> None:
    """More than the 108 bytes of sockaddr_un: reached through the directory."""
    if not interactive.runtime.is_kaa:
        pytest.skip("runc 1.1 cannot")
    directory = tmp / ("d" * 120)
    directory.mkdir()
    descriptor = os.open(directory, os.O_PATH)
    try:
        console = ConsoleSocket(Path(f"/proc/self/fd/{descriptor}/console.sock"))
        try:
            interactive.create("--console-socket", directory / "console.sock").ok()
            os.close(console.receive()[0])
        finally:
            console.close()
    finally:
        os.close(descriptor)


def test_a_terminal_in_the_foreground(interactive: Container) -> None:
    terminal = session(interactive)
    try:
        terminal.expect("ready> ")
        terminal.line("tty; stty size; id -u")
        terminal.expect(r"/dev/(pts/0|console)\r\n30 100\r\n0\r\n")
        terminal.line("exit 7")
        assert terminal.wait() == 7
        assert terminal.restored
    finally:
        terminal.close()


def test_the_window_changes(interactive: Container) -> None:
    terminal = session(interactive)
    try:
        terminal.expect("ready> ")
        terminal.line("sh -c 'trap \"stty size\" WINCH; stty size; while :; do sleep 0.1; done'")
        terminal.expect(r"30 100\r\n")
        terminal.resize(41, 123)
        terminal.expect(r"41 123\r\n")
        terminal.type("\x03")
        terminal.expect("ready> ")
        terminal.line("exit 0")
        assert terminal.wait() == 0
    finally:
        terminal.close()


def test_control_c_interrupts_the_command_not_the_shell(interactive: Container) -> None:
    terminal = session(interactive)
    try:
        terminal.expect("ready> ")
        terminal.line("echo before; sleep 100; echo code $?")
        terminal.expect(r"before\r\n")
        terminal.type("\x03")
        terminal.expect("ready> ")
        terminal.line("echo still $((40 + 2))")
        terminal.expect(r"still 42\r\n")
        terminal.line("exit 5")
        assert terminal.wait() == 5
    finally:
        terminal.close()


def test_job_control(interactive: Container) -> None:
    terminal = session(interactive)
    try:
        terminal.expect("ready> ")
        terminal.line("sleep 100")
        wait_for(lambda: "sleep 100" in _processes(interactive), "sleep to run")
        terminal.type("\x1a")  # Ctrl-Z
        terminal.expect("Stopped")
        terminal.expect("ready> ")
        terminal.line("jobs; kill %1; fg; exit")
        terminal.expect("Stopped")
        terminal.wait()
    finally:
        terminal.close()


def test_control_d_ends_the_shell(interactive: Container) -> None:
    terminal = session(interactive)
    try:
        terminal.expect("ready> ")
        terminal.type("\x04")
        assert terminal.wait() == 0
        assert terminal.restored
    finally:
        terminal.close()


def test_the_last_output_is_not_lost(interactive: Container) -> None:
    interactive.script("seq 1 5000")
    terminal = session(interactive)
    try:
        assert terminal.wait() == 0
        assert terminal.seen.split() == [str(number) for number in range(1, 5001)]
    finally:
        terminal.close()


def test_exec_at_a_terminal(container: Container) -> None:
    container.sleeping()
    argv = container.runtime.argv("exec", "--tty", container.id, "sh", "-c", "tty; stty size")
    terminal = Session(argv, 21, 77)
    try:
        assert terminal.wait() == 0
        assert terminal.seen.split()[0].startswith("/dev/pts/")
        assert terminal.seen.split()[1:] == ["21", "77"]
        assert terminal.restored
    finally:
        terminal.close()


def test_exec_with_a_console_socket(container: Container, console: ConsoleSocket) -> None:
    container.sleeping()
    container.exec(
        "--tty", "--detach", "--console-socket", console.path, "--", "sh", "-c", "tty; sleep 1"
    ).ok()
    terminal = Terminal(console.receive()[0])
    try:
        terminal.expect(r"/dev/pts/\d+\r\n")
    finally:
        terminal.close()


def test_no_terminal_without_a_socket_when_detached(interactive: Container) -> None:
    interactive.create().failed("console socket", "console-socket")
    interactive.run("--detach").failed("console socket", "console-socket")


def test_no_socket_without_a_terminal(container: Container, console: ConsoleSocket) -> None:
    container.create("--console-socket", console.path).failed("console socket", "console-socket")


def test_a_console_socket_that_is_not_there(interactive: Container, tmp: Path) -> None:
    interactive.create("--console-socket", tmp / "nobody").failed("no such file", "nobody")


def test_redirected_output_without_a_terminal_stays_apart(container: Container) -> None:
    result = container.script("test -t 1 || echo plain; echo e >&2").run().ok()
    assert (result.out, result.err) == ("plain\n", "e\n")


def _processes(container: Container) -> str:
    return container.runtime("ps", container.id).out
