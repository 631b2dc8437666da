"""kill -9 of the runtime at any moment: `delete --force` leaves nothing."""

import random
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from kit import config, leftovers, processes
from kit.container import Container

pytestmark = pytest.mark.kaa_only("runc 1.1 leaves what it made so far")
MOMENTS = 40


def kill_after(container: Container, command: str, seconds: float, *options: object) -> None:
    """Start a command and kill the runtime, and nothing else, after that time."""
    process = container.runtime.popen(
        command,
        "--bundle",
        container.bundle,
        *options,
        container.id,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    time.sleep(seconds)
    process.send_signal(signal.SIGKILL)
    process.wait()


def usual_duration(container: Container) -> float:
    """How long a whole create takes here and now."""
    begin = time.monotonic()
    container.create().ok()
    taken = time.monotonic() - begin
    container.delete("--force").ok()
    return taken


@pytest.fixture
def busy(container: Container, tmp: Path) -> Container:
    """A container whose set-up has much that could be left behind."""
    (tmp / "source").mkdir()
    container.mounts.append(config.bind(tmp / "source", "/vol", "rslave"))
    container.linux["resources"]["pids"] = {"limit": 100}
    container.config["hooks"] = {
        kind: [{"path": "/bin/true"}] for kind in ("prestart", "createContainer")
    }
    container.process["args"] = ["sleep", "1000"]
    return container


@pytest.mark.parametrize("user_namespace", [False, True])
@pytest.mark.parametrize("command", ["create", "run"])
def test_create_killed_at_random_moments(
    busy: Container, command: str, user_namespace: bool, nothing_is_left: Callable[[], None]
) -> None:
    if user_namespace:
        config.add_user_namespace(busy.config)
        busy.rootfs.chmod(0o777)
    whole = usual_duration(busy)
    chance = random.Random(20)
    found: dict[str, int] = {}
    for _ in range(MOMENTS // 4):
        moment = chance.uniform(0, whole * 1.1)
        kill_after(busy, command, moment)
        state = busy.runtime("state", busy.id)
        found["known" if state.code == 0 else "unknown"] = 1
        if state.code:
            state.failed("does not exist")
        busy.delete("--force").ok()
        nothing_is_left()


def test_without_a_delete_no_process_stays(busy: Container) -> None:
    """What was not yet created ends by itself when the runtime dies."""
    whole = usual_duration(busy)
    before = leftovers.Snapshot()
    for part in range(1, 9):
        kill_after(busy, "create", whole * part / 10)
        state = busy.runtime("state", busy.id)
        if state.code or busy.status != "created":
            left = [text for text in leftovers.since(before) if text.startswith("process")]
            assert left == []
        busy.delete("--force").ok()


def test_a_killed_create_does_not_block_the_id(busy: Container) -> None:
    whole = usual_duration(busy)
    kill_after(busy, "create", whole / 2)
    busy.delete("--force").ok()
    busy.create().ok()
    assert busy.status == "created"


@pytest.mark.parametrize("kind", ["prestart", "createContainer"])
def test_killed_during_a_hook(
    container: Container, kind: str, nothing_is_left: Callable[[], None]
) -> None:
    container.config["hooks"] = {
        kind: [{"path": "/bin/sh", "args": ["sh", "-c", "sleep 100"], "env": [config.PATH]}]
    }
    container.write()
    kill_after(container, "create", 1.0)
    container.delete("--force").ok()
    # A hook in the host's namespaces is the host's own process: nobody else ends it.
    for pid in processes.ours():
        if "sleep 100" in processes.describe(pid):
            assert kind == "prestart"
            processes.end([pid])
    nothing_is_left()


def test_start_killed_at_random_moments(busy: Container) -> None:
    chance = random.Random(21)
    for _ in range(8):
        busy.create().ok()
        process = busy.runtime.popen("start", busy.id)
        time.sleep(chance.uniform(0, 0.06))
        process.kill()
        process.wait()
        assert busy.status in ("created", "running", "stopped")
        busy.delete("--force").ok()


def test_delete_killed_at_random_moments(
    busy: Container, nothing_is_left: Callable[[], None]
) -> None:
    chance = random.Random(22)
    for _ in range(8):
        busy.create().ok()
        process = busy.runtime.popen("delete", "--force", busy.id)
        time.sleep(chance.uniform(0, 0.06))
        process.kill()
        process.wait()
        busy.delete("--force").ok()
        busy.runtime("state", busy.id).failed("does not exist")
    nothing_is_left()


def test_the_container_outlives_a_killed_run(container: Container) -> None:
    """run is only its keeper: killed, the container is still known, and can be deleted."""
    container.script("echo up; sleep 1000").write()
    running = container.runtime.popen(
        "run", "--bundle", container.bundle, container.id, stdout=subprocess.PIPE
    )
    with running:
        assert running.stdout is not None
        assert running.stdout.readline() == b"up\n"
        running.kill()
    assert container.status == "running"
    container.delete("--force").ok()
