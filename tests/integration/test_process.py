"""The process: what it is, who it is, where it is, and what it may do."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from kit import config, fdleaker, probe
from kit.container import Container


def test_args_are_looked_up_in_the_containers_path(container: Container) -> None:
    tool = container.rootfs / "usr/bin/tool"
    tool.write_text('#!/bin/sh\necho "$0 $*"\n')
    tool.chmod(0o755)
    container.process["args"] = ["tool", "a b", ""]
    container.process["env"] = ["PATH=/nowhere:/usr/bin:/bin"]
    assert container.run().ok().out == "/usr/bin/tool a b \n"


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["no-such-program"], ["executable file not found in $PATH"]),
        (["/no/such/program"], ["no such file or directory"]),
        (["/etc/passwd"], ["permission denied"]),
        (["/etc"], ["permission denied", "is a directory"]),
    ],
)
def test_a_program_that_cannot_run_is_an_error_of_create(
    container: Container,
    nothing_is_left: Callable[[], None],
    args: list[str],
    words: list[str],
) -> None:
    container.process["args"] = args
    container.create().failed(*words, code=1)
    container.runtime("state", container.id).failed("does not exist")
    nothing_is_left()


def test_a_file_that_is_no_program_is_an_error(container: Container) -> None:
    (container.rootfs / "bin/text").write_text("no magic number\n")
    (container.rootfs / "bin/text").chmod(0o755)
    container.process["args"] = ["text"]
    container.run().failed("exec format error")


def test_env_is_exactly_the_configs(container: Container) -> None:
    container.process["env"] += ["NEWLINE=a\nb", "EMPTY=", "TWICE=1", "TWICE=2", "EQUALS=a=b"]
    report = probe.run(container)
    assert report.env == {
        "PATH": config.PATH.removeprefix("PATH="),
        "TERM": "xterm",
        "NEWLINE": "a\nb",
        "EMPTY": "",
        "TWICE": "2",
        "EQUALS": "a=b",
        "HOME": "/root",
    }


@pytest.mark.parametrize(
    ("uid", "home"),
    [(0, "/root"), (1000, "/home/user"), (4711, "/")],
)
def test_home_comes_from_the_containers_passwd(container: Container, uid: int, home: str) -> None:
    container.process["user"]["uid"] = uid
    assert probe.run(container).env["HOME"] == home


def test_home_of_the_config_wins(container: Container) -> None:
    container.process["env"].append("HOME=/tmp")
    assert probe.run(container).env["HOME"] == "/tmp"


def test_home_with_a_passwd_that_is_a_link(container: Container) -> None:
    passwd = container.rootfs / "etc/passwd"
    passwd.unlink()
    passwd.symlink_to("/etc/shadow")
    assert probe.run(container).env["HOME"] == "/"


@pytest.mark.kaa_only("runc 1.1 waits for a writer")
def test_home_with_a_passwd_that_is_a_fifo(container: Container) -> None:
    passwd = container.rootfs / "etc/passwd"
    passwd.unlink()
    os.mkfifo(passwd)
    assert probe.run(container).env["HOME"] == "/"


def test_cwd_is_made(container: Container) -> None:
    container.process["cwd"] = "/made/by/the/runtime"
    assert probe.run(container)["cwd"] == "/made/by/the/runtime"
    assert (container.rootfs / "made/by/the/runtime").is_dir()


def test_cwd_of_another_user(container: Container) -> None:
    container.process["user"]["uid"] = 1000
    container.process["cwd"] = "/home/user"
    (container.rootfs / "home/user").chmod(0o700)
    container.process["capabilities"] = {}
    assert container.script("pwd").run().ok().out == "/home/user\n"


def test_cwd_that_is_a_file(container: Container) -> None:
    container.process["cwd"] = "/etc/passwd"
    container.run().failed("not a directory", "cwd")


def test_user_groups_and_umask(container: Container) -> None:
    container.process["user"] = {
        "uid": 1000,
        "gid": 100,
        "additionalGids": [33, 44],
        "umask": 0o077,
    }
    report = probe.run(container)
    assert (report["uid"], report["euid"]) == (1000, 1000)
    assert (report["gid"], report["egid"]) == (100, 100)
    assert set(report["groups"]) - {100} == {33, 44}
    assert report["umask"] == 0o077


def test_the_defaults_of_a_user(container: Container) -> None:
    """The runtime's own groups and umask do not get in."""
    report = probe.run(
        container, prefix=["sh", "-c", 'umask 0777; exec setpriv --groups 5,6 "$@"', "-"]
    )
    assert set(report["groups"]) <= {0}
    assert report["umask"] == 0o022


