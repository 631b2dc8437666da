"""exec: another process in a running container."""

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest
from kit import config, fdleaker, probe
from kit.container import Container, wait_for

FAILED = 255  # runc's exit code when the process could not be started


def test_output_and_exit_code(container: Container) -> None:
    container.sleeping()
    result = container.exec("sh", "-c", "echo out; echo err >&2; exit 4")
    assert (result.code, result.out, result.err) == (4, "out\n", "err\n")


def test_a_signal_is_128_plus_its_number(container: Container) -> None:
    container.sleeping()
    assert container.exec("sh", "-c", "kill -9 $$").code == 137


def test_options_end_at_the_id(container: Container) -> None:
    container.sleeping()
    assert container.exec("echo", "-n", "--help").ok().out == "--help"


def test_stdin(container: Container) -> None:
    container.sleeping()
    assert container.exec("cat", stdin="typed").ok().out == "typed"


def test_it_is_where_the_container_is(container: Container) -> None:
    config.add_user_namespace(container.config)
    os.chown(container.rootfs, 200000, 200000)
    container.sleeping()
    report = probe.exec(container)
    pid = container.pid
    kinds = ("ipc", "mnt", "net", "pid", "user", "uts", "cgroup")
    inodes = {kind: os.stat(f"/proc/{pid}/ns/{kind}").st_ino for kind in kinds}
    assert {kind: report["namespaces"][kind] for kind in kinds} == inodes
    assert report["cgroup"] == container.exec("cat", "/proc/1/cgroup").ok().out
    assert report["cwd"] == "/"
    assert report["ppid"] == 0
    assert set(report["fds"]) == {"0", "1", "2"}


def test_capabilities_of_the_config_and_no_more(container: Container) -> None:
    container.sleeping()
    report = probe.exec(container)
    wanted = {"CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"}
    assert {kind: report.capabilities(kind) for kind in ("Bnd", "Eff", "Prm")} == {
        "Bnd": wanted,
        "Eff": wanted,
        "Prm": wanted,
    }
    assert report.capabilities("Inh") == set()
    assert report.capabilities("Amb") == set()
    assert report.status["NoNewPrivs"] == "1"


def test_cap_adds_but_never_to_the_inheritable_set(container: Container) -> None:
    """CVE-2022-29162, CVE-2022-27650, CVE-2025-27612."""
    container.sleeping()
    report = probe.exec(container, "--cap", "CAP_NET_RAW")
    assert "CAP_NET_RAW" in report.capabilities("Eff")
    assert "CAP_NET_RAW" in report.capabilities("Bnd")
    assert report.capabilities("Inh") == set()
    assert report.capabilities("Amb") == set()


@pytest.mark.parametrize(
    ("user", "expected"),
    [("1", "1 0"), ("1000", "1000 0"), ("1:2", "1 2"), ("01", "1 0"), ("0:5", "0 5")],
)
def test_user(container: Container, user: str, expected: str) -> None:
    """CVE-2026-30892: the number given is the number used."""
    container.sleeping()
    shown = container.exec("--user", user, "--", "sh", "-c", "echo $(id -u) $(id -g)").ok()
    assert shown.out.strip() == expected


@pytest.mark.parametrize("user", ["1x", ":5", "-1", "root", "1:x", "1:"])
def test_a_user_that_is_no_number_is_refused(container: Container, user: str) -> None:
    container.sleeping()
    container.exec(f"--user={user}", "--", "true").failed()


@pytest.mark.kaa_only("runc 1.1 takes these as they come")
@pytest.mark.parametrize("user", ["", "1:2:3", "4294967296", "4294967295", "2147483648:x"])
def test_more_users_that_are_refused(container: Container, user: str) -> None:
    container.sleeping()
    container.exec(f"--user={user}", "--", "true").failed()


def test_a_numeric_user_is_never_looked_up_as_a_name(container: Container) -> None:
    """CVE-2016-3697."""
    (container.rootfs / "etc/passwd").write_text("1000:x:0:0::/:/bin/sh\n")
    container.sleeping()
    assert container.exec("--user", "1000", "--", "id", "-u").ok().out == "1000\n"


def test_env_cwd_groups_and_nnp(container: Container) -> None:
    container.process["noNewPrivileges"] = False
    container.sleeping()
    report = probe.exec(
        container,
        *("--env", "A=1 2", "--env", "B=", "--cwd", "/tmp"),
        *("--additional-gids", "7", "--additional-gids", "8", "--no-new-privs"),
    )
    assert report.env["A"] == "1 2"
    assert report.env["B"] == ""
    assert "CANARY_OF_THE_HOST" not in report.env
    assert report["cwd"] == "/tmp"
    assert {7, 8} <= set(report["groups"])
    assert report.status["NoNewPrivs"] == "1"


