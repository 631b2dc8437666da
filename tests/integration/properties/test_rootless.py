"""Everything that an ordinary user may do, done as an ordinary user."""

import json
import os
import shlex
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from kit import config, probe
from kit.container import Container, wait_for
from kit.leftovers import MARK

from .ordinary import COUNT, FIRST, UID, UserRuntime, many_ids, own

IDS = "echo $(id -u):$(id -g); cat /proc/self/uid_map /proc/self/gid_map"


def rows(text: str) -> list[list[int]]:
    return [[int(word) for word in line.split()] for line in text.splitlines()]


# Identity


@pytest.mark.kaa_only("runc 1.1 is lost without a PATH")
def test_one_id_needs_no_helper(rootless: Container) -> None:
    """Not even in PATH is there a newuidmap."""
    result = rootless.script(IDS).run(env={"PATH": "/nowhere"}).ok()
    first, *maps = result.out.splitlines()
    assert first == "0:0"
    assert rows("\n".join(maps)) == [[0, UID, 1]] * 2


def test_many_ids(rootless: Container) -> None:
    many_ids(rootless.config)
    first, *maps = rootless.script(IDS).run().ok().out.splitlines()
    assert first == "0:0"
    assert rows("\n".join(maps)) == [[0, UID, 1], [1, FIRST, COUNT]] * 2


@pytest.mark.kaa_only("runc 1.1 never sets groups when rootless")
def test_another_user_and_groups(rootless: Container) -> None:
    many_ids(rootless.config)
    rootless.process["user"] = {"uid": 1000, "gid": 100, "additionalGids": [5, 6]}
    report = probe.run(rootless)
    assert (report["uid"], report["gid"]) == (1000, 100)
    assert {5, 6} <= set(report["groups"])


def test_files_belong_to_the_mapped_ids(rootless: Container) -> None:
    many_ids(rootless.config)
    rootless.process["capabilities"] = {
        kind: ["CAP_CHOWN"] for kind in ("bounding", "effective", "permitted")
    }
    rootless.script("touch /root/mine /root/other; chown 7:7 /root/other").run().ok()
    assert os.stat(rootless.rootfs / "root/mine").st_uid == UID
    assert os.stat(rootless.rootfs / "root/other").st_uid == FIRST + 6


@pytest.mark.kaa_only("runc 1.1 does not name the property")
def test_ids_that_are_not_ours(rootless: Container, nothing_is_left: Callable[[], None]) -> None:
    many_ids(rootless.config)
    rootless.linux["uidMappings"][1]["hostID"] = 0
    rootless.run().failed("/linux/uidMappings", code=1)
    nothing_is_left()


@pytest.mark.kaa_only("runc 1.1 does not name what is missing")
def test_without_the_helpers(rootless: Container, nothing_is_left: Callable[[], None]) -> None:
    many_ids(rootless.config)
    rootless.run(env={"PATH": "/nowhere"}).failed("newuidmap", code=1)
    nothing_is_left()


def test_without_a_user_namespace(rootless: Container) -> None:
    config.drop_namespace(rootless.config, "user")
    for key in ("uidMappings", "gidMappings"):
        del rootless.linux[key]
    rootless.run().failed("rootless container requires user namespaces", code=1)


@pytest.mark.parametrize("ids", [{"uid": 1, "gid": 0}, {"uid": 0, "gid": 1}])
def test_a_user_without_a_mapping(rootless: Container, ids: config.Config) -> None:
    rootless.process["user"] = ids
    rootless.run().failed("unmapped", code=1)


def test_groups_that_cannot_be_had(rootless: Container) -> None:
    """One id without newgidmap is had only at the price of setgroups (CVE-2014-8989)."""
    rootless.process["user"] = {"uid": 0, "gid": 0, "additionalGids": [0]}
    rootless.run().failed("additional", code=1)