def test_no_capabilities_of_a_user_unless_they_are_ambient(container: Container) -> None:
    container.process["user"]["uid"] = 1000
    report = probe.run(container)
    assert report.capabilities("Eff") == set()
    assert report.capabilities("Prm") == set()
    assert report.capabilities("Bnd") == set(config.CAPABILITIES)


def test_the_five_capability_sets(container: Container) -> None:
    container.process["user"]["uid"] = 1000
    container.process["capabilities"] = {
        "bounding": ["CAP_CHOWN", "CAP_KILL", "CAP_SETUID", "CAP_NET_RAW"],
        "permitted": ["CAP_CHOWN", "CAP_KILL", "CAP_SETUID"],
        "effective": ["CAP_CHOWN", "CAP_KILL"],
        "inheritable": ["CAP_KILL", "CAP_SETUID"],
        "ambient": ["CAP_KILL"],
    }
    report = probe.run(container)
    assert report.capabilities("Bnd") == {"CAP_CHOWN", "CAP_KILL", "CAP_SETUID", "CAP_NET_RAW"}
    assert report.capabilities("Inh") == {"CAP_KILL", "CAP_SETUID"}
    assert report.capabilities("Amb") == {"CAP_KILL"}
    # execve(2) of an ordinary file leaves the ambient ones (capabilities(7)).
    assert report.capabilities("Prm") == {"CAP_KILL"}
    assert report.capabilities("Eff") == {"CAP_KILL"}


def test_an_unknown_capability_is_a_warning(container: Container) -> None:
    container.process["capabilities"]["bounding"].append("CAP_FROM_THE_FUTURE")
    report = probe.run(container)
    assert report.capabilities("Bnd") == set(config.CAPABILITIES)


def test_all_capabilities(container: Container) -> None:
    last = int(Path("/proc/sys/kernel/cap_last_cap").read_text())
    container.process["capabilities"] = {
        kind: ["CAP_SYS_ADMIN", "CAP_NET_RAW", "CAP_SYS_CHROOT", "CAP_CHOWN"]
        for kind in ("bounding", "effective", "permitted", "inheritable", "ambient")
    }
    report = probe.run(container)
    wanted = {"CAP_SYS_ADMIN", "CAP_NET_RAW", "CAP_SYS_CHROOT", "CAP_CHOWN"}
    for kind in ("Bnd", "Eff", "Prm", "Inh", "Amb"):
        assert report.capabilities(kind) == wanted
    assert int(report.status["CapBnd"], 16) < 1 << (last + 1)


@pytest.mark.parametrize("value", [True, False])
def test_no_new_privileges(container: Container, value: bool) -> None:
    container.process["noNewPrivileges"] = value
    assert probe.run(container).status["NoNewPrivs"] == str(int(value))


def test_rlimits(container: Container) -> None:
    container.process["rlimits"] = [
        {"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200},
        {"type": "RLIMIT_CORE", "soft": 0, "hard": 0},
        {"type": "RLIMIT_AS", "soft": 2**34, "hard": 18446744073709551615},
        {"type": "RLIMIT_NPROC", "soft": 500, "hard": 1000},
        {"type": "RLIMIT_STACK", "soft": 4 << 20, "hard": 8 << 20},
    ]
    limits = probe.run(container)["rlimits"]
    assert limits["NOFILE"] == [100, 200]
    assert limits["CORE"] == [0, 0]
    assert limits["AS"] == [2**34, -1]
    assert limits["NPROC"] == [500, 1000]
    assert limits["STACK"] == [4 << 20, 8 << 20]


@pytest.mark.kaa_only("runc 1.1 needs more descriptors than that itself")
def test_limits_too_low_for_any_runtime_hold_for_the_process_only(container: Container) -> None:
    container.process["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": 3, "hard": 4}]
    container.process["args"] = ["true"]
    container.run().ok()


