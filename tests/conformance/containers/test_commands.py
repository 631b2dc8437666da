"""Commands: what the list of docs/conformance.md says of them and no other test shows."""

import json
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kit.container import CGROUPS, Container, cgroup_of, wait_for
from kit.runtime import Runtime

V2 = (CGROUPS / "cgroup.controllers").exists()
MIB = 1 << 20
KAA = "kaa's own answer"


@pytest.mark.kaa_only(KAA)
@pytest.mark.parametrize("command", ["info", "mounts", "no-such-command"])
def test_commands_that_there_are_not(runtime: Runtime, command: str) -> None:
    runtime(command).failed(f"No help topic for '{command}'", code=3)


@pytest.mark.kaa_only(KAA)
@pytest.mark.parametrize(
    ("command", "option"),
    [
        (None, "--systemd-log"),
        ("create", "--config=config.json"),
        ("kill", "--regex"),
        ("delete", "--regex"),
    ],
)
def test_options_that_there_are_not(runtime: Runtime, command: str | None, option: str) -> None:
    words = [option, "list"] if command is None else [command, option, "x"]
    runtime(*words).failed(option.lstrip("-").partition("=")[0])


@pytest.mark.parametrize("option", ["--no-subreaper"])
def test_options_without_effect(container: Container, option: str) -> None:
    assert container.script("echo here").run(option).ok().out == "here\n"


@pytest.mark.kaa_only("runc has no --cgroup-manager")
def test_without_a_cgroup(container: Container) -> None:
    container.process["args"] = ["cat", "/proc/self/cgroup"]
    container.linux["resources"] = {}
    container.write()
    shown = container.runtime(
        "--cgroup-manager=disabled", "run", "--bundle", container.bundle, container.id
    ).ok()
    assert container.id not in shown.out
    assert shown.out == Path("/proc/self/cgroup").read_text()


def test_the_configuration_is_that_of_create(container: Container) -> None:
    """runtime.md, Lifecycle 2: what is changed later does not matter."""
    container.process["env"].append("WHEN=then")
    container.process["cwd"] = "/tmp"
    container.script("echo $WHEN > /when; sleep 1000").create().ok()
    container.process["env"][-1] = "WHEN=later"
    container.process["cwd"] = "/var"
    container.script("exit 1").write()
    container.start().ok()
    wait_for((container.rootfs / "when").exists, "the process")
    assert (container.rootfs / "when").read_text() == "then\n"
    if container.runtime.is_kaa:  # runc reads the bundle again
        assert container.exec("sh", "-c", "echo $WHEN $PWD").ok().out == "then /tmp\n"


def test_a_pid_that_is_another_process_now(container: Container) -> None:
    """proc_pid_stat(5) field 22 tells: a container whose pid was given away is stopped."""
    container.sleeping()
    path = container.runtime.root / container.id / "state.json"
    with subprocess.Popen(["sleep", "1000"]) as innocent:
        try:
            text = path.read_text()
            assert str(container.pid) in text
            path.write_text(text.replace(str(container.pid), str(innocent.pid)))
            assert container.status == "stopped"
            container.kill("KILL").failed("container not running", code=1)
            assert innocent.poll() is None
        finally:
            innocent.kill()
    path.write_text(text)


@pytest.mark.kaa_only("runc says nothing before created")
def test_state_while_it_is_being_created(container: Container) -> None:
    seen = container.bundle / "seen"
    command = " ".join(container.runtime.argv("state", container.id))
    hook = {"path": "/bin/sh", "args": ["sh", "-c", f"{command} > {seen}"], "env": ["PATH=/bin"]}
    container.config["hooks"] = {"createRuntime": [hook]}
    container.create().ok()
    assert json.loads(seen.read_text())["status"] == "creating"
    assert container.status == "created"


def test_two_deletes_at_once(container: Container) -> None:
    container.sleeping()
    container.stop()
    results = container.runtime.together([["delete", container.id]] * 3)
    done = [result for result in results if result.code == 0]
    assert len(done) == 1
    for result in results:
        if result.code:
            result.failed("does not exist", code=1)


def test_the_owner_of_a_container(container: Container) -> None:
    container.create().ok()
    directory = container.runtime.root / container.id
    os.chown(directory, 4242, 0)
    (entry,) = json.loads(container.runtime("list", "--format", "json").ok().out)
    assert entry["owner"] == "#4242"
    os.chown(directory, 0, 0)
    (entry,) = json.loads(container.runtime("list", "--format", "json").ok().out)
    assert entry["owner"] == "root"


# -- exec ---------------------------------------------------------------------


