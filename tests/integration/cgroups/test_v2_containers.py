"""Containers on a machine with cgroup v2 and all its controllers (tests/vm has one)."""

import json
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kit.config import bind
from kit.container import Container, wait_for

from kaa.cgroups import Layout

MIB = 1 << 20
BOMB = "bomb() { bomb | bomb & }; bomb; sleep 1000"
CGROUP = {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup"}
MAPS = [{"containerID": 0, "hostID": 100000, "size": 65536}]

NewContainer = Callable[..., Container]


@pytest.fixture(autouse=True)
def pure_v2(layout: Layout) -> None:
    if layout.version != "v2":
        pytest.skip(f"this machine has cgroups of version {layout.version[1:]}: see tests/vm")
    assert layout.unified
    found = Path(layout.unified.mountpoint, "cgroup.controllers").read_text().split()
    lacking = {"cpu", "cpuset", "hugetlb", "io", "memory", "pids"} - set(found)
    if lacking:
        pytest.skip(f"the cgroup v2 hierarchy has no {', '.join(lacking)}")


def limited(container: Container, **resources: Any) -> Container:
    container.linux["resources"].update(resources)
    return container


def value(container: Container, file: str) -> str:
    return (container.cgroup("") / file).read_text().strip()


def disk() -> tuple[int, int]:
    """Some whole block device."""
    for path in sorted(Path("/sys/block").iterdir()):
        if not path.name.startswith("loop"):
            major, _, minor = (path / "dev").read_text().strip().partition(":")
            return int(major), int(minor)
    pytest.skip("this machine has no block device")


def test_every_limit_reaches_its_file(container: Container) -> None:
    major, minor = disk()
    device = {"major": major, "minor": minor}
    limited(
        container,
        memory={"limit": 64 * MIB, "swap": 96 * MIB, "reservation": 32 * MIB},
        cpu={"shares": 2000, "quota": 50000, "period": 100000, "burst": 1000,
             "cpus": "0", "mems": "0"},
        pids={"limit": 40},
        blockIO={"weight": 500,
                 "throttleReadBpsDevice": [{**device, "rate": 1 << 20}],
                 "throttleWriteIOPSDevice": [{**device, "rate": 100}]},
        hugepageLimits=[{"pageSize": "2MB", "limit": 4 * MIB}],
        unified={"memory.high": str(48 * MIB), "memory.oom.group": "1"},
    ).sleeping()  # fmt: skip
    assert value(container, "memory.max") == str(64 * MIB)
    assert value(container, "memory.swap.max") == str(32 * MIB)
    assert value(container, "memory.low") == str(32 * MIB)
    assert value(container, "memory.high") == str(48 * MIB)
    assert value(container, "memory.oom.group") == "1"
    assert value(container, "cpu.weight") == "170"
    assert value(container, "cpu.max") == "50000 100000"
    assert value(container, "cpu.max.burst") == "1000"
    assert value(container, "cpuset.cpus") == "0"
    assert value(container, "cpuset.mems") == "0"
    assert value(container, "pids.max") == "40"
    assert value(container, "io.max") == (
        f"{major}:{minor} rbps={1 << 20} wbps=max riops=max wiops=100"
    )
    assert value(container, "hugetlb.2MB.max") == str(4 * MIB)
    assert value(container, "hugetlb.2MB.rsvd.max") == str(4 * MIB)
    weights = [value(container, f) for f in ("io.weight", "io.bfq.weight")
               if (container.cgroup("") / f).exists()]  # fmt: skip
    assert weights in (["default 4950"], ["default 500"], ["default 100", "default 500"])


def test_an_idle_container(container: Container) -> None:
    limited(container, cpu={"idle": 1}).sleeping()
    assert value(container, "cpu.idle") == "1"


def test_update_of_everything(container: Container) -> None:
    limited(container, memory={"limit": 64 * MIB}).sleeping()
    update = {
        "memory": {"limit": 80 * MIB, "swap": 100 * MIB, "reservation": 8 * MIB},
        "cpu": {"shares": 512, "quota": 20000, "period": 40000, "burst": 500, "cpus": "0"},
        "pids": {"limit": 33},
        "unified": {"memory.high": str(70 * MIB)},
    }
    container.runtime("update", "--resources", "-", container.id, stdin=json.dumps(update)).ok()
    assert value(container, "memory.max") == str(80 * MIB)
    assert value(container, "memory.swap.max") == str(20 * MIB)
    assert value(container, "memory.low") == str(8 * MIB)
    assert value(container, "memory.high") == str(70 * MIB)
    assert value(container, "cpu.weight") == "59"
    assert value(container, "cpu.max") == "20000 40000"
    assert value(container, "pids.max") == "33"
    container.runtime("update", "--memory", "-1", "--pids-limit", "-1", container.id).ok()
    assert value(container, "memory.max") == "max"
    assert value(container, "memory.swap.max") == "max"
    assert value(container, "pids.max") == "max"


def test_a_limit_below_the_usage_can_be_refused(container: Container) -> None:
    container.mounts.append(bind("/dev/null", "/nothing"))
    limited(container, memory={"limit": 64 * MIB})
    container.script("dd if=/dev/zero of=/dev/shm/x bs=1M count=20 2>/dev/null; exec sleep 1000")
    container.up()
    wait_for(lambda: int(value(container, "memory.current")) > 20 * MIB, "it to use memory")
    update = {"memory": {"limit": 4 * MIB, "checkBeforeUpdate": True}}
    refused = container.runtime(
        "update", "--resources", "-", container.id, stdin=json.dumps(update)
    )
    refused.failed("/linux/resources/memory/limit")
    assert value(container, "memory.max") == str(64 * MIB)
    assert container.status == "running"


def test_a_controller_that_is_not_there(container: Container) -> None:
    limited(container, unified={"nonsense.max": "1"})
    container.create().failed("/linux/resources/unified/nonsense.max")
    container.config["linux"]["resources"]["unified"] = {"../cgroup.procs": "1"}
    container.create().failed("must be a file name")


def test_out_of_memory_is_told(container: Container) -> None:
    limited(container, memory={"limit": 24 * MIB, "swap": 24 * MIB})
    container.script("while [ ! -e /go ]; do sleep 0.1; done; exec tail /dev/zero").up()
    events = container.runtime.popen(
        "events", "--interval", "1h", container.id, stdout=subprocess.PIPE, text=True
    )
    time.sleep(2)  # it has to be listening
    (container.rootfs / "go").touch()
    out, _ = events.communicate(timeout=60)
    assert [json.loads(line)["type"] for line in out.splitlines()] == ["oom"]
    container.wait("stopped")


def test_the_exit_code_of_an_oom_kill(container: Container) -> None:
    limited(container, memory={"limit": 24 * MIB, "swap": 24 * MIB})
    container.process["args"] = ["tail", "/dev/zero"]
    assert container.run().code == 137


def test_a_limit_too_low_for_the_init_is_named(container: Container) -> None:
    limited(container, memory={"limit": 4096, "swap": 4096})
    container.run().failed("OOM-killed", "out of memory", "memory limit")


@pytest.mark.parametrize("own_pids", [True, False])
def test_a_fork_bomb_ends_at_once(container: Container, own_pids: bool) -> None:
    if not own_pids:
        namespaces = container.linux["namespaces"]
        container.linux["namespaces"] = [n for n in namespaces if n["type"] != "pid"]
    limited(container, pids={"limit": 60}).script(BOMB).up()
    cgroup = container.cgroup("")
    wait_for(lambda: int((cgroup / "pids.current").read_text()) > 40, "the bomb to spread", 30)
    started = time.monotonic()
    container.kill("KILL").ok()
    wait_for(lambda: not (cgroup / "cgroup.procs").read_text(), "everyone to be dead")
    assert time.monotonic() - started < 5
    container.delete("--force").ok()
    assert not cgroup.exists()


def test_delete_force_of_a_fork_bomb(container: Container) -> None:
    limited(container, pids={"limit": 60}).script(BOMB).up()
    cgroup = container.cgroup("")
    wait_for(lambda: int((cgroup / "pids.current").read_text()) > 40, "the bomb to spread", 30)
    container.delete("--force").ok()
    assert not cgroup.exists()


def test_pause_and_resume(container: Container) -> None:
    container.sleeping()
    container.runtime("pause", container.id).ok()
    assert container.status == "paused"
    assert "frozen 1" in value(container, "cgroup.events")
    container.runtime("update", "--pids-limit", "50", container.id).ok()
    container.exec("true").failed("paused")
    container.runtime("resume", container.id).ok()
    assert container.status == "running"
    container.exec("true").ok()
    container.runtime("pause", container.id).ok()
    container.kill("KILL").ok()
    container.wait("stopped")


def test_a_frozen_parent_shows_as_paused(container: Container) -> None:
    container.linux["cgroupsPath"] = f"/{container.id}/inner"
    container.sleeping()
    parent = container.cgroup("").parent
    (parent / "cgroup.freeze").write_text("1")
    try:
        wait_for(lambda: container.status == "paused", "it to be frozen")
        container.runtime("resume", container.id).failed("a cgroup above it is frozen")
    finally:
        (parent / "cgroup.freeze").write_text("0")
    wait_for(lambda: container.status == "running", "it to thaw")


def test_devices_are_obeyed(container: Container) -> None:
    for kind in ("bounding", "effective", "permitted"):
        container.process["capabilities"][kind].append("CAP_MKNOD")
    limited(
        container,
        devices=[
            {"allow": False, "access": "rwm"},
            {"allow": True, "type": "b", "major": 7, "minor": 0, "access": "r"},
        ],
    ).sleeping()
    if not Path("/dev/loop0").exists():
        pytest.skip("this machine has no loop devices")
    container.exec("mknod", "/dev/loop", "b", "7", "0").ok()
    container.exec("dd", "if=/dev/loop", "count=0").ok()
    container.exec("sh", "-c", "exec 3<> /dev/loop").failed("operation not permitted")
    container.exec("mknod", "/dev/mem", "c", "1", "1").ok()  # to make one is allowed
    container.exec("dd", "if=/dev/mem", "of=/dev/null", "bs=1", "count=1").failed("not permitted")
    container.exec("sh", "-c", "echo > /dev/null && head -c1 /dev/zero").ok()


def shape(found: Any) -> Any:
    """The keys, at every level; a list by what its elements have together."""
    if isinstance(found, dict):
        return {key: shape(value) for key, value in found.items()}
    if isinstance(found, list) and found:
        shapes = [shape(element) for element in found]
        whole = isinstance(shapes[0], dict)
        return [{k: v for one in shapes for k, v in one.items()} if whole else shapes[0]]
    return type(found).__name__


def lacks(ours: Any, theirs: Any, where: str = "") -> list[str]:
    """What of `theirs` is not in `ours`, or has another type there."""
    if isinstance(theirs, dict) and isinstance(ours, dict):
        found = []
        for key, value in theirs.items():
            if key in ours:
                found += lacks(ours[key], value, f"{where}/{key}")
            else:
                found.append(f"{where}/{key}")
        return found
    if isinstance(theirs, list) and isinstance(ours, list):
        return lacks(ours[0], theirs[0], f"{where}[]")
    return [] if ours == theirs else [f"{where}: {ours}, not {theirs}"]


def test_stats_have_the_shape_of_runcs(container: Container, tmp: Path) -> None:
    runc = shutil.which("runc")
    if runc is None:
        pytest.skip("runc is not installed")
    limited(container, memory={"limit": 64 * MIB}, pids={"limit": 40})
    container.script("dd if=/dev/zero of=/x bs=1M count=4 2>/dev/null; sync; exec sleep 1000").up()
    ours = json.loads(container.runtime("events", "--stats", container.id).ok().out)
    theirs_id = f"{container.id}-runc"
    argv = [runc, "--root", str(tmp / "runc")]
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "check": True}
    subprocess.run([*argv, "create", "--bundle", str(container.bundle), theirs_id], **quiet)  # type: ignore[call-overload]
    try:
        subprocess.run([*argv, "start", theirs_id], check=True)
        time.sleep(1)
        shown = subprocess.run(
            [*argv, "events", "--stats", theirs_id], check=True, capture_output=True
        )
        theirs = json.loads(shown.stdout)
    finally:
        subprocess.run([*argv, "delete", "--force", theirs_id], check=True)
    assert ours["type"] == theirs["type"] == "stats"
    for one in (ours, theirs):
        one["data"]["memory"].pop("raw", None)  # what the kernel happens to count
    assert lacks(shape(ours["data"]), shape(theirs["data"])) == []
    assert ours["data"]["pids"] == {"current": 1, "limit": 40}
    pressure = ours["data"]["memory"].get("psi")
    if Path("/proc/pressure/memory").exists():
        assert pressure and set(pressure["some"]) == {"avg10", "avg60", "avg300", "total"}