@pytest.mark.parametrize("value", [-500, 0, 777])
def test_oom_score_adj(container: Container, value: int) -> None:
    lowering = ["sh", "-c", "echo -500 > /proc/self/oom_score_adj"]
    if value < 0 and subprocess.run(lowering, stderr=subprocess.DEVNULL, check=False).returncode:
        pytest.skip("this machine's root has no CAP_SYS_RESOURCE to lower oom_score_adj with")
    container.process["oomScoreAdj"] = value
    assert probe.run(container)["oom_score_adj"].strip() == str(value)


def test_hostname(container: Container) -> None:
    container.config["hostname"] = "a-name.example"
    assert container.script("hostname").run().ok().out == "a-name.example\n"


@pytest.mark.kaa_only("domainname came with runc 1.2")
def test_domainname(container: Container) -> None:
    container.config["domainname"] = "example.org"
    container.script("cat /proc/sys/kernel/domainname")
    assert container.run().ok().out == "example.org\n"


def test_sysctl(container: Container) -> None:
    container.linux["sysctl"] = {
        "net.ipv4.ip_forward": "1",
        "net.ipv4.ping_group_range": "0 5",
        "kernel.shmmax": "1048576",
        "fs.mqueue.msg_max": "42",
    }
    container.script(
        "cd /proc/sys; cat net/ipv4/ip_forward net/ipv4/ping_group_range "
        "kernel/shmmax fs/mqueue/msg_max"
    )
    assert container.run().ok().out.split() == ["1", "0", "5", "1048576", "42"]


@pytest.mark.parametrize(
    "name",
    [
        "kernel.core_pattern",
        "kernel.sysrq",
        "vm.overcommit_memory",
        "net/../kernel/core_pattern",
        "net.ipv4.../../kernel.sysrq",
        "fs.mqueue/../../kernel/sysrq",
        "kernel.shm/../sysrq",
    ],
)
def test_a_sysctl_of_the_host_is_refused(container: Container, name: str) -> None:
    """The leftovers fixture sees if the host's value changed."""
    container.linux["sysctl"] = {name: "1"}
    container.run().failed("sysctl", name, "no such file")


def test_a_sysctl_of_a_namespace_that_is_the_hosts_is_refused(container: Container) -> None:
    config.drop_namespace(container.config, "network")
    container.linux["sysctl"] = {"net.ipv4.ip_forward": "1"}
    container.run().failed("net.ipv4.ip_forward", "network")


def test_only_the_standard_descriptors_are_open(container: Container) -> None:
    """A careless caller's descriptors do not get in, whatever they lead to."""
    report = probe.run(container, prefix=fdleaker.prefix())
    assert set(report["fds"]) == {"0", "1", "2"}


def test_preserved_descriptors(container: Container) -> None:
    report = probe.run(container, "--preserve-fds", "2", prefix=fdleaker.prefix())
    assert set(report["fds"]) == {"0", "1", "2", "3", "4"}


def test_session_and_parent(container: Container) -> None:
    report = probe.run(container)
    assert report["pid"] == 1
    assert report["ppid"] == 0
    assert report["sid"] == 1
    assert report["pgid"] == 1


def test_signals_are_as_the_kernel_makes_them(container: Container) -> None:
    """Nothing that the runtime ignored or blocked is inherited (Python ignores SIGPIPE)."""
    report = probe.run(container, prefix=["sh", "-c", "trap '' USR1 PIPE; exec \"$@\"", "-"])
    # SIGKILL + SIGSTOP aside, a fresh process ignores nothing.
    assert int(report.status["SigBlk"], 16) == 0
    if container.runtime.is_kaa:
        assert int(report.status["SigIgn"], 16) == 0
    assert int(report.status["SigCgt"], 16) == 0


@pytest.mark.kaa_only("personality came with runc 1.2")
def test_personality(container: Container) -> None:
    container.linux["personality"] = {"domain": "LINUX32"}
    assert probe.run(container)["personality"] & 0xFF == 8
