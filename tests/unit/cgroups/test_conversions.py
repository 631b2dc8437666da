"""linux.resources as files and values, for both versions."""

from typing import Any

import pytest

from kaa.cgroups import conversions, v1, v2
from kaa.errors import CgroupError

Json = dict[str, Any]


@pytest.mark.parametrize(
    ("shares", "weight"),
    # the fixed points of the curve, values that runc 1.3.2 and crun 1.23 report
    [
        (2, 1),
        (1, 1),
        (1024, 100),
        (1025, 101),
        (2000, 170),
        (262144, 10000),
        (300000, 10000),
    ],
)
def test_cpu_weight(shares: int, weight: int) -> None:
    assert conversions.shares_to_weight(shares) == weight


def test_cpu_weight_grows_with_the_shares() -> None:
    weights = [conversions.shares_to_weight(shares) for shares in range(2, 262145, 97)]
    assert weights == sorted(weights)
    assert weights[0] == 1
    assert weights[-1] <= 10000


@pytest.mark.parametrize(("weight", "io"), [(10, 1), (500, 4950), (1000, 10000)])
def test_io_weight(weight: int, io: int) -> None:
    assert conversions.blkio_to_io_weight(weight) == io


@pytest.mark.parametrize(
    ("limit", "swap", "written"),
    [
        (0, 0, None),
        (100, 0, None),
        (-1, 0, "max"),
        (100, -1, "max"),
        (0, -1, "max"),
        (100, 100, "0"),
        (100, 250, "150"),
    ],
)
def test_swap(limit: int, swap: int, written: str | None) -> None:
    assert conversions.swap_max(limit, swap) == written


@pytest.mark.parametrize(
    ("limit", "swap", "text"),
    [
        (0, 100, "needs a memory limit"),
        (-1, 100, "needs a memory limit"),
        (200, 100, "memory+swap limit should be >= memory limit"),
    ],
)
def test_impossible_swap(limit: int, swap: int, text: str) -> None:
    with pytest.raises(CgroupError) as caught:
        conversions.swap_max(limit, swap)
    assert text in str(caught.value)
    assert caught.value.pointer == "/linux/resources/memory/swap"


@pytest.mark.parametrize(
    ("quota", "period", "now", "written"),
    [
        (50000, 0, "max", "50000"),
        (50000, 100000, "max", "50000 100000"),
        (-1, 0, "20000", "max"),
        (0, 25000, "20000", "20000 25000"),
        (-1, 25000, "20000", "max 25000"),
    ],
)
def test_cpu_max(quota: int, period: int, now: str, written: str) -> None:
    assert conversions.cpu_max(quota, period, now) == written


@pytest.mark.parametrize(
    ("limit", "written"), [(0, "1"), (1, "1"), (20, "20"), (-1, "max"), (-5, "max")]
)
def test_pids(limit: int, written: str) -> None:
    assert conversions.pids_max(limit) == written


EVERYTHING: Json = {
    "cpu": {
        "shares": 1024,
        "quota": 50000,
        "period": 100000,
        "burst": 10000,
        "cpus": "0-1",
        "mems": "0",
    },
    "memory": {"limit": 1 << 30, "swap": 3 << 29, "reservation": 1 << 29},
    "pids": {"limit": 10},
    "blockIO": {
        "weight": 500,
        "weightDevice": [{"major": 8, "minor": 0, "weight": 300}],
        "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 600}],
        "throttleWriteIOPSDevice": [{"major": 8, "minor": 16, "rate": 0}],
    },
    "hugepageLimits": [{"pageSize": "2MB", "limit": 4194304}],
    "rdma": {"mlx5_1": {"hcaHandles": 3, "hcaObjects": 10000}, "mlx4_0": {"hcaObjects": 0}},
}

