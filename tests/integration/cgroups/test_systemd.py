"""Containers in scopes of systemd's (tests/vm has one that we may talk to)."""

import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kit.container import Container, wait_for

from kaa.cgroups import Layout, dbus

from .test_v2_containers import BOMB, MIB, limited, value

pytest.importorskip("jeepney")

BUSES = {
    "systemd's own socket": {},
    "the system bus": {"DBUS_SYSTEM_BUS_ADDRESS": "unix:path=/run/dbus/system_bus_socket"},
}


@pytest.fixture(autouse=True)
def systemd(layout: Layout) -> None:
    if not dbus.is_running():
        pytest.skip("systemd is not this machine's init: see tests/vm")
    if layout.version != "v2":
        pytest.skip("this machine has cgroup v1: test_systemd_v1.py is for that")


@pytest.fixture
def scope(container: Container) -> Iterator[Container]:
    """A container that asks systemd for its cgroup; its unit is gone in the end."""
    container.linux["cgroupsPath"] = f"machine.slice:test:{container.id}"
    yield container
    container.delete("--force")
    assert shown(unit(container), "LoadState") == "not-found"


def unit(container: Container) -> str:
    return f"test-{container.id}.scope"


def create(container: Container, *options: object, **more: Any) -> Any:
    container.write()
    return container.runtime(
        "--systemd-cgroup", "create", "--bundle", container.bundle, *options, container.id, **more
    )


def up(container: Container, **more: Any) -> Container:
    if container.process["args"] == ["true"]:
        container.process["args"] = ["sleep", "1000"]
    create(container, **more).ok()
    container.start().ok()
    return container


