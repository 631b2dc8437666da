"""Limits: what config.json says is in the cgroup's files, and holds."""

from pathlib import Path

import pytest
from kit import config
from kit.container import Container


def value(container: Container, controller: str, v1: str, v2: str) -> str:
    """The text of a file of the container's cgroup, under the name of its version."""
    group = container.cgroup(controller)
    for name in (v1, v2):
        if (group / name).exists():
            return (group / name).read_text().strip()
    pytest.skip(f"this kernel has neither {v1} nor {v2}")


def test_memory(container: Container) -> None:
    container.linux["resources"]["memory"] = {"limit": 64 << 20, "reservation": 32 << 20}
    container.sleeping()
    assert value(container, "memory", "memory.limit_in_bytes", "memory.max") == str(64 << 20)
    soft = value(container, "memory", "memory.soft_limit_in_bytes", "memory.low")
    assert soft == str(32 << 20)


def test_pids(container: Container) -> None:
    container.linux["resources"]["pids"] = {"limit": 17}
    container.sleeping()
    assert value(container, "pids", "pids.max", "pids.max") == "17"


def test_unlimited_pids(container: Container) -> None:
    container.linux["resources"]["pids"] = {"limit": -1}
    container.sleeping()
    assert value(container, "pids", "pids.max", "pids.max") == "max"


def test_cpu(container: Container) -> None:
    container.linux["resources"]["cpu"] = {"shares": 2048, "quota": 50000, "period": 100000}
    container.sleeping()
    quota = value(container, "cpu", "cpu.cfs_quota_us", "cpu.max")
    assert quota in ("50000", "50000 100000")
    shares = value(container, "cpu", "cpu.shares", "cpu.weight")
    assert shares in ("2048", "174", "79")  # as a weight: the new conversion and the old


def test_cpuset(container: Container) -> None:
    container.linux["resources"]["cpu"] = {"cpus": "0", "mems": "0"}
    container.sleeping()
    assert value(container, "cpuset", "cpuset.cpus", "cpuset.cpus") == "0"
    status = Path(f"/proc/{container.pid}/status").read_text()
    assert "Cpus_allowed_list:\t0\n" in status


def test_pids_limit_holds(container: Container) -> None:
    container.linux["resources"]["pids"] = {"limit": 4}
    result = container.script("for i in $(seq 20); do sleep 5 & done; wait").run()
    assert "fork" in result.err.lower()


def test_memory_limit_holds(container: Container) -> None:
    container.linux["resources"]["memory"] = {"limit": 16 << 20}
    container.process["args"] = [
        "sh",
        "-c",
        "head -c 100000000 /dev/zero | tail > /dev/null; echo $?",
    ]
    result = container.run()
    assert result.out.strip() == "137" or result.code == 137, result


def test_a_custom_cgroups_path(container: Container) -> None:
    path = f"/{container.id}-parent/child"
    container.linux["cgroupsPath"] = path
    container.sleeping()
    group = container.cgroup("pids")
    assert str(group).endswith(path)
    container.delete("--force").ok()
    assert not group.exists()
    for parent in Path("/sys/fs/cgroup").glob(f"**/{container.id}-parent"):
        parent.rmdir()  # the parent is the caller's


def test_a_cgroups_path_never_leaves_the_hierarchy(container: Container) -> None:
    container.linux["cgroupsPath"] = f"../../../../{container.id}/../{container.id}"
    result = container.create()
    if result.code == 0:
        assert str(container.cgroup("pids")).startswith("/sys/fs/cgroup/")
    container.delete("--force")
    assert not (Path("/") / container.id).exists()


@pytest.mark.kaa_only("the set-up of runc is charged to the container")
@pytest.mark.parametrize("limit", [524288, 786432])
def test_the_smallest_memory_limit(container: Container, limit: int) -> None:
    container.linux["resources"]["memory"] = {"limit": limit}
    container.process["args"] = ["true"]
    container.run().ok()
    container.script("echo small").up()
    container.wait("stopped")


@pytest.mark.kaa_only("the set-up of runc is counted in the container")
def test_a_single_process(container: Container) -> None:
    container.linux["resources"]["pids"] = {"limit": 1}
    result = container.script("echo one; (echo two) ; true").run()
    assert result.out.splitlines()[0] == "one"
    assert "fork" in result.err


@pytest.mark.kaa_only("the set-up of runc is counted in the container")
def test_hooks_are_not_counted(container: Container) -> None:
    """A hook of the container's own namespaces runs although its cgroup has room for one."""
    container.linux["resources"]["pids"] = {"limit": 1}
    container.config["hooks"] = {
        kind: [{"path": "/bin/true"}] for kind in ("createContainer", "startContainer")
    }
    container.run().ok()


@pytest.mark.kaa_only("runc 1.1 says less")
def test_a_limit_that_is_too_low_is_said(container: Container) -> None:
    container.linux["resources"]["memory"] = {"limit": 4096}
    container.run().failed("memory")


@pytest.mark.kaa_only("runc 1.1 needs more memory")
def test_hundreds_of_mounts_under_a_small_limit(container: Container, tmp: Path) -> None:
    """The kernel charges each mount to who makes it; the limit must come after them."""
    container.linux["resources"]["memory"] = {"limit": 1 << 20}
    (tmp / "source").mkdir()
    for number in range(200):
        container.mounts.append(config.bind(tmp / "source", f"/m/{number}"))
    container.process["args"] = ["true"]
    container.run().ok()


def test_the_cgroup_belongs_to_the_container_before_it_starts(container: Container) -> None:
    container.create().ok()
    group = container.cgroup("pids")
    assert group.name == container.id
    assert (group / "cgroup.procs").read_text().split() == [str(container.pid)]


@pytest.mark.kaa_only("runc 1.1 says it in other words")
def test_shares_of_a_cache_nobody_asked_for(container: Container) -> None:
    container.sleeping()
    result = container.runtime("update", "--l3-cache-schema", "L3:0=f", container.id)
    result.failed("/linux/intelRdt", "created without Intel RDT")