def test_exec_of_a_variable_twice(container: Container) -> None:
    container.process["env"].append("A=config")
    container.sleeping()
    shown = container.exec("--env", "A=first", "--env", "A=last", "--", "env").ok().out
    assert [line for line in shown.splitlines() if line.startswith("A=")] == ["A=last"]


@pytest.mark.kaa_only("runc 1.1 takes it")
def test_exec_of_a_variable_without_a_value(container: Container) -> None:
    container.sleeping()
    container.exec("--env", "NOTHING", "--", "true").failed("NOTHING", "env", code=255)


def test_exec_with_preserved_descriptors(container: Container) -> None:
    container.sleeping()
    reading, writing = os.pipe()
    try:
        os.write(writing, b"through\n")
        os.set_inheritable(reading, True)
        shown = container.exec(
            "--preserve-fds",
            1,
            "--",
            *("head", "-n", "1", "/proc/self/fd/3"),
            prefix=["bash", "-c", f'exec 3<&{reading}; exec "$@"', "-"],
            pass_fds=(reading,),
        ).ok()
        assert shown.out == "through\n"
    finally:
        os.close(reading)
        os.close(writing)


@pytest.mark.kaa_only(KAA)
@pytest.mark.parametrize(
    ("option", "pointer", "where"),
    [
        ("--apparmor", "/process/apparmorProfile", "/sys/kernel/security/apparmor"),
        ("--process-label", "/process/selinuxLabel", "/sys/fs/selinux"),
    ],
)
def test_exec_with_a_label(container: Container, option: str, pointer: str, where: str) -> None:
    if Path(where).exists():
        pytest.skip(f"this machine has {where}: the label may be applied")
    container.sleeping()
    container.exec(option, "kaa-test", "--", "true").failed(pointer, code=255)


def test_exec_keeps_the_group_of_the_config(container: Container) -> None:
    """CVE-2026-30892: a uid alone leaves the gid."""
    container.process["user"] = {"uid": 5, "gid": 7}
    container.sleeping()
    shown = container.exec("--user", "6", "--", "sh", "-c", "echo $(id -u) $(id -g)").ok()
    assert shown.out == "6 7\n"


def test_killing_with_a_handled_signal_changes_nothing(container: Container) -> None:
    container.script('trap "echo got > /got" HUP; echo > /up; while :; do sleep 0.05; done').up()
    wait_for((container.rootfs / "up").exists, "the trap")
    container.kill("HUP").ok()
    wait_for((container.rootfs / "got").exists, "the signal")
    assert container.status == "running"


@pytest.mark.parametrize(
    "name", ["9", "KILL", "SIGKILL", "kill", "sigkill", "RTMIN+1", "SIGRTMAX-2", "34"]
)
def test_names_of_signals(container: Container, name: str) -> None:
    container.sleeping()
    if not container.runtime.is_kaa and "RT" in name:
        pytest.skip("runc 1.1 does not know them")
    container.kill(name).ok()
    container.wait("stopped" if "9" in name or "kill" in name.lower() else container.status)


# -- update and events ----------------------------------------------------------


def value(container: Container, file: str) -> str:
    return (cgroup_of(container.pid, file.partition(".")[0]) / file).read_text().strip()


UPDATES: list[tuple[str, str, tuple[str, str] | None, tuple[str, str] | None]] = [
    ("--memory", "80M", ("memory.limit_in_bytes", str(80 * MIB)), ("memory.max", str(80 * MIB))),
    (
        "--memory-reservation",
        "40M",
        ("memory.soft_limit_in_bytes", str(40 * MIB)),
        ("memory.low", str(40 * MIB)),
    ),
    (
        "--memory-swap",
        "96M",
        ("memory.memsw.limit_in_bytes", str(96 * MIB)),
        ("memory.swap.max", str(32 * MIB)),
    ),
    ("--cpu-share", "512", ("cpu.shares", "512"), ("cpu.weight", "59")),
    ("--cpu-quota", "20000", ("cpu.cfs_quota_us", "20000"), ("cpu.max", "20000 100000")),
    ("--cpu-period", "50000", ("cpu.cfs_period_us", "50000"), ("cpu.max", "40000 50000")),
    ("--cpu-burst", "1000", ("cpu.cfs_burst_us", "1000"), ("cpu.max.burst", "1000")),
    ("--cpu-rt-period", "900000", ("cpu.rt_period_us", "900000"), None),
    ("--cpu-rt-runtime", "1200", ("cpu.rt_runtime_us", "1200"), None),
    ("--cpuset-cpus", "0", ("cpuset.cpus", "0"), ("cpuset.cpus", "0")),
    ("--cpuset-mems", "0", ("cpuset.mems", "0"), ("cpuset.mems", "0")),
    ("--cpu-idle", "1", ("cpu.idle", "1"), ("cpu.idle", "1")),
    ("--pids-limit", "31", ("pids.max", "31"), ("pids.max", "31")),
]