def with_cgroup(container: Container, *options: str) -> Container:
    container.linux["namespaces"] += [{"type": "user"}, {"type": "cgroup"}]
    container.linux["uidMappings"] = container.linux["gidMappings"] = MAPS
    container.mounts.append({**CGROUP, "options": list(options)})
    container.bundle.chmod(0o755)
    return container


def test_a_container_gets_its_cgroup(container: Container) -> None:
    """OCI: "Cgroup ownership"."""
    limited(with_cgroup(container, "rw"), memory={"limit": 64 * MIB})
    container.process["user"] = {"uid": 7, "gid": 7}
    container.sleeping()
    cgroup = container.cgroup("")
    assert cgroup.stat().st_uid == 100007
    listed = Path("/sys/kernel/cgroup/delegate").read_text().split()
    given = {path.name for path in cgroup.iterdir() if path.stat().st_uid == 100007}
    assert given == {name for name in listed if (cgroup / name).exists()}
    container.exec("mkdir", "/sys/fs/cgroup/inner").ok()
    container.exec("sh", "-c", "echo $$ > /sys/fs/cgroup/inner/cgroup.procs").ok()
    container.exec("sh", "-c", "echo max > /sys/fs/cgroup/memory.max").failed("permission denied")
    container.stop()
    container.delete().ok()
    assert not cgroup.exists()


def test_a_read_only_cgroup_stays_the_hosts(container: Container) -> None:
    with_cgroup(container, "ro").sleeping()
    assert container.cgroup("").stat().st_uid == 0
    container.exec("mkdir", "/sys/fs/cgroup/inner").failed("read-only")


def test_a_container_that_arranges_its_own_cgroups(container: Container) -> None:
    """As systemd does: everyone below, controllers passed on."""
    with_cgroup(container, "rw").script(
        "mkdir /sys/fs/cgroup/init && echo $$ > /sys/fs/cgroup/init/cgroup.procs &&"
        " echo +pids > /sys/fs/cgroup/cgroup.subtree_control && touch /ready; exec sleep 1000"
    )
    (container.rootfs).chmod(0o777)
    container.up()
    wait_for((container.rootfs / "ready").exists, "it to have done so")
    cgroup = container.cgroup("").parent
    found = container.exec("cat", "/proc/self/cgroup").ok()
    assert found.out.strip() == "0::/init"
    container.exec("--cgroup", "/init", "--", "true").ok()
    container.exec("--cgroup", "/none", "--", "true").failed("no such file")
    container.runtime("pause", container.id).ok()
    container.delete("--force").ok()
    assert not cgroup.exists()
