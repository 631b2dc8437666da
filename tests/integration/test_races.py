"""The attacker who races: paths change while the runtime works on them.

Another container that shares a volume can exchange a directory and a link at any
moment. Starts may fail; none may mount, make or show anything outside the root.
"""

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from kit import config
from kit.container import Container
from kit.hostcanary import HostCanary
from kit.swapper import Swapper

SECONDS = 4.0  # for each race


@pytest.fixture
def volume(container: Container, tmp: Path) -> Path:
    """A directory of the host that the container (and the attacker) has at /v."""
    found = tmp / "volume"
    found.mkdir()
    container.mounts.append(config.bind(found, "/v"))
    return found


def race(container: Container, first: Path, second: Path, pause: float = 0) -> list[str]:
    """Run the container again and again while the two trade places; what the runs printed."""
    seen = []
    starts = 0
    with Swapper(first, second, pause):
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            result = container.run()
            starts += 1
            result.sane()
            if result.code == 0:
                seen.append(result.out)
            else:
                container.delete("--force")
    assert seen, f"inconclusive: none of {starts} starts succeeded"
    return seen


def test_a_mount_point_that_becomes_a_link(
    container: Container, volume: Path, canary: HostCanary, nothing_is_left: Callable[[], None]
) -> None:
    """CVE-2021-30465: between looking at a mount point and mounting on it."""
    (volume / "a/b").mkdir(parents=True)
    (volume / "link").symlink_to("/")
    container.mounts.append(config.tmpfs("/v/a/b"))
    container.script("grep -c . /proc/self/mountinfo; ls /v /")
    for out in race(container, volume / "a", volume / "link"):
        assert "work" not in out.split()
    nothing_is_left()


@pytest.mark.kaa_only("runc 1.1 has this hole, and the canary shows it")
def test_directories_made_below_a_link(
    container: Container, volume: Path, canary: HostCanary
) -> None:
    """CVE-2024-45310: directories of a mount point made while a parent is exchanged."""
    (volume / "a").mkdir()
    (volume / "link").symlink_to(canary.path)
    for number in range(5):
        container.mounts.append(config.tmpfs(f"/v/a/{number}/made/deep/er"))
    container.script("true")
    race(container, volume / "a", volume / "link")
    canary.intact()


@pytest.mark.kaa_only("runc 1.1 has this hole, and the canary shows it")
def test_files_made_below_a_link(
    container: Container, volume: Path, canary: HostCanary, tmp: Path
) -> None:
    (tmp / "source").write_text("the source")
    (volume / "a").mkdir()
    (volume / "link").symlink_to(canary.path)
    for number in range(5):
        container.mounts.append(config.bind(tmp / "source", f"/v/a/{number}/file", "ro"))
    container.script("true")
    race(container, volume / "a", volume / "link")
    canary.intact()


def test_proc_exchanged_for_a_link(container: Container, canary: HostCanary) -> None:
    """CVE-2019-19921: proc is mounted on a directory of the root, or not at all.

    (The mount moves with its directory: where it is afterwards proves nothing.)
    Slow enough that some runs come through whole: each path below /proc is resolved anew.
    """
    (container.rootfs / "elsewhere").symlink_to(canary.path)
    container.script("grep ' - proc ' /proc/self/mountinfo /elsewhere/self/mountinfo; true")
    for out in race(container, container.rootfs / "proc", container.rootfs / "elsewhere", 0.04):
        assert "canary" not in out
    canary.intact()


@pytest.mark.kaa_only("runc 1.1 has this hole, and the canary shows it")
def test_dev_exchanged_for_a_link(container: Container, canary: HostCanary) -> None:
    """CVE-2026-41579 with a race: devices and links made while /dev is exchanged."""
    (container.rootfs / "elsewhere").symlink_to(canary.path)
    container.mounts[:] = [m for m in container.mounts if not m["destination"].startswith("/dev")]
    container.linux["devices"] = [{"path": "/dev/x/y", "type": "c", "major": 1, "minor": 3}]
    container.script("true")
    race(container, container.rootfs / "dev", container.rootfs / "elsewhere")
    canary.intact()


def test_a_masked_path_exchanged(container: Container, canary: HostCanary) -> None:
    """A mask never lands on, and a read-only path never changes, what is outside."""
    (container.rootfs / "masked").mkdir()
    (container.rootfs / "link").symlink_to(canary.path)
    container.linux["maskedPaths"].append("/masked/sub")
    container.linux["readonlyPaths"].append("/masked")
    (container.rootfs / "masked/sub").mkdir()
    container.script("true")
    race(container, container.rootfs / "masked", container.rootfs / "link")
    canary.intact()


def test_cwd_exchanged_during_exec(container: Container, canary: HostCanary) -> None:
    """The working directory of exec is opened once, inside."""
    (container.rootfs / "dir").mkdir()
    (container.rootfs / "link").symlink_to("/proc/1/root/../..")
    container.sleeping()
    with Swapper(container.rootfs / "dir", container.rootfs / "link"):
        for _ in range(12):
            result = container.exec("--cwd", "/dir", "--", "ls", "-a", ".", "..")
            assert "work" not in result.out.split(), result