@pytest.mark.kaa_only("runc 1.1 has not all of them")
@pytest.mark.parametrize(("option", "given", "v1", "v2"), UPDATES)
def test_update(
    container: Container,
    option: str,
    given: str,
    v1: tuple[str, str] | None,
    v2: tuple[str, str] | None,
) -> None:
    container.linux["resources"].update(
        memory={"limit": 64 * MIB}, cpu={"quota": 40000, "period": 100000}
    )
    container.sleeping()
    wanted = v2 if V2 else v1
    result = container.runtime("update", option, given, container.id)
    if wanted is None:
        result.failed(code=1)
    else:
        result.ok()
        assert value(container, wanted[0]) == wanted[1]


def test_update_from_a_file_and_from_stdin(container: Container, tmp: Path) -> None:
    container.sleeping()
    (tmp / "limits").write_text(json.dumps({"pids": {"limit": 44}}))
    container.runtime("update", "--resources", tmp / "limits", container.id).ok()
    assert value(container, "pids.max") == "44"
    document = json.dumps({"pids": {"limit": -1}})
    container.runtime("update", "-r", "-", container.id, stdin=document).ok()
    assert value(container, "pids.max") == "max"


def test_update_leaves_the_devices_alone(container: Container) -> None:
    container.sleeping()
    document = json.dumps({"pids": {"limit": 40}, "devices": [{"allow": True, "access": "rwm"}]})
    container.runtime("update", "-r", "-", container.id, stdin=document).ok()
    made = container.exec("--cap", "MKNOD", "--", "sh", "-c", "mknod /x c 1 1 && dd if=/x count=1")
    made.failed("not permitted")


@pytest.mark.kaa_only("runc 1.1 says other words")
def test_update_of_a_limit_that_cannot_be(container: Container) -> None:
    container.linux["resources"]["pids"] = {"limit": 40}
    container.sleeping()
    container.runtime("update", "--cpuset-cpus", "8191", "--pids-limit", "50", container.id).failed(
        "/linux/resources/cpu/cpus", code=1
    )
    assert value(container, "pids.max") == "40"


@pytest.mark.kaa_only("new in kaa")
@pytest.mark.parametrize("option", ["--l3-cache-schema=L3:0=f", "--mem-bw-schema=MB:0=50"])
def test_update_of_shares_that_were_never_given(container: Container, option: str) -> None:
    container.sleeping()
    container.runtime("update", option, container.id).failed("rdt", code=1)


def test_stats(container: Container) -> None:
    container.linux["resources"].update(memory={"limit": 64 * MIB}, pids={"limit": 20})
    container.sleeping()
    shown = container.runtime("events", "--stats", container.id).ok().out
    assert shown.count("\n") == 1
    event: dict[str, Any] = json.loads(shown)
    assert (event["type"], event["id"]) == ("stats", container.id)
    data = event["data"]
    assert data["pids"] == {"current": 1, "limit": 20}
    assert data["memory"]["usage"]["limit"] == 64 * MIB
    assert data["cpu"]["usage"]["total"] > 0


@pytest.mark.kaa_only("runc 1.1 does not end by itself on every machine")
def test_events_until_the_end(container: Container) -> None:
    container.sleeping()
    command = container.runtime.argv("events", "--interval", "100ms", container.id)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as following:
        assert following.stdout is not None
        lines = [json.loads(following.stdout.readline()) for _ in range(3)]
        assert {line["type"] for line in lines} == {"stats"}
        container.stop()
        following.communicate(timeout=20)
        assert following.returncode == 0


def test_an_event_when_memory_ends(
    container: Container, nothing_is_left: Callable[..., None]
) -> None:
    container.linux["resources"]["memory"] = {"limit": 24 * MIB, "swap": 24 * MIB}
    container.script("sleep 1.5; head -c 100m /dev/zero | tail > /dev/null; sleep 1000").up()
    command = container.runtime.argv("events", "--interval", "1h", container.id)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as following:
        assert following.stdout is not None
        try:
            event = json.loads(following.stdout.readline())
        finally:
            following.send_signal(signal.SIGKILL)
    assert event == {"type": "oom", "id": container.id}
    container.delete("--force").ok()


@pytest.mark.parametrize("interval", ["0s", "-1s"])
def test_an_interval_that_is_none(container: Container, interval: str) -> None:
    container.sleeping()
    container.runtime("events", f"--interval={interval}", container.id).failed("interval", code=1)
