"""Properties of linux.resources: what each of them makes of the container's cgroup.

Where the machine has no controller for a property, the container must be refused,
by the name of the property.
"""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from kit.container import CGROUPS, Container, cgroup_of

Json = dict[str, Any]
V2 = (CGROUPS / "cgroup.controllers").exists()
MIB = 1 << 20


class Limit(NamedTuple):
    """A section of linux.resources, and the file (and a part of its text) on v1 and on v2."""

    resources: Json
    v1: tuple[str, str] | None
    v2: tuple[str, str] | None


def memory(**section: Any) -> Json:
    return {"memory": section}


def cpu(**section: Any) -> Json:
    return {"cpu": section}


LIMITS = {
    "memory-limit": Limit(
        memory(limit=64 * MIB),
        ("memory.limit_in_bytes", str(64 * MIB)),
        ("memory.max", str(64 * MIB)),
    ),
    "memory-reservation": Limit(
        memory(reservation=32 * MIB),
        ("memory.soft_limit_in_bytes", str(32 * MIB)),
        ("memory.low", str(32 * MIB)),
    ),
    "memory-swap": Limit(
        memory(limit=64 * MIB, swap=96 * MIB),
        ("memory.memsw.limit_in_bytes", str(96 * MIB)),
        ("memory.swap.max", str(32 * MIB)),
    ),
    "memory-kernelTCP": Limit(
        memory(kernelTCP=8 * MIB), ("memory.kmem.tcp.limit_in_bytes", str(8 * MIB)), None
    ),
    "memory-swappiness": Limit(memory(swappiness=17), ("memory.swappiness", "17"), None),
    "memory-disableOOMKiller": Limit(
        memory(disableOOMKiller=True), ("memory.oom_control", "oom_kill_disable 1"), None
    ),
    "cpu-shares": Limit(cpu(shares=2048), ("cpu.shares", "2048"), ("cpu.weight", "170")),
    "cpu-quota-period": Limit(
        cpu(quota=30000, period=60000),
        ("cpu.cfs_quota_us", "30000"),
        ("cpu.max", "30000 60000"),
    ),
    "cpu-burst": Limit(
        cpu(quota=30000, period=60000, burst=20000),
        ("cpu.cfs_burst_us", "20000"),
        ("cpu.max.burst", "20000"),
    ),
    "cpu-realtime": Limit(
        cpu(realtimeRuntime=1500, realtimePeriod=900_000), ("cpu.rt_runtime_us", "1500"), None
    ),
    "cpu-idle": Limit(cpu(idle=1), ("cpu.idle", "1"), ("cpu.idle", "1")),
    "cpu-cpus": Limit(cpu(cpus="0"), ("cpuset.cpus", "0"), ("cpuset.cpus", "0")),
    "cpu-mems": Limit(cpu(mems="0"), ("cpuset.mems", "0"), ("cpuset.mems", "0")),
    "pids-limit": Limit({"pids": {"limit": 77}}, ("pids.max", "77"), ("pids.max", "77")),
    "unified": Limit({"unified": {"pids.max": "66"}}, None, ("pids.max", "66")),
}


def value(container: Container, file: str) -> str:
    """What the file of the container's cgroup says."""
    return (container.cgroup(file.partition(".")[0]) / file).read_text()


@pytest.mark.kaa_only("runc 1.1 does not know all of them")
@pytest.mark.parametrize("name", LIMITS)
def test_a_limit(container: Container, name: str) -> None:
    limit = LIMITS[name]
    container.linux["resources"].update(limit.resources)
    wanted = limit.v2 if V2 else limit.v1
    container.process["args"] = ["sleep", "1000"]
    if wanted is None:
        result = container.create()
        if result.code:
            ((section, _),) = limit.resources.items()
            result.failed(f"/linux/resources/{section}", code=1)
        return
    container.up()
    assert value(container, wanted[0]).strip().replace("\n", " ").startswith(wanted[1])


@pytest.mark.kaa_only("runc 1.1 says nothing")
@pytest.mark.parametrize(
    ("name", "given"), [("kernel", 64 * MIB), ("useHierarchy", True), ("checkBeforeUpdate", True)]
)
def test_what_kernels_no_longer_have_does_no_harm(
    container: Container, name: str, given: object
) -> None:
    container.linux["resources"]["memory"] = {"limit": 64 * MIB, name: given}
    result = container.run().ok()
    if name == "kernel":
        assert "/linux/resources/memory/kernel" in result.err


THROTTLES = {
    "throttleReadBpsDevice": ("blkio.throttle.read_bps_device", "rbps"),
    "throttleWriteBpsDevice": ("blkio.throttle.write_bps_device", "wbps"),
    "throttleReadIOPSDevice": ("blkio.throttle.read_iops_device", "riops"),
    "throttleWriteIOPSDevice": ("blkio.throttle.write_iops_device", "wiops"),
}


def disk() -> tuple[int, int]:
    """major and minor of a whole disk of this machine."""
    for path in sorted(Path("/sys/block").glob("*/dev")):
        if int((path.parent / "size").read_text()):
            major, minor = path.read_text().split(":")
            return int(major), int(minor)
    pytest.skip("this machine has no block device")


@pytest.mark.parametrize("name", THROTTLES)
def test_throttling_a_disk(container: Container, name: str) -> None:
    major, minor = disk()
    entry = {"major": major, "minor": minor, "rate": 123456}
    container.linux["resources"]["blockIO"] = {name: [entry]}
    container.sleeping()
    v1, v2 = THROTTLES[name]
    shown = value(container, "io.max" if V2 else v1)
    assert f"{major}:{minor}" in shown
    assert ("123456" if not V2 else f"{v2}=123456") in shown