@pytest.mark.kaa_only("runc 1.1 says less")
@pytest.mark.parametrize("option", ["uid=7", "gid=7"])
def test_a_mount_for_an_id_without_a_mapping(rootless: Container, option: str) -> None:
    rootless.mounts.append(config.tmpfs("/mnt", option))
    index = len(rootless.mounts) - 1
    rootless.run().failed(f"/mounts/{index}", code=1)


# The life of a container


def test_from_create_to_delete(
    rootless: Container, user: UserRuntime, nothing_is_left: Callable[[], None]
) -> None:
    rootless.process["args"] = ["sleep", "1000"]
    rootless.create().ok()
    assert (user.root / rootless.id).is_dir(), "the state is in XDG_RUNTIME_DIR"
    assert rootless.status == "created"
    rootless.start().ok()
    assert rootless.status == "running"
    listed = json.loads(user("list", "--format", "json").ok().out)
    assert [(entry["id"], entry["owner"]) for entry in listed] == [(rootless.id, "kaatest")]
    assert rootless.exec("id", "-u").ok().out == "0\n"
    rootless.kill("TERM").ok()
    rootless.kill("KILL").ok()
    rootless.wait("stopped")
    rootless.delete().ok()
    assert json.loads(user("list", "--format", "json").ok().out) in ([], None)
    nothing_is_left()


def test_the_state_directory_lasts(rootless: Container, user: UserRuntime) -> None:
    rootless.script("true").run().ok()
    if user.is_kaa:
        assert user.root.stat().st_mode & 0o7777 == 0o1700


def test_another_user_cannot_touch_it(rootless: Container, user: UserRuntime) -> None:
    rootless.sleeping()
    result = user("kill", rootless.id, "KILL", user=UID + 1, group=UID + 1)
    result.failed()
    assert rootless.status == "running"


def test_root_can(rootless: Container, user: UserRuntime) -> None:
    rootless.sleeping()
    root = {"user": 0, "group": 0}
    shown = user("--root", user.root, "exec", rootless.id, "id", "-u", **root).ok().out
    assert shown == "0\n"
    user("--root", user.root, "delete", "--force", rootless.id, **root).ok()


def test_detached_and_signals(rootless: Container) -> None:
    rootless.script('trap "exit 7" TERM; echo ready; while :; do sleep 0.05; done').write()
    with rootless.runtime.popen(
        "run", "--bundle", rootless.bundle, rootless.id, stdout=subprocess.PIPE
    ) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == b"ready\n"
        running.send_signal(signal.SIGTERM)
        assert running.wait(10) == 7


def test_delete_force(rootless: Container) -> None:
    rootless.sleeping()
    pid = rootless.pid
    rootless.delete("--force").ok()
    assert not Path(f"/proc/{pid}/root").exists()


def test_without_a_pid_namespace(rootless: Container) -> None:
    config.drop_namespace(rootless.config, "pid")
    rootless.mounts[0] = config.bind("/proc", "/proc")
    rootless.linux["maskedPaths"] = []
    rootless.linux["readonlyPaths"] = []
    rootless.sleeping()
    rootless.delete("--force").ok()


# exec


def test_exec_as_another_user(rootless: Container) -> None:
    many_ids(rootless.config)
    rootless.sleeping()
    assert rootless.exec("--user", "5:7", "--", "sh", "-c", "id -u; id -g").ok().out == "5\n7\n"
    rootless.exec("--user", str(COUNT + 9), "--", "true").failed("unmapped", "not mapped")


def test_exec_is_where_the_container_is(rootless: Container) -> None:
    rootless.sleeping()
    report = probe.exec(rootless)
    kinds = ("ipc", "mnt", "pid", "user", "uts")
    inodes = {kind: os.stat(f"/proc/{rootless.pid}/ns/{kind}").st_ino for kind in kinds}
    assert {kind: report["namespaces"][kind] for kind in kinds} == inodes
    assert set(report["fds"]) == {"0", "1", "2"}
    assert report.capabilities("Eff") == {
        "CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"
    }  # fmt: skip