ON_V1 = [
    ("cpuset.cpus", "0-1", "cpu/cpus"),
    ("cpuset.mems", "0", "cpu/mems"),
    ("cpu.shares", "1024", "cpu/shares"),
    ("cpu.cfs_period_us", "100000", "cpu/period"),
    ("cpu.cfs_quota_us", "50000", "cpu/quota"),
    ("cpu.cfs_burst_us", "10000", "cpu/burst"),
    ("pids.max", "10", "pids/limit"),
    ("blkio.weight", "500", "blockIO/weight"),
    ("blkio.weight_device", "8:0 300", "blockIO/weightDevice/0/weight"),
    ("blkio.throttle.read_bps_device", "8:0 600", "blockIO/throttleReadBpsDevice/0"),
    ("blkio.throttle.write_iops_device", "8:16 0", "blockIO/throttleWriteIOPSDevice/0"),
    ("hugetlb.2MB.limit_in_bytes", "4194304", "hugepageLimits/0/limit"),
    ("hugetlb.2MB.rsvd.limit_in_bytes", "4194304", "hugepageLimits/0/limit"),
    ("rdma.max", "mlx5_1 hca_handle=3 hca_object=10000", "rdma/mlx5_1"),
    ("rdma.max", "mlx4_0 hca_object=0", "rdma/mlx4_0"),
    ("memory.soft_limit_in_bytes", str(1 << 29), "memory/reservation"),
    ("memory.limit_in_bytes", str(1 << 30), "memory/limit"),
    ("memory.memsw.limit_in_bytes", str(3 << 29), "memory/swap"),
]

ON_V2 = [
    ("cpuset.cpus", "0-1", "cpu/cpus"),
    ("cpuset.mems", "0", "cpu/mems"),
    ("cpu.weight", "100", "cpu/shares"),
    ("cpu.max", "50000 100000", "cpu/quota"),
    ("cpu.max.burst", "10000", "cpu/burst"),
    ("pids.max", "10", "pids/limit"),
    ("io.bfq.weight", "500", "blockIO/weight"),
    ("io.bfq.weight", "8:0 300", "blockIO/weightDevice/0/weight"),
    ("io.max", "8:0 rbps=600", "blockIO/throttleReadBpsDevice/0"),
    ("io.max", "8:16 wiops=max", "blockIO/throttleWriteIOPSDevice/0"),
    ("hugetlb.2MB.max", "4194304", "hugepageLimits/0/limit"),
    ("hugetlb.2MB.rsvd.max", "4194304", "hugepageLimits/0/limit"),
    ("rdma.max", "mlx5_1 hca_handle=3 hca_object=10000", "rdma/mlx5_1"),
    ("rdma.max", "mlx4_0 hca_object=0", "rdma/mlx4_0"),
    ("memory.low", str(1 << 29), "memory/reservation"),
    ("memory.swap.max", str(1 << 29), "memory/swap"),
    ("memory.max", str(1 << 30), "memory/limit"),
]


def _full(table: list[tuple[str, str, str]]) -> list[tuple[str, str, str]]:
    return [(file, value, f"/linux/resources/{pointer}") for file, value, pointer in table]


def test_everything_on_v1() -> None:
    assert v1.settings(EVERYTHING) == _full(ON_V1)


def test_everything_on_v2() -> None:
    assert v2.settings(EVERYTHING) == _full(ON_V2)


@pytest.mark.parametrize("module", [v1, v2])
@pytest.mark.parametrize(
    "resources",
    [
        {},
        {"cpu": None, "memory": None, "pids": None, "blockIO": None, "unified": None},
        {"cpu": {"shares": 0, "quota": 0, "period": 0, "cpus": "", "mems": ""}},
        {"memory": {"limit": 0, "swap": 0, "reservation": 0, "disableOOMKiller": False}},
        {"blockIO": {"weight": 0}, "hugepageLimits": [], "rdma": {}, "unified": {}},
        {"network": {"classID": 0, "priorities": []}},
    ],
)
def test_nothing_asked_nothing_written(module: Any, resources: Json) -> None:
    assert module.settings(resources) == []


def _files(table: list[tuple[str, str, str]]) -> list[tuple[str, str]]:
    return [(file, value) for file, value, _ in table]


@pytest.mark.parametrize(
    ("cpu", "written"),
    [
        ({"idle": 1}, [("cpu.idle", "1")]),
        ({"idle": 0}, [("cpu.idle", "0")]),
        ({"idle": 0, "shares": 1024}, [("cpu.idle", "0"), ("W", "")]),
        ({"idle": 1, "shares": 1024}, [("cpu.idle", "0"), ("W", ""), ("cpu.idle", "1")]),
    ],
)
def test_an_idle_group_takes_no_weight(cpu: Json, written: list[tuple[str, str]]) -> None:
    for settings, weight in (
        (v1.settings, ("cpu.shares", "1024")),
        (v2.settings, ("cpu.weight", "100")),
    ):
        expected = [weight if entry[0] == "W" else entry for entry in written]
        assert _files(settings({"cpu": cpu})) == expected


def test_only_a_period_keeps_the_quota_in_force() -> None:
    resources = {"cpu": {"period": 20000}}
    assert _files(v2.settings(resources, quota_now="5000")) == [("cpu.max", "5000 20000")]