def has_file(name: str) -> bool:
    """Whether new cgroups have it (the file at the top, or that of our own cgroup)."""
    controller = name.partition(".")[0]
    if not any(controller in line.split(":")[1].split(",") for line in own_cgroups()):
        return False
    return (cgroup_of(1, controller) / name).exists()


def own_cgroups() -> list[str]:
    return Path("/proc/self/cgroup").read_text().splitlines()


@pytest.mark.kaa_only("runc 1.1 ignores some of them")
@pytest.mark.parametrize(
    ("resources", "pointer", "file"),
    [
        ({"blockIO": {"leafWeight": 300}}, "blockIO/leafWeight", "blkio.leaf_weight"),
        ({"network": {"classID": 0x100001}}, "network/classID", "net_cls.classid"),
        (
            {"network": {"priorities": [{"name": "lo", "priority": 4}]}},
            "network/priorities",
            "net_prio.ifpriomap",
        ),
        (
            {"hugepageLimits": [{"pageSize": "2MB", "limit": 4 * MIB}]},
            "hugepageLimits/0",
            "hugetlb.2MB.limit_in_bytes",
        ),
        (
            {"rdma": {"mlx5_1": {"hcaHandles": 3, "hcaObjects": 10}}},
            "rdma/mlx5_1",
            "rdma.max",
        ),
    ],
)
def test_a_controller_that_is_not_there(
    container: Container, resources: Json, pointer: str, file: str
) -> None:
    if V2 or has_file(file):
        pytest.skip(f"this machine may have {file}")
    container.linux["resources"].update(resources)
    container.run().failed(f"/linux/resources/{pointer}", code=1)


def test_a_weight(container: Container) -> None:
    """Where some I/O scheduler has weights, its file has it; else the container is refused."""
    container.linux["resources"]["blockIO"] = {"weight": 300}
    container.process["args"] = ["sleep", "1000"]
    result = container.create()
    if result.code:
        result.failed("/linux/resources/blockIO/weight", code=1)
        return
    group = container.cgroup("io" if V2 else "blkio")
    names = ("io.bfq.weight", "io.weight", "blkio.weight", "blkio.bfq.weight")
    (file,) = [group / name for name in names if (group / name).exists()][:1]
    assert file.read_text().split()[-1] == ("2930" if file.name == "io.weight" else "300")


@pytest.mark.kaa_only("runc 1.1 writes another file")
@pytest.mark.parametrize("name", ["weight", "leafWeight"])
def test_a_weight_of_a_disk(container: Container, name: str) -> None:
    major, minor = disk()
    entry = {"major": major, "minor": minor, name: 400}
    container.linux["resources"]["blockIO"] = {"weightDevice": [entry]}
    scheduler = "blkio.weight_device" if name == "weight" else "blkio.leaf_weight_device"
    if V2 or has_file(scheduler) or has_file("blkio.bfq.weight_device"):
        pytest.skip("this machine may have a scheduler with weights")
    container.run().failed(f"/linux/resources/blockIO/weightDevice/0/{name}", code=1)


@pytest.fixture
def net_controllers(tmp: Path) -> Iterator[Path]:
    """net_cls and net_prio, mounted for this test if nobody has them."""
    if V2 or has_file("net_cls.classid"):
        pytest.skip("cgroup v2, or net_cls is mounted already")
    place = tmp / "net"
    place.mkdir()
    mount = ["mount", "-t", "cgroup", "-o", "net_cls,net_prio", "cgroup", str(place)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no net_cls and net_prio: {done.stderr}")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_network_limits(container: Container, net_controllers: Path) -> None:
    config = container.config
    config["linux"]["namespaces"] = [
        entry for entry in config["linux"]["namespaces"] if entry["type"] != "network"
    ]
    container.linux["resources"]["network"] = {
        "classID": 0x100002,
        "priorities": [{"name": "lo", "priority": 9}],
    }
    container.sleeping()
    (group,) = net_controllers.glob(f"**/{container.id}")
    assert (group / "net_cls.classid").read_text().strip() == str(0x100002)
    assert "lo 9" in (group / "net_prio.ifpriomap").read_text()
    container.delete("--force").ok()


def test_a_rule_for_a_device(container: Container) -> None:
    container.linux["resources"]["devices"] = [
        {"allow": False, "access": "rwm"},
        {"allow": True, "type": "c", "major": 10, "minor": 229, "access": "r"},
    ]
    container.linux["devices"] = [{"type": "c", "path": "/dev/it", "major": 10, "minor": 229}]
    if not Path("/sys/class/misc/fuse").exists():
        pytest.skip("a kernel without FUSE, whose device anybody may open")
    shown = container.script("true < /dev/it && echo reads; (true > /dev/it) 2>&1; true").run()
    assert "reads" in shown.out
    assert "not permitted" in shown.out


@pytest.mark.kaa_only("runc 1.1 leaves the cgroup above")
def test_a_path_of_the_cgroup(container: Container) -> None:
    container.linux["cgroupsPath"] = f"/{container.id}-above/{container.id}"
    container.sleeping()
    group = container.cgroup("pids")
    assert str(group).endswith(f"/{container.id}-above/{container.id}")
    container.delete("--force").ok()