def test_a_process_document(container: Container) -> None:
    container.sleeping()
    probe.install(container.rootfs)
    path = container.bundle / "process.json"
    document = {
        "terminal": False,
        "user": {"uid": 1000, "gid": 100, "additionalGids": [33], "umask": 0o77},
        "args": [probe.PATH],
        "env": ["ONLY=this"],
        "cwd": "/tmp",
        "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 64, "hard": 128}],
        "oomScoreAdj": 500,
        "noNewPrivileges": True,
    }
    path.write_text(json.dumps(document))
    shown = container.runtime("exec", "--process", path, container.id).ok()
    report = probe.Report(shown.out)
    assert (report["uid"], report["gid"], report["groups"]) == (1000, 100, [33])
    if container.runtime.is_kaa:  # runc 1.1 forgets it here
        assert report["umask"] == 0o77
    assert report.env["ONLY"] == "this"
    assert "TERM" not in report.env
    assert report["rlimits"]["NOFILE"] == [64, 128]
    assert report.capabilities("Eff") == set()


def test_a_missing_program(container: Container) -> None:
    container.sleeping()
    container.exec("no-such-program").failed(
        "executable file not found in $PATH", "no such file", code=FAILED
    )
    container.exec("/etc/passwd").failed("permission denied", code=FAILED)


def test_exec_where_there_is_nothing_to_enter(container: Container) -> None:
    container.runtime("exec", container.id, "true").failed("does not exist", code=FAILED)
    container.up()
    container.wait("stopped")
    container.exec("true").failed("stopped", code=FAILED)


def test_exec_in_a_created_container(container: Container) -> None:
    container.create().ok()
    assert container.exec("echo", "here").ok().out == "here\n"
    assert container.status == "created"


def test_ignore_paused(container: Container) -> None:
    container.sleeping()
    container.runtime("pause", container.id).ok()
    container.exec("true").failed("paused", code=FAILED)
    running = container.runtime.popen(
        "exec", "--ignore-paused", container.id, "echo", "thawed", stdout=subprocess.PIPE
    )
    with running:
        container.runtime("resume", container.id).ok()
        assert running.communicate(timeout=20)[0] == b"thawed\n"


def test_detach_and_pid_file(container: Container) -> None:
    container.sleeping()
    path = container.bundle / "exec.pid"
    container.exec("--detach", "--pid-file", path, "--", "sleep", "999").ok()
    pid = int(path.read_text())
    assert b"999" in Path(f"/proc/{pid}/cmdline").read_bytes()
    os.kill(pid, signal.SIGKILL)


def test_signals_are_forwarded(container: Container) -> None:
    container.sleeping()
    running = container.runtime.popen(
        "exec",
        container.id,
        *("sh", "-c", 'trap "exit 9" TERM; echo ready; while :; do sleep 0.05; done'),
        stdout=subprocess.PIPE,
    )
    with running:
        assert running.stdout is not None
        assert running.stdout.readline() == b"ready\n"
        running.send_signal(signal.SIGTERM)
        assert running.wait(10) == 9


def test_cgroup_below_the_containers(container: Container) -> None:
    container.sleeping()
    group = container.cgroup("pids")
    (group / "sub").mkdir()
    option = "pids:sub" if "pids" in str(group) else "sub"
    shown = container.exec("--cgroup", option, "--", "cat", "/proc/self/cgroup").ok()
    assert any(line.endswith("/sub") for line in shown.out.splitlines())


@pytest.mark.parametrize("path", ["..", "../..", "sub/../../x", "/../..", "missing"])
def test_cgroup_never_above_the_containers(container: Container, path: str) -> None:
    container.sleeping()
    container.exec("--cgroup", path, "--", "true").failed()


def test_the_hosts_null_device_keeps_its_owner(container: Container) -> None:
    """The leftovers fixture compares /dev/null's owner and mode with before."""
    container.sleeping()
    container.exec("--user", "1000", "--", "true").ok()
    assert os.stat("/dev/null").st_uid == 0


def test_leaked_descriptors_do_not_get_in(container: Container) -> None:
    container.sleeping()
    report = probe.exec(container, prefix=fdleaker.prefix())
    assert set(report["fds"]) == {"0", "1", "2"}


def test_many_at_once(container: Container) -> None:
    container.sleeping()
    results = container.runtime.together(
        [["exec", container.id, "echo", number] for number in range(8)]
    )
    assert [result.ok().out for result in results] == [f"{number}\n" for number in range(8)]


def test_what_exec_started_ends_with_the_container(container: Container) -> None:
    container.sleeping()
    container.exec("--detach", "--", "sleep", "998").ok()
    group = container.cgroup("pids")
    wait_for(lambda: len((group / "cgroup.procs").read_text().split()) == 2, "both processes")
    container.delete("--force").ok()
    assert not group.exists()
