"""A process that shares a volume with the container exchanges paths while it is mounted on."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kit.hostcanary import HostCanary
from kit.swapper import Swapper

from kaa.errors import SyscallError

from .rig import DEV, PROC, Rig, bind, tmpfs

ROUNDS = 60
SHOW = "cat /proc/self/mountinfo; stat -f -c '%T %n' /proc"


def race(
    rig: Rig, tmp: Path, target: str, mounts: list[dict[str, Any]], **linux: Any
) -> list[set[str]]:
    """The mount points of the containers that came up while /v/a and a link were exchanged."""
    (tmp / "volume/a").mkdir(parents=True, exist_ok=True)
    (tmp / "volume/b").symlink_to(target)
    host = Path("/proc/self/mountinfo").read_text()
    found = []
    with Swapper(tmp / "volume/a", tmp / "volume/b"):
        for _ in range(ROUNDS):
            try:
                result = rig.run(SHOW, [bind(tmp / "volume", "/v", "rbind"), *mounts], **linux)
            except SyscallError:
                continue
            assert "proc /proc" in result.lines
            found.append(set(result.mounts))
    assert Path("/proc/self/mountinfo").read_text() == host
    assert found, "no container came up: the race was never run"
    return found


@pytest.mark.parametrize("target", ["/", "{canary}", "../../../../../../{canary}"])
@pytest.mark.parametrize(
    "mount", [lambda tmp: tmpfs("/v/a/x/y"), lambda tmp: bind(tmp / "file", "/v/a/x/y")]
)
def test_mount_points(
    rig: Rig,
    tmp: Path,
    canary: HostCanary,
    mount: Callable[[Path], dict[str, Any]],
    target: str,
) -> None:
    (tmp / "file").touch()
    mounts = [PROC, mount(tmp)]
    found = race(rig, tmp, target.format(canary=tmp / "canary"), mounts)
    for points in found:
        outside = points - {"/", "/proc", "/v"}
        assert all(point.endswith("/x/y") for point in outside)
    assert not os.path.lexists("/x")


def test_masks_and_devices(rig: Rig, tmp: Path, canary: HostCanary) -> None:
    (tmp / "volume").mkdir()
    (tmp / "volume/secret").write_text("x")
    null = os.stat("/dev/null")
    found = race(
        rig,
        tmp,
        str(tmp / "canary"),
        [PROC, DEV],
        maskedPaths=["/v/a", "/v/secret", "/v/a/below"],
        readonlyPaths=["/v/a"],
        devices=[{"path": "/v/a/node", "type": "c", "major": 1, "minor": 3, "uid": 7}],
    )
    assert all("/v/secret" in points for points in found)
    assert os.stat("/dev/null")[:6] == null[:6]
