"""cgroup v1 with every controller that is mounted."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from kaa.cgroups import Layout
from kaa.cgroups.base import Cgroup
from kaa.errors import CgroupError

from .conftest import New, Small, exists, until

Json = dict[str, Any]
PAGES = 524288


@pytest.fixture
def cgroup(new: New, v1_layout: Layout) -> Cgroup:
    return new(v1_layout)


def need(cgroup: Cgroup, controller: str) -> Path:
    if controller not in cgroup.paths():
        pytest.skip(f"the {controller} controller is not mounted")
    return Path(cgroup.paths()[controller])


def member(pid: int, controller: str) -> str:
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _, names, path = line.split(":", 2)
        if controller in names.split(","):
            return path
    raise AssertionError(controller)


def test_the_first_process_runs_under_the_smallest_limits(cgroup: Cgroup, small: Small) -> None:
    memory = need(cgroup, "memory")
    cgroup.attach(small.pid)
    assert member(small.pid, "memory") != f"/{memory.name}", "charged before the limit is set"
    cgroup.apply({"memory": {"limit": PAGES}, "pids": {"limit": 1}})
    cgroup.attach_last(small.pid)
    for controller in cgroup.paths():
        if controller:
            assert member(small.pid, controller) == f"/{memory.name}"
    assert (memory / "memory.limit_in_bytes").read_text() == f"{PAGES}\n"
    assert small.order("o") == 0
    assert small.order("f") == 11, "EAGAIN: pids.max is 1"
    assert small.alive()
    assert cgroup.oom_kills() == 0
    assert cgroup.pids() == [small.pid]


def test_an_oom_kill_is_counted(cgroup: Cgroup, tmp: Path) -> None:
    need(cgroup, "memory")
    cgroup.apply({"memory": {"limit": 8 << 20, "swap": 8 << 20}})
    script = "import sys; sys.stdin.read(1); x = bytearray(64 << 20)"
    eater = subprocess.Popen([sys.executable, "-S", "-c", script], stdin=subprocess.PIPE)
    cgroup.attach(eater.pid)
    cgroup.attach_last(eater.pid)
    eater.communicate(b"x")
    assert eater.returncode == -signal.SIGKILL
    assert cgroup.oom_kills() == 1


def test_memory_and_swap_rise_and_fall_together(cgroup: Cgroup) -> None:
    memory = need(cgroup, "memory")
    if not (memory / "memory.memsw.limit_in_bytes").exists():
        pytest.skip("no swap accounting")
    for megabytes in (64, 256, 16):
        size = megabytes << 20
        cgroup.apply({"memory": {"limit": size, "swap": size}}, update=True)
        for name in ("memory", "memory.memsw"):
            assert (memory / f"{name}.limit_in_bytes").read_text() == f"{size}\n"
    cgroup.apply({"memory": {"limit": -1}}, update=True)
    assert int((memory / "memory.memsw.limit_in_bytes").read_text()) > 1 << 60


def test_memory_above_the_swap_limit_in_force(cgroup: Cgroup) -> None:
    memory = need(cgroup, "memory")
    if not (memory / "memory.memsw.limit_in_bytes").exists():
        pytest.skip("no swap accounting")
    cgroup.apply({"memory": {"limit": 16 << 20, "swap": 16 << 20}})
    with pytest.raises(CgroupError) as caught:
        cgroup.apply({"memory": {"limit": 64 << 20}}, update=True)
    assert caught.value.pointer == "/linux/resources/memory/limit"
    assert caught.value.path == str(memory / "memory.limit_in_bytes")
    assert "invalid argument" in str(caught.value)
    assert f"memory+swap {16 << 20}" in str(caught.value)


def test_memory_below_what_is_in_use(cgroup: Cgroup, tmp: Path) -> None:
    memory = need(cgroup, "memory")
    cgroup.apply({"memory": {"limit": 64 << 20, "swap": 64 << 20}})
    script = "import sys; x = bytearray(16 << 20); print(flush=True); sys.stdin.read(1)"
    user = subprocess.Popen(
        [sys.executable, "-S", "-c", "import sys; sys.stdin.read(1)\n" + script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        cgroup.attach(user.pid)
        cgroup.attach_last(user.pid)
        assert user.stdin
        assert user.stdout
        user.stdin.write(b"x")
        user.stdin.flush()
        user.stdout.readline()
        with pytest.raises(CgroupError) as caught:
            cgroup.apply({"memory": {"limit": 1 << 20}}, update=True)
        assert "device or resource busy" in str(caught.value)
        assert "current usage: " in str(caught.value)
        assert caught.value.pointer == "/linux/resources/memory/limit"
        assert (memory / "memory.limit_in_bytes").read_text() == f"{64 << 20}\n"
    finally:
        user.communicate(b"x")


def test_cpu_quota_period_and_burst_in_every_direction(cgroup: Cgroup) -> None:
    cpu = need(cgroup, "cpu")
    for quota, period, burst in ((50000, 100000, 50000), (5000, 10000, 0), (90000, 100000, 90000)):
        cgroup.apply({"cpu": {"quota": quota, "period": period, "burst": burst}}, update=True)
        for name, value in (("quota", quota), ("period", period), ("burst", burst)):
            assert (cpu / f"cpu.cfs_{name}_us").read_text() == f"{value}\n"
    cgroup.apply({"cpu": {"quota": 1000, "burst": 1000}}, update=True)
    cgroup.apply({"cpu": {"quota": -1, "shares": 512}}, update=True)
    assert (cpu / "cpu.cfs_quota_us").read_text() == "-1\n"
    assert (cpu / "cpu.shares").read_text() == "512\n"


def test_a_failed_update_is_taken_back(cgroup: Cgroup) -> None:
    cpu = need(cgroup, "cpu")
    cgroup.apply({"cpu": {"quota": 20000, "period": 100000, "burst": 20000}, "pids": {"limit": 5}})
    update = {
        "cpu": {"shares": 99, "quota": 5000, "period": 10000, "burst": 0},
        "pids": {"limit": 7},
        "hugepageLimits": [{"pageSize": "3MB", "limit": 1}],
    }
    with pytest.raises(CgroupError, match="hugepageLimits"):
        cgroup.apply(update, update=True)
    for name, value in (("cfs_quota_us", 20000), ("cfs_period_us", 100000), ("shares", 1024)):
        assert (cpu / f"cpu.{name}").read_text() == f"{value}\n"
    assert (Path(cgroup.paths()["pids"]) / "pids.max").read_text() == "5\n"


def test_a_quota_above_the_parents(new: New, v1_layout: Layout) -> None:
    parent = new(v1_layout)
    cpu = need(parent, "cpu")
    parent.apply({"cpu": {"quota": 10000, "period": 100000}})
    child = new(v1_layout, "/child")
    with pytest.raises(CgroupError) as caught:
        child.apply({"cpu": {"quota": 50000, "period": 100000}})
    assert caught.value.pointer == "/linux/resources/cpu/quota"
    assert caught.value.path == str(cpu / "child" / "cpu.cfs_quota_us")
    assert "the parent's 10000/100000" in str(caught.value)


def test_an_idle_group(cgroup: Cgroup) -> None:
    cpu = need(cgroup, "cpu")
    if not (cpu / "cpu.idle").exists():
        pytest.skip("no cpu.idle")
    cgroup.apply({"cpu": {"shares": 512, "idle": 1}})
    cgroup.apply({"cpu": {"shares": 256, "idle": 1}}, update=True)
    assert (cpu / "cpu.idle").read_text() == "1\n"
    with pytest.raises(CgroupError, match="idle cgroup has no weight"):
        cgroup.apply({"cpu": {"shares": 256}}, update=True)
    cgroup.apply({"cpu": {"shares": 256, "idle": 0}}, update=True)
    assert (cpu / "cpu.shares").read_text() == "256\n"


def test_a_new_cpuset_can_be_entered_and_narrowed(
    new: New, v1_layout: Layout, small: Small
) -> None:
    cgroup = new(v1_layout, "/a/b")
    cpuset = need(cgroup, "cpuset")
    everything = (cpuset.parents[2] / "cpuset.cpus").read_text()
    assert (cpuset / "cpuset.cpus").read_text() == everything
    assert (cpuset.parent / "cpuset.mems").read_text().strip()
    cgroup.attach(small.pid)
    cgroup.apply({"cpu": {"cpus": "0", "mems": "0"}})
    assert os.sched_getaffinity(small.pid) == {0}


def test_a_cpu_that_does_not_exist(cgroup: Cgroup) -> None:
    cpuset = need(cgroup, "cpuset")
    with pytest.raises(CgroupError) as caught:
        cgroup.apply({"cpu": {"cpus": "4000"}})
    assert caught.value.pointer == "/linux/resources/cpu/cpus"
    assert (cpuset.parents[0] / "cpuset.cpus").read_text().strip() in str(caught.value)


def test_a_real_time_process_comes_in_after_its_time_was_set(cgroup: Cgroup, small: Small) -> None:
    cpu = need(cgroup, "cpu")
    if not (cpu / "cpu.rt_runtime_us").exists():
        pytest.skip("no real-time groups")
    os.sched_setscheduler(small.pid, os.SCHED_FIFO, os.sched_param(1))
    cgroup.attach(small.pid)
    with pytest.raises(CgroupError, match="realtimeRuntime"):
        cgroup.attach_last(small.pid)
    cgroup.apply({"cpu": {"realtimeRuntime": 1000, "realtimePeriod": 100000}})
    cgroup.attach_last(small.pid)
    assert member(small.pid, "cpu") == f"/{cpu.name}"


@pytest.mark.parametrize(
    ("resources", "pointer", "text"),
    [
        ({"blockIO": {"leafWeight": 500}}, "blockIO/leafWeight", "no such file"),
        (
            {"blockIO": {"throttleReadBpsDevice": [{"major": 250, "minor": 77, "rate": 1}]}},
            "blockIO/throttleReadBpsDevice/0",
            "no block device 250:77",
        ),
        ({"network": {"classID": 1}}, "network/classID", "net_cls controller is not mounted"),
        (
            {"hugepageLimits": [{"pageSize": "3MB", "limit": 0}]},
            "hugepageLimits/0/limit",
            "huge pages are",
        ),
        ({"rdma": {"mlx4_0": {"hcaHandles": 1}}}, "rdma/mlx4_0", "rdma controller is not mounted"),
        ({"cpu": {"quota": 1}}, "cpu/quota", "invalid argument"),
        ({"memory": {"swappiness": 101}}, "memory/swappiness", "between 0 and 100"),
    ],
)
def test_what_this_machine_cannot_do(
    cgroup: Cgroup, resources: Json, pointer: str, text: str
) -> None:
    present = [
        ("blockIO", "leaf" in str(resources) and _has(cgroup, "blkio.leaf_weight")),
        ("network", "net_cls" in cgroup.paths()),
        ("rdma", "rdma" in cgroup.paths()),
    ]
    for section, has in present:
        if section in resources and has:
            pytest.skip(f"this machine can: {resources}")
    with pytest.raises(CgroupError) as caught:
        cgroup.apply(resources)
    assert caught.value.pointer == f"/linux/resources/{pointer}"
    assert text in str(caught.value)


def _has(cgroup: Cgroup, file: str) -> bool:
    return Path(cgroup.paths()["blkio"], file).exists()


def test_a_weight_goes_to_the_scheduler_that_has_weights(cgroup: Cgroup) -> None:
    blkio = need(cgroup, "blkio")
    names = [name for name in ("weight", "bfq.weight") if _has(cgroup, f"blkio.{name}")]
    if names:
        cgroup.apply({"blockIO": {"weight": 500}})
        assert (blkio / f"blkio.{names[0]}").read_text().split()[-1] == "500"
        return
    with pytest.raises(CgroupError, match="no such file"):
        cgroup.apply({"blockIO": {"weight": 500}})


def test_throttling_a_device(cgroup: Cgroup) -> None:
    blkio = need(cgroup, "blkio")
    disks = [d for d in Path("/sys/block").iterdir() if (d / "dev").exists()]
    if not disks:
        pytest.skip("no block device")
    device = (disks[0] / "dev").read_text().strip()
    major, minor = map(int, device.split(":"))
    limit = {"major": major, "minor": minor, "rate": 1 << 20}
    cgroup.apply({"blockIO": {"throttleWriteBpsDevice": [limit]}})
    text = (blkio / "blkio.throttle.write_bps_device").read_text()
    assert text == f"{device} {1 << 20}\n"


def test_device_rules_are_enforced(cgroup: Cgroup, small: Small) -> None:
    devices = need(cgroup, "devices")
    cgroup.attach(small.pid)
    assert small.order("z") == 0
    deny = {"allow": False, "access": "rwm"}
    cgroup.apply({"devices": [deny, {"allow": True, "type": "c", "major": 240, "access": "r"}]})
    listed = (devices / "devices.list").read_text().splitlines()
    assert set(listed) == {
        "c 240:* r", "c *:* m", "b *:* m", "c 1:3 rwm", "c 1:5 rwm", "c 1:7 rwm", "c 1:8 rwm",
        "c 1:9 rwm", "c 5:0 rwm", "c 5:2 rwm", "c 136:* rwm", "c 10:200 rwm",
    }  # fmt: skip
    assert small.order("z") == 0
    cgroup.apply({"pids": {"limit": 5}}, update=True)
    assert (devices / "devices.list").read_text().splitlines() == listed, "an update keeps them"


def test_a_denied_device(new: New, v1_layout: Layout, small: Small) -> None:
    cgroup = new(v1_layout)
    need(cgroup, "devices")
    cgroup.attach(small.pid)
    allow, zero = {"allow": True}, {"type": "c", "major": 1, "minor": 5}
    cgroup.apply({"devices": [allow, {"allow": False, **zero, "access": "m"}]})
    assert small.order("z") == 0
    Path(cgroup.paths()["devices"], "devices.deny").write_text("c 1:5 rw")
    assert small.order("z") == 1


def test_a_parent_that_allows_less(new: New, v1_layout: Layout) -> None:
    parent = new(v1_layout)
    devices = need(parent, "devices")
    (devices / "devices.deny").write_text("a")
    (devices / "devices.allow").write_text("c 1:* rwm")
    child = new(v1_layout, "/child")
    child.apply({"devices": [{"allow": False}]})
    listed = (devices / "child" / "devices.list").read_text()
    assert "c 1:3 rwm" in listed
    assert "10:200" not in listed
    other = new(v1_layout, "/child2")
    with pytest.raises(CgroupError) as caught:
        other.apply({"devices": [{"allow": True}]})
    assert caught.value.pointer == "/linux/resources/devices"
    assert "parent" in str(caught.value)


def test_stats_have_what_runc_reports(cgroup: Cgroup, small: Small) -> None:
    cgroup.attach(small.pid)
    cgroup.apply({"memory": {"limit": 1 << 24}, "pids": {"limit": 7}})
    cgroup.attach_last(small.pid)
    for _ in range(20):
        small.order("f")
    found = cgroup.stats()
    assert {
        "cpu", "cpuset", "memory", "pids", "blkio", "hugetlb", "intel_rdt", "network_interfaces"
    } <= set(found)  # fmt: skip
    assert found["pids"]["limit"] == 7
    assert found["pids"]["current"] >= 1
    assert found["memory"]["usage"]["limit"] == 1 << 24
    assert found["memory"]["usage"]["usage"] > 0
    assert found["memory"]["raw"]["hierarchical_memory_limit"] == 1 << 24
    assert found["cpu"]["usage"]["total"] > 0
    assert len(found["cpu"]["usage"]["percpu"]) == len(found["cpu"]["usage"]["percpu_kernel"])
    assert found["cpuset"]["mems"] == [0]


def test_the_stats_are_those_of_every_directory(cgroup: Cgroup) -> None:
    """Nothing is read from anywhere when the cgroups are gone."""
    cgroup.delete()
    assert not any(exists(path) for path in cgroup.paths().values())
    found = cgroup.stats()
    assert found["pids"] == {}
    assert found["memory"]["usage"] == {"limit": 0, "failcnt": 0}


def test_freezing_while_processes_vfork(cgroup: Cgroup, tmp: Path) -> None:
    """posix_spawn is vfork: the parent waits unfreezably for a child that may be frozen."""
    need(cgroup, "freezer")
    script = "import os\nwhile True: os.waitpid(os.posix_spawn('/bin/true', ['true'], {}), 0)"
    spawner = subprocess.Popen([sys.executable, "-S", "-c", script])
    try:
        cgroup.attach(spawner.pid)
        cgroup.attach_last(spawner.pid)
        for _ in range(10):
            cgroup.freeze()
            assert cgroup.frozen()
            cgroup.thaw()
            assert not cgroup.frozen()
    finally:
        cgroup.kill_all()
        assert spawner.wait(5) == -signal.SIGKILL


def test_killing_without_the_v2_tree(new: New, v1_layout: Layout, small: Small) -> None:
    cgroup = new(Layout("v1", v1_layout.hierarchies))
    need(cgroup, "freezer")
    cgroup.apply({"pids": {"limit": 100}})
    cgroup.attach(small.pid)
    cgroup.attach_last(small.pid)
    small.order("b")
    until(lambda: len(cgroup.pids()) > 50)
    cgroup.kill_all()
    until(lambda: not cgroup.pids(), 1)
    assert small.wait() == -signal.SIGKILL


def test_killing_without_any_freezer(new: New, v1_layout: Layout, small: Small) -> None:
    kept = [h for h in v1_layout.hierarchies if "freezer" not in h.controllers]
    cgroup = new(Layout("v1", kept))
    cgroup.apply({"pids": {"limit": 30}})
    cgroup.attach(small.pid)
    small.order("b")
    until(lambda: len(cgroup.pids()) > 10)
    cgroup.kill_all()
    until(lambda: not cgroup.pids(), 1)


def test_who_is_not_in_the_v2_tree_is_killed_too(cgroup: Cgroup, small: Small) -> None:
    if "" not in cgroup.paths():
        pytest.skip("no v2 hierarchy beside v1")
    cgroup.attach(small.pid)
    Path("/sys/fs/cgroup/unified/cgroup.procs").write_text(str(small.pid))
    cgroup.kill_all()
    assert small.wait() == -signal.SIGKILL


def test_a_hierarchy_that_may_not_be_written(v1_layout: Layout, tmp: Path) -> None:
    """An ordinary user without a delegated cgroup: fine, unless a limit is asked for."""
    code = (
        "import os; os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "from kaa.cgroups import *\n"
        "from kaa.errors import CgroupError\n"
        f"make = lambda rootless: open_cgroup(detect(), '/{tmp.name}', 'x', rootless=rootless)\n"
        "c = make(True); c.create()\n"
        "c.attach(os.getpid()); c.apply({}); c.attach_last(os.getpid())\n"
        "assert c.paths() == {} and c.pids() == [] and not c.frozen(), c.paths()\n"
        "c = load(c.record())\n"
        "for act in (lambda: c.apply({'pids': {'limit': 1}}), c.freeze, make(False).create):\n"
        "    try: act()\n"
        "    except CgroupError as e: print(e)\n"
        "    else: raise SystemExit('no error')\n"
        "c.kill_all(); c.delete()\n"
    )
    source = Path(__file__).parents[3] / "src"
    out = subprocess.run(
        ["/usr/bin/python3", "-c", code],
        env={"PYTHONPATH": str(source), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert out.returncode == 0, out.stderr
    limit, freeze, create = out.stdout.splitlines()
    assert limit.startswith("/linux/resources/pids/limit: ")
    assert "permission denied" in limit
    assert "permission denied" in freeze
    assert "delegated" in create
