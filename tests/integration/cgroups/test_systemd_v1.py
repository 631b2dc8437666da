"""Scopes where systemd still manages cgroup v1: `tests/vm/machine.py run --v1`."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from kit.container import CGROUPS, Container

from kaa.cgroups import Layout, dbus

from .test_systemd import create, reload, shown, unit, up
from .test_v2_containers import MIB, limited

pytest.importorskip("jeepney")


@pytest.fixture(autouse=True)
def systemd_on_v1(layout: Layout) -> None:
    if not dbus.is_running():
        pytest.skip("systemd is not this machine's init: see tests/vm")
    if layout.version == "v2":
        pytest.skip("this machine has cgroup v2: see machine.py --v1 in tests/vm")


@pytest.fixture
def scope(container: Container) -> Iterator[Container]:
    container.linux["cgroupsPath"] = f"machine.slice:test:{container.id}"
    yield container
    container.delete("--force")
    assert shown(unit(container), "LoadState") == "not-found"
    left = [top for top in CGROUPS.iterdir() if (top / "machine.slice" / unit(container)).exists()]
    assert left == []


def text(container: Container, controller: str, file: str) -> str:
    return (container.cgroup(controller) / file).read_text().strip()


def test_a_scope(scope: Container) -> None:
    for kind in ("bounding", "effective", "permitted"):
        scope.process["capabilities"][kind].append("CAP_MKNOD")
    limited(
        scope,
        memory={"limit": 64 * MIB},
        cpu={"shares": 512, "quota": 12345, "period": 50000, "cpus": "0"},
        pids={"limit": 40},
    )
    up(scope)
    where = Path(f"/proc/{scope.pid}/cgroup").read_text().splitlines()
    assert {line.rpartition(":")[2] for line in where} == {f"/machine.slice/{unit(scope)}"}

    def check() -> None:
        assert text(scope, "memory", "memory.limit_in_bytes") == str(64 * MIB)
        assert text(scope, "cpu", "cpu.shares") == "512"
        assert text(scope, "pids", "pids.max") == "40"
        assert text(scope, "cpuset", "cpuset.cpus") == "0"
        scope.exec("sh", "-c", "rm -f /dev/mem; mknod /dev/mem c 1 1").ok()
        scope.exec("head", "-c1", "/dev/mem").failed("not permitted")
        scope.exec("head", "-c1", "/dev/zero").ok()

    assert text(scope, "cpu", "cpu.cfs_quota_us") == "12345"
    check()
    reload()
    check()
    scope.runtime("update", "--memory", "80M", scope.id).ok()
    reload()
    assert text(scope, "memory", "memory.limit_in_bytes") == str(80 * MIB)
    scope.runtime("pause", scope.id).ok()
    assert scope.status == "paused"
    scope.runtime("resume", scope.id).ok()
    scope.stop()
    scope.delete().ok()


def test_a_failed_create_leaves_nothing(scope: Container) -> None:
    limited(scope, unified={"memory.high": "1"})
    create(scope).failed("/linux/resources/unified")
