"""The kit itself: its traps must catch what they are for."""

import os
import subprocess
from pathlib import Path

import pytest
from kit import fdleaker, leftovers, probe
from kit.container import CGROUPS, Container, wait_for
from kit.hostcanary import HostCanary
from kit.swapper import Swapper


def test_the_probe_reports(container: Container) -> None:
    report = probe.run(container)
    assert report["pid"] == 1
    assert report["cwd"] == "/"
    assert report.status["NoNewPrivs"] == "1"
    assert set(report["fds"]) == {"0", "1", "2"}
    assert report.capabilities("Eff") == {"CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"}


def test_leftovers_see_processes_cgroups_mounts_and_descriptors(tmp: Path) -> None:
    before = leftovers.Snapshot()
    process = subprocess.Popen(["sleep", "100"])
    top = next(path for path in (CGROUPS / "pids", CGROUPS) if path.is_dir())
    group = top / f"{leftovers.MARK}left"
    group.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "left", str(tmp)], check=True)
    descriptor = os.open("/", os.O_RDONLY)
    kinds = {text.split(":")[0] for text in leftovers.since(before, 0.1)}
    os.close(descriptor)
    leftovers.sweep(before)
    process.wait()
    assert kinds == {"process", "cgroup", "mount", "descriptor"}
    assert leftovers.since(before) == []


def test_an_orphan_is_seen_and_swept(tmp: Path) -> None:
    before = leftovers.Snapshot()
    subprocess.run(["sh", "-c", "setsid sleep 100 &"], check=True)
    left = leftovers.since(before, 0.1)
    leftovers.sweep(before)
    assert any("sleep 100" in text for text in left)


def test_the_canary_sings(tmp: Path) -> None:
    canary = HostCanary(tmp / "watched")
    canary.intact()
    (canary.path / "sub/new").touch()
    with pytest.raises(AssertionError, match="sub/new"):
        canary.intact()


def test_the_swapper_swaps(tmp: Path) -> None:
    (tmp / "a").mkdir()
    (tmp / "b").symlink_to("/")
    with Swapper(tmp / "a", tmp / "b"):
        wait_for((tmp / "a").is_symlink, "a swap")
        wait_for((tmp / "b").is_symlink, "a swap back")


def test_the_fdleaker_leaks(tmp: Path) -> None:
    shown = subprocess.run(
        [*fdleaker.prefix(), "ls", "/proc/self/fd"], capture_output=True, text=True, check=True
    )
    assert set(map(str, range(3, 41))) <= set(shown.stdout.split())
