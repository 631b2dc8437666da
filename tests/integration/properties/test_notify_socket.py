"""NOTIFY_SOCKET: sd_notify(3) out of the container. The supervisor is this test."""

import array
import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from kit.container import Container
from kit.runtime import ENVIRONMENT

pytestmark = pytest.mark.kaa_only("runc 1.1 passes on READY=1 alone, and sends no barrier")

SOURCE = Path(__file__).with_name("notify.c")


class Supervisor:
    """Listens as systemd does."""

    def __init__(self, address: str) -> None:
        self.environment = {**ENVIRONMENT, "NOTIFY_SOCKET": address}
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(address.replace("@", "\0"))
        self._socket.settimeout(10)

    def receive(self) -> list[str]:
        """The lines of the next datagram; a descriptor with it is closed."""
        data, ancillary, _, _ = self._socket.recvmsg(4096, socket.CMSG_SPACE(4))
        for _, _, content in ancillary:
            os.close(array.array("i", content)[0])
        return data.decode().splitlines()

    def silent(self) -> bool:
        self._socket.settimeout(0.3)
        try:
            self._socket.recv(4096)
        except TimeoutError:
            return True
        return False

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def supervisor(tmp: Path) -> Iterator[Supervisor]:
    found = Supervisor(f"{tmp}/supervisor")
    yield found
    found.close()


@pytest.fixture
def speaker(container: Container) -> Callable[..., Container]:
    """The container, whose process says these words and lives for some seconds more."""
    program = container.rootfs / "bin/notify"
    subprocess.run(["cc", "-static", "-O1", "-o", str(program), str(SOURCE)], check=True)

    def make(seconds: int, *words: str) -> Container:
        container.process["args"] = ["/bin/notify", str(seconds), *words]
        return container

    return make


def pid_of(lines: list[str]) -> int:
    (pid,) = [line for line in lines if line.startswith("MAINPID=")]
    return int(pid.removeprefix("MAINPID="))


def test_a_detached_run_waits_until_it_is_ready(
    speaker: Callable[..., Container], supervisor: Supervisor
) -> None:
    container = speaker(1000, "STATUS=waking up", "READY=1")
    with container_run(container, supervisor) as running:
        assert supervisor.receive() == ["STATUS=waking up"]
        lines = supervisor.receive()
        assert "READY=1" in lines
        assert pid_of(lines) == container.pid
        assert running.poll() is None, "it went before the barrier was answered"
        assert supervisor.receive() == ["BARRIER=1"]
        assert running.wait(10) == 0
    assert container.status == "running"


def container_run(container: Container, supervisor: Supervisor) -> "subprocess.Popen[bytes]":
    container.write()
    argv = container.runtime.argv("run", "--detach", "--bundle", container.bundle, container.id)
    return subprocess.Popen(
        argv,
        env=supervisor.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def test_start_waits_and_others_need_not(
    speaker: Callable[..., Container], supervisor: Supervisor
) -> None:
    container = speaker(1000)  # it never says a word
    container.create(env=supervisor.environment).ok()
    argv = container.runtime.argv("start", container.id)
    with subprocess.Popen(argv, env=supervisor.environment) as starting:
        container.wait("running")
        assert starting.poll() is None
        assert container.exec("echo", "in").ok().out == "in\n"
        container.kill("KILL").ok()
        assert starting.wait(10) == 0, "the end of the container ends the waiting"
    assert supervisor.silent()


def test_create_and_start(speaker: Callable[..., Container], supervisor: Supervisor) -> None:
    container = speaker(1000, "READY=1")
    container.create(env=supervisor.environment).ok()
    argv = container.runtime.argv("start", container.id)
    with subprocess.Popen(argv, env=supervisor.environment) as starting:
        assert pid_of(supervisor.receive()) == container.pid
        assert supervisor.receive() == ["BARRIER=1"]
        assert starting.wait(10) == 0


def test_in_the_foreground_everything_is_passed_on(
    speaker: Callable[..., Container], supervisor: Supervisor
) -> None:
    container = speaker(0, "READY=1\nSTATUS=up", "BARRIER", "STOPPING=1", "BARRIER")
    result = container.run(env=supervisor.environment).ok()
    assert result.out == "barrier passed\n" * 2
    assert supervisor.receive() == ["READY=1", "STATUS=up"]
    assert supervisor.receive() == ["STOPPING=1"]


def test_last_words(speaker: Callable[..., Container], supervisor: Supervisor) -> None:
    """Said right before the end, and passed on all the same."""
    speaker(0, "READY=1", "STOPPING=1\nSTATUS=bye").run(env=supervisor.environment).ok()
    assert supervisor.receive() == ["READY=1"]
    assert supervisor.receive() == ["STOPPING=1", "STATUS=bye"]


def test_the_container_cannot_speak_for_its_supervisor(
    speaker: Callable[..., Container], supervisor: Supervisor
) -> None:
    words = ["MAINPID=1", "FDSTORE=1", "NOTIFYACCESS=all\nWATCHDOG=1\nWATCHDOG_USEC=1"]
    speaker(0, *words, "BARRIER").run(env=supervisor.environment).ok()
    assert supervisor.receive() == ["WATCHDOG=1"]
    assert supervisor.silent()


def test_an_abstract_socket(speaker: Callable[..., Container], tmp: Path) -> None:
    supervisor = Supervisor(f"@{tmp.name}")
    try:
        speaker(0, "READY=1", "BARRIER").run(env=supervisor.environment).ok()
        assert supervisor.receive() == ["READY=1"]
    finally:
        supervisor.close()


def test_any_user_and_a_user_namespace(
    speaker: Callable[..., Container], supervisor: Supervisor
) -> None:
    from kit import config

    container = speaker(0, "READY=1", "BARRIER")
    config.add_user_namespace(container.config)
    os.chown(container.rootfs, 200000, 200000)
    container.process["user"] = {"uid": 1000, "gid": 1000}
    container.run(env=supervisor.environment).ok()
    assert supervisor.receive() == ["READY=1"]


def test_what_the_container_sees(container: Container, supervisor: Supervisor) -> None:
    container.script("echo $NOTIFY_SOCKET; ls /run/notify; touch /run/notify/x || echo ro")
    assert container.run(env=supervisor.environment).ok().out == (
        "/run/notify/notify.sock\nnotify.sock\nro\n"
    )


def test_without_one_there_is_none(container: Container) -> None:
    container.script("echo ${NOTIFY_SOCKET-none}; ls /run/notify 2>/dev/null || echo none")
    assert container.run().ok().out == "none\nnone\n"


def test_nobody_listens(speaker: Callable[..., Container], tmp: Path) -> None:
    """The container runs; that the supervisor could not be told is worth a warning."""
    container = speaker(1000, "READY=1")
    environment = {**ENVIRONMENT, "NOTIFY_SOCKET": f"{tmp}/nobody"}
    assert "nobody" in container.run("--detach", env=environment).ok().err
    assert container.status == "running"
