"""Parsers of the kernel's number files."""

from pathlib import Path

from kaa.cgroups.stats import cpu_list, pressure, v2_stats

FILES = {
    "cpu.stat": "usage_usec 100\nuser_usec 60\nsystem_usec 40\nnr_periods 3\n"
    "nr_throttled 2\nthrottled_usec 7\n",
    "cpu.pressure": "some avg10=1.50 avg60=0.00 avg300=0.00 total=12\n",
    "memory.current": "4096\n",
    "memory.max": "max\n",
    "memory.swap.current": "1000\n",
    "memory.swap.max": "5000\n",
    "memory.peak": "8192\n",
    "memory.stat": "anon 1\nfile 2048\n",
    "memory.events": "low 0\nhigh 0\nmax 9\noom 1\noom_kill 1\n",
    "pids.current": "3\n",
    "pids.max": "10\n",
    "io.stat": "8:0 rbytes=10 wbytes=0 rios=1 wios=0 dbytes=0 dios=0\n",
    "hugetlb.2MB.current": "0\n",
    "hugetlb.2MB.rsvd.current": "2097152\n",
    "hugetlb.2MB.events": "max 4\n",
    "rdma.current": "mlx4_0 hca_handle=2 hca_object=20\n",
    "rdma.max": "mlx4_0 hca_handle=max hca_object=2000\n",
    "misc.current": "res_a 3\n",
    "misc.events": "res_a.max 1\n",
    "cpuset.cpus": "0-1\n",
}


def test_v2(tmp_path: Path) -> None:
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    found = v2_stats(str(tmp_path))
    some = {"avg10": 1.5, "avg60": 0.0, "avg300": 0.0, "total": 12}
    assert found["cpu"] == {
        "usage": {"total": 100000, "kernel": 40000, "user": 60000},
        "throttling": {"periods": 3, "throttledPeriods": 2, "throttledTime": 7000},
        "psi": {"some": some},
    }
    unlimited = (1 << 64) - 1
    assert found["memory"]["cache"] == 2048
    assert found["memory"]["usage"] == {
        "limit": unlimited,
        "usage": 4096,
        "max": 8192,
        "failcnt": 9,
    }
    assert found["memory"]["swap"] == {"limit": unlimited, "usage": 5096, "failcnt": 0}
    assert found["memory"]["raw"] == {"anon": 1, "file": 2048}
    assert found["pids"] == {"current": 3, "limit": 10}
    assert found["cpuset"]["cpus"] == [0, 1]
    assert found["blkio"] == {
        "ioServiceBytesRecursive": [
            {"major": 8, "op": "Read", "value": 10},
            {"major": 8, "op": "Write"},
            {"major": 8, "op": "Discard"},
        ],
        "ioServicedRecursive": [
            {"major": 8, "op": "Read", "value": 1},
            {"major": 8, "op": "Write"},
            {"major": 8, "op": "Discard"},
        ],
    }
    assert found["hugetlb"] == {"2MB": {"usage": 2097152, "failcnt": 4}}
    assert found["rdma"] == {
        "current": [{"device": "mlx4_0", "hcaHandles": 2, "hcaObjects": 20}],
        "limit": [{"device": "mlx4_0", "hcaHandles": (1 << 32) - 1, "hcaObjects": 2000}],
    }
    assert found["misc"] == {"res_a": {"usage": 3, "events": 1}}


def test_a_cgroup_that_is_gone_has_empty_numbers() -> None:
    found = v2_stats("/nonexistent")
    assert found["pids"] == {}
    assert found["blkio"] == {}
    assert "psi" not in found["cpu"]


def test_lists_and_pressure(tmp_path: Path) -> None:
    assert cpu_list("0-2,7") == [0, 1, 2, 7]
    assert cpu_list("") == []
    assert pressure(str(tmp_path / "none")) == {}