def shown(name: str, key: str) -> str:
    result = subprocess.run(
        ["systemctl", "show", "--value", "--property", key, name],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return result.stdout.strip()


def reload() -> None:
    subprocess.run(["systemctl", "daemon-reload"], check=True)


@pytest.mark.parametrize("bus", BUSES)
def test_a_scope_with_limits(scope: Container, bus: str) -> None:
    from kit.runtime import ENVIRONMENT

    limited(
        scope,
        memory={"limit": 64 * MIB, "reservation": 16 * MIB},
        cpu={"shares": 2000, "quota": 12345, "period": 50000, "cpus": "0"},
        pids={"limit": 40},
        hugepageLimits=[{"pageSize": "2MB", "limit": 4 * MIB}],
    )
    up(scope, env={**ENVIRONMENT, **BUSES[bus]})
    assert scope.cgroup("") == Path("/sys/fs/cgroup/machine.slice", unit(scope))
    assert shown(unit(scope), "Slice") == "machine.slice"
    assert shown(unit(scope), "Delegate") == "yes"
    assert shown(unit(scope), "MemoryMax") == str(64 * MIB)
    assert shown(unit(scope), "TasksMax") == "40"
    assert shown(unit(scope), "CPUWeight") == "170"
    assert value(scope, "memory.max") == str(64 * MIB)
    assert value(scope, "memory.low") == str(16 * MIB)
    assert value(scope, "cpu.max") == "12345 50000", "as exact as without systemd"
    assert value(scope, "cpuset.cpus") == "0"
    assert value(scope, "pids.max") == "40"
    # systemd does not know this controller
    assert value(scope, "hugetlb.2MB.max") == str(4 * MIB)
    scope.stop()
    cgroup = Path("/sys/fs/cgroup/machine.slice", unit(scope))
    scope.delete().ok()
    assert not cgroup.exists()
    assert shown(unit(scope), "LoadState") == "not-found"


def test_a_reload_changes_nothing(scope: Container) -> None:
    limits = {"memory": {"limit": 64 * MIB}, "pids": {"limit": 40}, "cpu": {"shares": 512}}
    limited(scope, **limits)
    for kind in ("bounding", "effective", "permitted"):
        scope.process["capabilities"][kind].append("CAP_MKNOD")
    up(scope)

    def check(memory: int, pids: int) -> None:
        assert value(scope, "memory.max") == str(memory)
        assert value(scope, "pids.max") == str(pids)
        assert value(scope, "cpu.weight") == "59"
        scope.exec("rm", "-f", "/dev/mem").ok()
        scope.exec("mknod", "/dev/mem", "c", "1", "1").ok()
        scope.exec("head", "-c1", "/dev/mem").failed("not permitted")
        scope.exec("head", "-c1", "/dev/zero").ok()

    check(64 * MIB, 40)
    reload()
    check(64 * MIB, 40)
    scope.runtime("update", "--memory", "80M", "--pids-limit", "50", scope.id).ok()
    assert shown(unit(scope), "MemoryMax") == str(80 * MIB)
    assert shown(unit(scope), "TasksMax") == "50"
    check(80 * MIB, 50)
    reload()
    check(80 * MIB, 50)


def test_everything_is_a_device_that_may_be_used(scope: Container) -> None:
    """What systemd has no words for is left to kaa's own program, a reload or not."""
    for kind in ("bounding", "effective", "permitted"):
        scope.process["capabilities"][kind].append("CAP_MKNOD")
    rules = [
        {"allow": True, "access": "rwm"},
        {"allow": False, "type": "c", "major": 1, "minor": 11, "access": "rwm"},
    ]
    up(limited(scope, devices=rules))
    for _ in range(2):
        scope.exec("mknod", "/dev/kmsg", "c", "1", "11").failed("not permitted")
        scope.exec("sh", "-c", "mknod /dev/loop b 7 0 && dd if=/dev/loop count=0").ok()
        scope.exec("rm", "/dev/loop").ok()
        reload()


def test_update_of_the_quota_alone(scope: Container) -> None:
    up(limited(scope, cpu={"quota": 20000, "period": 40000}))
    scope.runtime("update", "--cpu-quota", "30000", scope.id).ok()
    assert value(scope, "cpu.max") == "30000 40000"
    assert shown(unit(scope), "CPUQuotaPerSecUSec") == "750ms"
    reload()
    assert value(scope, "cpu.max") == "30000 40000"


def test_idle(scope: Container) -> None:
    up(limited(scope, cpu={"idle": 1}))
    assert value(scope, "cpu.idle") == "1"
    reload()
    assert value(scope, "cpu.idle") == "1"


def test_exec_and_its_cgroup(scope: Container) -> None:
    up(scope)
    where = scope.exec("cat", "/proc/self/cgroup").ok().out.strip()
    assert where == f"0::/machine.slice/{unit(scope)}"
    (scope.cgroup("") / "inner").mkdir()
    where = scope.exec("--cgroup", "/inner", "--", "cat", "/proc/self/cgroup").ok().out.strip()
    assert where == f"0::/machine.slice/{unit(scope)}/inner"
    scope.runtime("pause", scope.id).ok()
    assert scope.status == "paused"
    scope.runtime("resume", scope.id).ok()
    assert json.loads(scope.runtime("events", "--stats", scope.id).ok().out)["type"] == "stats"


def test_a_fork_bomb(scope: Container) -> None:
    up(limited(scope, pids={"limit": 60}).script(BOMB))
    cgroup = scope.cgroup("")
    wait_for(lambda: int((cgroup / "pids.current").read_text()) > 40, "the bomb to spread", 30)
    started = time.monotonic()
    scope.delete("--force").ok()
    assert time.monotonic() - started < 8
    assert not cgroup.exists()


def test_out_of_memory(scope: Container) -> None:
    limited(scope, memory={"limit": 24 * MIB, "swap": 24 * MIB})
    scope.process["args"] = ["tail", "/dev/zero"]
    scope.write()
    run = scope.runtime("--systemd-cgroup", "run", "--bundle", scope.bundle, scope.id)
    assert run.code == 137
    assert shown(unit(scope), "LoadState") == "not-found", "nor is it known as failed"


def test_a_name_that_is_taken(scope: Container) -> None:
    other = ["systemd-run", "--quiet", "--scope", f"--unit={unit(scope)}", "sleep", "1000"]
    process = subprocess.Popen(other)
    try:
        wait_for(lambda: shown(unit(scope), "ActiveState") == "active", "the other scope")
        create(scope).failed("already")
        assert process.poll() is None, "it is not ours to kill"
        assert scope.runtime("list", "-q").ok().out == ""
        assert shown(unit(scope), "ActiveState") == "active"
    finally:
        subprocess.run(["systemctl", "stop", unit(scope)], check=True)
        process.wait()


def test_a_scope_that_has_failed_before(scope: Container) -> None:
    other = ["systemd-run", "--quiet", "--scope", f"--unit={unit(scope)}",
             "--property=RuntimeMaxSec=1", "sleep", "1000"]  # fmt: skip
    subprocess.run(other, check=False)
    wait_for(lambda: shown(unit(scope), "ActiveState") == "failed", "the other to have failed")
    up(scope)
    assert shown(unit(scope), "ActiveState") == "active"


@pytest.mark.parametrize(
    "path", ["/a/b", "a.slice:b", "a:b:c", "a.slice:b:c.slice", "x/y.slice:a:b"]
)
def test_a_path_that_names_no_scope(scope: Container, path: str) -> None:
    scope.linux["cgroupsPath"] = path
    create(scope).failed("/linux/cgroupsPath")


def test_annotations_become_properties(scope: Container) -> None:
    scope.config["annotations"] = {
        "org.systemd.property.TimeoutStopSec": "7",
        "org.systemd.property.CollectMode": "'inactive-or-failed'",
        "org.systemd.property.After": "['dbus.service']",
    }
    up(scope)
    assert shown(unit(scope), "TimeoutStopUSec") == "7s"
    assert shown(unit(scope), "CollectMode") == "inactive-or-failed"
    assert "dbus.service" in shown(unit(scope), "After")


def test_annotations_that_reach_too_far(scope: Container) -> None:
    """CVE-2024-3154"""
    scope.config["annotations"] = {"org.systemd.property.FailureAction": "'reboot'"}
    create(scope).failed("cannot be set by an annotation")
    scope.config["annotations"] = {"org.systemd.property.CollectMode": "'nonsense'"}
    create(scope).failed("CollectMode", "invalid")


def test_the_limit_on_processes_waits_for_the_hooks(scope: Container, tmp: Path) -> None:
    scope.config["hooks"] = {"createContainer": [{"path": "/bin/sh", "args": ["sh", "-c", "true"]}]}
    up(limited(scope, pids={"limit": 1}))
    assert value(scope, "pids.max") == "1"
    assert shown(unit(scope), "TasksMax") == "1"


def test_somebody_stops_the_scope(scope: Container) -> None:
    up(scope.script("trap 'exit 0' TERM; while :; do sleep 0.1; done"))
    subprocess.run(["systemctl", "stop", unit(scope)], check=True)
    scope.wait("stopped")
    scope.delete().ok()


def test_many_scopes_leave_nothing(scope: Container) -> None:
    del scope.linux["cgroupsPath"]
    scope.process["args"] = ["sleep", "1000"]
    scope.write()
    ids = [f"{scope.id}-{number}" for number in range(12)]
    create = ["--systemd-cgroup", "create", "--bundle", scope.bundle]
    for results in (
        scope.runtime.together([[*create, id] for id in ids]),
        scope.runtime.together([["start", id] for id in ids]),
        scope.runtime.together([["delete", "--force", id] for id in ids]),
    ):
        for result in results:
            result.ok()
    left = subprocess.run(
        ["systemctl", "list-units", "--all", "--no-legend", f"kaa-{scope.id}*"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert left.stdout == ""


def test_the_default_scope(scope: Container) -> None:
    del scope.linux["cgroupsPath"]
    up(scope)
    assert str(scope.cgroup("")) == f"/sys/fs/cgroup/system.slice/kaa-{scope.id}.scope"
    scope.delete("--force").ok()
    assert shown(f"kaa-{scope.id}.scope", "LoadState") == "not-found"


def test_a_slice_of_slices(scope: Container) -> None:
    scope.linux["cgroupsPath"] = f"kt-one-two.slice:test:{scope.id}"
    up(scope)
    below = "/sys/fs/cgroup/kt.slice/kt-one.slice/kt-one-two.slice"
    assert str(scope.cgroup("")) == f"{below}/{unit(scope)}"
    scope.delete("--force").ok()
    subprocess.run(["systemctl", "stop", "kt.slice"], check=True)


def test_without_a_systemd(scope: Container, tmp: Path) -> None:
    nowhere = {"DBUS_SYSTEM_BUS_ADDRESS": f"unix:path={tmp}/none"}
    with Hidden("/run/systemd/private"), Hidden("/run/dbus/system_bus_socket"):
        create(scope, env={"PATH": "/usr/bin:/bin", **nowhere}).failed("connect to systemd")


class Hidden:
    """A path with an empty file over it, in the mount namespace of the tests."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __enter__(self) -> None:
        subprocess.run(["mount", "--bind", "/dev/null", self.path], check=True)

    def __exit__(self, *_: object) -> None:
        subprocess.run(["umount", self.path], check=True)