def test_only_swap_includes_the_memory_limit_in_force() -> None:
    resources = {"memory": {"swap": 500}}
    assert _files(v2.settings(resources, limit_now=200)) == [("memory.swap.max", "300")]


def test_no_limit_on_memory_is_none_on_swap() -> None:
    assert _files(v1.settings({"memory": {"limit": -2}})) == [
        ("memory.limit_in_bytes", "-1"),
        ("memory.memsw.limit_in_bytes", "-1"),
    ]
    assert _files(v2.settings({"memory": {"limit": -2}})) == [
        ("memory.swap.max", "max"),
        ("memory.max", "max"),
    ]


def test_the_oom_killer_is_only_turned_on_again_by_an_update() -> None:
    off, on = {"memory": {"disableOOMKiller": True}}, {"memory": {"disableOOMKiller": False}}
    assert _files(v1.settings(off)) == [("memory.oom_control", "1")]
    assert v1.settings(on) == []
    assert _files(v1.settings(on, update=True)) == [("memory.oom_control", "0")]
    assert v2.settings(off) == []


def test_only_v1() -> None:
    resources: Json = {
        "memory": {"swappiness": 0, "kernelTCP": 4096, "kernel": 4096},
        "cpu": {"realtimePeriod": 1000000, "realtimeRuntime": 5000},
        "network": {"classID": 1048577, "priorities": [{"name": "eth0", "priority": 5}]},
        "blockIO": {"leafWeight": 20},
    }
    assert _files(v1.settings(resources)) == [
        ("cpu.rt_period_us", "1000000"),
        ("cpu.rt_runtime_us", "5000"),
        ("blkio.leaf_weight", "20"),
        ("net_cls.classid", "1048577"),
        ("net_prio.ifpriomap", "eth0 5"),
        ("memory.kmem.tcp.limit_in_bytes", "4096"),
        ("memory.swappiness", "0"),
    ]
    with pytest.raises(CgroupError, match="cgroup v2") as caught:
        v2.settings(resources)
    assert caught.value.pointer == "/linux/resources/memory/swappiness"
    del resources["memory"]["swappiness"]
    assert v2.settings(resources) == []
    ignored = v2.Cgroup([], rootless=False).ignored(resources)
    assert {pointer.removeprefix("/linux/resources/") for pointer, _ in ignored} == {
        "memory/kernel",
        "memory/kernelTCP",
        "cpu/realtimePeriod",
        "cpu/realtimeRuntime",
        "network/classID",
        "network/priorities",
        "blockIO/leafWeight",
    }


def test_unified_is_last_and_a_line_at_a_time() -> None:
    resources = {
        "unified": {"io.max": "8:0 rbps=1\n8:16 rbps=2\n", "memory.high": "100"},
        "memory": {"limit": 200},
    }
    assert v2.settings(resources) == [
        ("memory.max", "200", "/linux/resources/memory/limit"),
        ("io.max", "8:0 rbps=1", "/linux/resources/unified/io.max"),
        ("io.max", "8:16 rbps=2", "/linux/resources/unified/io.max"),
        ("memory.high", "100", "/linux/resources/unified/memory.high"),
    ]
    with pytest.raises(CgroupError, match="needs cgroup v2"):
        v1.settings(resources)


@pytest.mark.parametrize("key", ["a/b", "../memory.max", "/etc/passwd", "..", ".", "", "a\0b"])
def test_unified_keys_are_file_names(key: str) -> None:
    with pytest.raises(CgroupError, match="must be a file name") as caught:
        v2.settings({"unified": {key: "1"}})
    assert caught.value.pointer == "/linux/resources/unified/" + key.replace("/", "~1")


@pytest.mark.parametrize(
    "size", ["../x", "2MB/../../x", "", "MB", "0MB", "02MB", "2M", "2mb", "²MB", "-2MB", "2MB\n"]
)
@pytest.mark.parametrize("module", [v1, v2])
def test_page_sizes_are_page_sizes(module: Any, size: str) -> None:
    with pytest.raises(CgroupError, match="not a huge page size") as caught:
        module.settings({"hugepageLimits": [{"pageSize": size, "limit": 0}]})
    assert caught.value.pointer == "/linux/resources/hugepageLimits/0/pageSize"


@pytest.mark.parametrize("shares", [1, 262145])
def test_shares_that_v1_would_change_silently(shares: int) -> None:
    with pytest.raises(CgroupError, match="minimum") as caught:
        v1.settings({"cpu": {"shares": shares}})
    assert caught.value.pointer == "/linux/resources/cpu/shares"