def at_a_terminal(user: UserRuntime, *words: object, typed: str = "") -> str:
    """What is shown by a command of the runtime that is called at a terminal."""
    shown = subprocess.run(
        ["script", "--quiet", "--command", shlex.join(user.argv(*words)), "/dev/null"],
        user=UID,
        group=UID,
        extra_groups=[],
        env=user.environment(),
        input=typed,
        capture_output=True,
        text=True,
        check=True,
    )
    return shown.stdout


def test_a_terminal(rootless: Container, user: UserRuntime) -> None:
    rootless.sleeping()
    assert "/dev/pts/0" in at_a_terminal(user, "exec", "--tty", rootless.id, "tty")


# What the host gives


def test_devices_are_the_hosts(rootless: Container) -> None:
    rootless.linux["devices"] = [{"path": "/dev/full", "type": "c", "major": 1, "minor": 7}]
    shown = rootless.script(
        "for d in null zero full random urandom tty; do test -c /dev/$d || echo $d; done;"
        "head -c 3 /dev/zero | wc -c; echo x > /dev/null && echo written"
    ).run()
    assert shown.ok().out == "3\nwritten\n"


def test_a_bind_of_the_users_own(rootless: Container, tmp: Path) -> None:
    source = own(tmp / "source")
    rootless.mounts.append(config.bind(source, "/vol"))
    rootless.script("echo here > /vol/file").run().ok()
    assert (source / "file").read_text() == "here\n"
    assert (source / "file").stat().st_uid == UID


def test_a_bind_of_what_the_user_may_not_see(rootless: Container, tmp: Path) -> None:
    private = tmp / "private"
    (private / "source").mkdir(parents=True)
    private.chmod(0o700)
    rootless.mounts.append(config.bind(private / "source", "/vol"))
    rootless.run().failed("permission denied", "no such file", code=1)


def test_roots_files_stay_roots(rootless: Container, tmp: Path) -> None:
    secret = tmp / "secret"
    secret.write_text("secret")
    secret.chmod(0o600)
    rootless.mounts.append(config.bind(secret, "/file"))
    assert "secret" not in rootless.script("cat /file; chmod 666 /file; cat /file").run().out
    assert secret.stat().st_mode & 0o777 == 0o600


def test_read_only_binds_stay_read_only(rootless: Container, tmp: Path) -> None:
    source = own(tmp / "source")
    rootless.mounts.append(config.bind(source, "/vol", "ro"))
    rootless.script("touch /vol/file || true").run().ok()
    assert not list(source.iterdir())


@pytest.mark.kaa_only("runc 1.1 has no id-mapped mounts")
def test_id_mapped_mounts_are_refused(rootless: Container, tmp: Path) -> None:
    rootless.mounts.append(config.bind(own(tmp / "source"), "/vol", "idmap"))
    rootless.run().failed(f"/mounts/{len(rootless.mounts) - 1}", code=1)


@pytest.mark.kaa_only("runc 1.1 has no netDevices")
def test_net_devices_are_refused(rootless: Container) -> None:
    rootless.linux["namespaces"].append({"type": "network"})
    rootless.linux["netDevices"] = {"eth0": {}}
    rootless.run().failed("/linux/netDevices", code=1)


def test_a_network_of_its_own(rootless: Container) -> None:
    rootless.linux["namespaces"].append({"type": "network"})
    assert rootless.script("ip link show lo").run().ok().out.count("UP")


@pytest.mark.kaa_only("runc 1.1 has no time namespaces")
def test_time_offsets(rootless: Container) -> None:
    rootless.linux["namespaces"].append({"type": "time"})
    rootless.linux["timeOffsets"] = {"boottime": {"secs": 1000000}}
    shown = rootless.script("cut -d. -f1 /proc/uptime").run().ok().out
    assert int(shown) >= 1000000


