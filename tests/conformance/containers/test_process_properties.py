"""Properties of `process` that no other test shows in a container that runs."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from kit.container import Container

STAT_FIELDS = {"priority": 18, "nice": 19, "rt_priority": 40, "policy": 41}  # proc_pid_stat(5)
MICROSECONDS_OF_REAL_TIME = 100_000


def stat(text: str) -> dict[str, int]:
    """The fields of a /proc/PID/stat that speak of scheduling."""
    fields = text.rpartition(")")[2].split()
    return {name: int(fields[number - 3]) for name, number in STAT_FIELDS.items()}


def allow_real_time(container: Container) -> None:
    """A cgroup has none of it, unless it is asked for (CONFIG_RT_GROUP_SCHED)."""
    if Path("/sys/fs/cgroup/cpu/cpu.rt_runtime_us").exists():
        container.linux["resources"]["cpu"] = {
            "realtimeRuntime": MICROSECONDS_OF_REAL_TIME,
            "realtimePeriod": 1_000_000,
        }


def schedule(container: Container, **scheduler: Any) -> tuple[dict[str, int], dict[str, int]]:
    """How the process, and a child of its, are scheduled."""
    allow_real_time(container)
    container.process["scheduler"] = scheduler
    lines = container.script("cat /proc/1/stat; cat /proc/self/stat; true").run().ok().out
    first, second = lines.splitlines()
    return stat(first), stat(second)


@pytest.mark.kaa_only("came with runc 1.2")
@pytest.mark.parametrize(
    ("policy", "number"), [("SCHED_OTHER", 0), ("SCHED_BATCH", 3), ("SCHED_IDLE", 5)]
)
def test_a_scheduler_without_priorities(container: Container, policy: str, number: int) -> None:
    own, child = schedule(container, policy=policy, nice=7)
    assert (own["policy"], child["policy"]) == (number, number)
    assert own["nice"] == (0 if policy == "SCHED_IDLE" else 7)  # which has no use for it


@pytest.mark.kaa_only("came with runc 1.2")
@pytest.mark.parametrize(("policy", "number"), [("SCHED_FIFO", 1), ("SCHED_RR", 2)])
def test_a_real_time_scheduler(container: Container, policy: str, number: int) -> None:
    own, child = schedule(container, policy=policy, priority=13)
    assert (own["policy"], own["rt_priority"]) == (number, 13)
    assert child["policy"] == number


@pytest.mark.kaa_only("came with runc 1.2")
def test_flags_of_the_scheduler(container: Container) -> None:
    own, child = schedule(
        container, policy="SCHED_FIFO", priority=2, flags=["SCHED_FLAG_RESET_ON_FORK"]
    )
    assert own["policy"] == 1
    assert child["policy"] == 0


@pytest.mark.kaa_only("came with runc 1.2")
def test_a_deadline(container: Container) -> None:
    """A process that forks must not have one, so that it is a program that only reads."""
    container.process["scheduler"] = {
        "policy": "SCHED_DEADLINE",
        "runtime": 5_000_000,
        "deadline": 50_000_000,
        "period": 100_000_000,
    }
    container.process["args"] = ["cat", "/proc/self/stat"]
    result = container.run()
    if (
        result.code
        and "/process/scheduler" in result.err
        and "operation not permitted" in (result.err.lower())
    ):
        pytest.skip(f"the kernel gives no deadlines to a cgroup: {result.err}")
    assert stat(result.ok().out)["policy"] == 6


@pytest.mark.kaa_only("came with runc 1.2")
@pytest.mark.parametrize(
    ("name", "value"),
    [("policy", "SCHED_NONE"), ("nice", 20), ("flags", ["SCHED_FLAG_NONE"]), ("runtime", -1)],
)
def test_a_scheduler_that_there_is_not(container: Container, name: str, value: object) -> None:
    container.process["scheduler"] = {"policy": "SCHED_OTHER", name: value}
    container.run().failed(f"/process/scheduler/{name}", code=1)


@pytest.mark.kaa_only("came with runc 1.2")
@pytest.mark.parametrize(
    ("kind", "priority", "shown"),
    [
        ("IOPRIO_CLASS_RT", 1, "realtime: prio 1"),
        ("IOPRIO_CLASS_BE", 6, "best-effort: prio 6"),
        ("IOPRIO_CLASS_IDLE", 0, "idle"),
    ],
)
def test_io_priority(container: Container, kind: str, priority: int, shown: str) -> None:
    container.process["ioPriority"] = {"class": kind, "priority": priority}
    assert shown in container.script("ionice -p $$").run().ok().out


@pytest.mark.kaa_only("came with runc 1.2")
@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one processor is all there is")
def test_exec_on_other_processors(container: Container) -> None:
    """`initial` is in force before the container's cgroup, where nothing can look; `final` stays.

    A processor that there is not shows that `initial` is set at all.
    """
    first, *others = sorted(os.sched_getaffinity(0))
    command = ("grep", "Cpus_allowed_list", "/proc/self/status")
    container.process["execCPUAffinity"] = {"initial": str(first), "final": str(others[-1])}
    container.sleeping()
    assert container.exec(*command).ok().out.split()[1] == str(others[-1])
    document = container.bundle / "process.json"
    process = {**container.process, "args": list(command)}
    process["execCPUAffinity"] = {"initial": "1023"}
    document.write_text(json.dumps(process))
    refused = container.runtime("exec", "--process", document, container.id)
    refused.failed("/process/execCPUAffinity/initial", code=255)


@pytest.mark.kaa_only("came with runc 1.2")
@pytest.mark.parametrize("cpus", [" ", "-", "1-", "-1", "2-1", "0,,1", "0-99999999999", "0-1-2"])
def test_processors_that_are_no_list(container: Container, cpus: str) -> None:
    container.process["execCPUAffinity"] = {"final": cpus}
    container.run().failed("/process/execCPUAffinity/final", code=1)


def test_what_is_for_windows_is_ignored(container: Container) -> None:
    container.process["commandLine"] = "cmd.exe /c exit 1"
    container.process["user"]["username"] = "ContainerAdministrator"
    assert container.script("id -u").run().ok().out == "0\n"


@pytest.mark.kaa_only("runc 1.1 says less")
@pytest.mark.parametrize(
    ("section", "name", "value", "where"),
    [
        ("process", "apparmorProfile", "kaa-test-profile", "/sys/kernel/security/apparmor"),
        ("process", "selinuxLabel", "system_u:system_r:kaa_t:s0", "/sys/fs/selinux"),
        ("linux", "mountLabel", "system_u:object_r:kaa_t:s0", "/sys/fs/selinux"),
    ],
)
def test_a_label_of_a_module_that_is_not_there(
    container: Container, section: str, name: str, value: str, where: str
) -> None:
    if Path(where).exists():
        pytest.skip(f"this machine has {where}: the label may be applied")
    container.config[section][name] = value
    container.run().failed(f"/{section}/{name}", code=1)


def test_numbers_of_the_terminal_without_a_terminal_mean_nothing(container: Container) -> None:
    container.process["consoleSize"] = {"height": 33, "width": 77}
    assert container.script("test -t 0 || echo none").run().ok().out == "none\n"