def test_sysctls_of_its_own_namespaces(rootless: Container) -> None:
    rootless.linux["sysctl"] = {"kernel.shmmax": "4096", "kernel.msgmni": "77"}
    shown = rootless.script("cat /proc/sys/kernel/shmmax /proc/sys/kernel/msgmni").run()
    assert shown.ok().out == "4096\n77\n"


# Limits


@pytest.fixture
def own_score() -> int:
    return int(Path("/proc/self/oom_score_adj").read_text())


def test_a_higher_oom_score(rootless: Container, own_score: int) -> None:
    rootless.process["oomScoreAdj"] = min(own_score + 100, 1000)
    shown = rootless.script("cat /proc/self/oom_score_adj").run().ok().out
    assert int(shown) == min(own_score + 100, 1000)


def test_a_lower_oom_score(
    rootless: Container, own_score: int, nothing_is_left: Callable[[], None]
) -> None:
    rootless.process["oomScoreAdj"] = own_score - 1
    rootless.run().failed("oom", code=1)
    nothing_is_left()


def test_limits_can_be_lowered(rootless: Container) -> None:
    rootless.process["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": 100, "hard": 100}]
    assert rootless.script("ulimit -n; ulimit -Hn").run().ok().out == "100\n100\n"


def test_limits_cannot_be_raised(rootless: Container) -> None:
    rootless.process["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": 1 << 30, "hard": 1 << 30}]
    rootless.run().failed("RLIMIT_NOFILE", "rlimit", code=1)


# cgroups


def test_without_permission_there_is_none(rootless: Container) -> None:
    rootless.sleeping()
    own_groups = Path("/proc/self/cgroup").read_text()
    assert Path(f"/proc/{rootless.pid}/cgroup").read_text() == own_groups


@pytest.mark.parametrize(
    "resources",
    [{"memory": {"limit": 1 << 26}}, {"pids": {"limit": 7}}, {"cpu": {"shares": 512}}],
)
def test_a_limit_without_permission_is_an_error(
    rootless: Container, resources: config.Config, nothing_is_left: Callable[[], None]
) -> None:
    rootless.linux["resources"] = resources
    rootless.run().failed(*resources, code=1)
    nothing_is_left()


def test_pause_without_a_cgroup(rootless: Container) -> None:
    rootless.sleeping()
    rootless.runtime("pause", rootless.id).failed("cgroup", "freezer", code=1)
    assert rootless.status == "running"


@pytest.mark.kaa_only("runc 1.1 wants all of them")
def test_a_delegated_cgroup(rootless: Container) -> None:
    """The user has been given one in the hierarchy of pids: there, limits work."""
    top = Path("/sys/fs/cgroup/pids")
    if not top.is_dir():
        pytest.skip("no v1 hierarchy of pids here")
    given = top / f"{MARK}given"
    given.mkdir()
    try:
        for path in (given, *given.iterdir()):
            os.chown(path, UID, UID)
        rootless.linux["cgroupsPath"] = f"/{given.name}/{rootless.id}"
        rootless.linux["resources"] = {"pids": {"limit": 77}}
        rootless.sleeping()
        assert (given / rootless.id / "pids.max").read_text() == "77\n"
        assert str(rootless.pid) in (given / rootless.id / "cgroup.procs").read_text().split()
        rootless.delete("--force").ok()
        assert not (given / rootless.id).exists()
    finally:
        wait_for(lambda: _removed(given), "the cgroup to be empty")


def _removed(path: Path) -> bool:
    try:
        path.rmdir()
    except OSError:
        return False
    return True


# spec


def test_spec_rootless_runs_as_it_is(user: UserRuntime, rootless: Container) -> None:
    """A shell at a terminal."""
    (rootless.bundle / "config.json").unlink(missing_ok=True)
    user("spec", "--rootless", "--bundle", rootless.bundle).ok()
    typed = "echo uid=$(id -u)=; exit\n"
    shown = at_a_terminal(user, "run", "--bundle", rootless.bundle, rootless.id, typed=typed)
    assert "uid=0=" in shown
