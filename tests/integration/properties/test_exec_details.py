"""exec: what is checked before, and into namespaces of every kind."""

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from kit import config, probe
from kit.container import Container

FIRST = 200000


def mapped(container: Container, inside: int = 0, size: int = 65536) -> Container:
    """In a user namespace whose ids begin at `inside`."""
    config.add_user_namespace(container.config, FIRST, size)
    for key in ("uidMappings", "gidMappings"):
        container.linux[key][0]["containerID"] = inside
    os.chown(container.rootfs, FIRST, FIRST)
    return container


@pytest.fixture
def netns() -> Iterator[str]:
    """The path of a network namespace of the host's."""
    own = os.readlink("/proc/self/ns/net")
    with subprocess.Popen(["unshare", "--net", "sleep", "1000"]) as holder:
        path = f"/proc/{holder.pid}/ns/net"
        while os.readlink(path) == own:
            pass
        yield path
        holder.kill()


# What is said before


@pytest.mark.parametrize("cwd", ["relative", "./x", ".."])
def test_a_cwd_that_is_not_absolute(container: Container, cwd: str) -> None:
    container.sleeping()
    container.exec("--cwd", cwd, "--", "true").failed("cwd", code=255)


@pytest.mark.kaa_only("runc 1.1 takes more")
@pytest.mark.parametrize(
    ("document", "word"),
    [
        ({"cwd": "/", "args": []}, "args"),
        ({"cwd": "/"}, "args"),
        ({"args": ["true"]}, "cwd"),
        ({"cwd": "/", "args": ["true"], "env": ["x"]}, "env"),
        ({"cwd": "/", "args": ["true"], "user": {"uid": -1, "gid": 0}}, "uid"),
        ({"cwd": "/", "args": ["true"], "rlimits": [{"type": "RLIMIT_X"}]}, "rlimits"),
        ({"cwd": "/", "args": ["a\0b"]}, "args"),
        ([], "object"),
    ],
)
def test_a_bad_document(container: Container, document: object, word: str) -> None:
    container.sleeping()
    path = container.bundle / "process.json"
    path.write_text(json.dumps(document))
    container.runtime("exec", "--process", path, container.id).failed(word, code=255)


@pytest.mark.parametrize("option", [("--user", "70000"), ("--user", "0:70000")])
def test_an_id_without_a_mapping(container: Container, option: tuple[str, str]) -> None:
    mapped(container).sleeping()
    container.exec(*option, "--", "true").failed("unmapped", code=255)


@pytest.mark.kaa_only("runc 1.1 leaves it to the kernel")
def test_a_group_without_a_mapping(container: Container) -> None:
    mapped(container).sleeping()
    container.exec("--additional-gids", "70000", "--", "true").failed("additionalGids/0", code=255)


def test_no_new_privs_can_be_switched_off(container: Container) -> None:
    container.sleeping()
    assert probe.exec(container).status["NoNewPrivs"] == "1"
    if container.runtime.is_kaa:
        assert probe.exec(container, "--no-new-privs=false").status["NoNewPrivs"] == "0"


# Where it goes


def test_a_user_namespace_without_root(container: Container) -> None:
    """Nobody is 0 there: set up and entered all the same."""
    if not container.runtime.is_kaa:
        pytest.skip("runc becomes 0 in any case")
    mapped(container, inside=1000, size=10)
    (pts,) = (m for m in container.mounts if m["destination"] == "/dev/pts")
    pts["options"].remove("gid=5")  # which is not mapped
    container.process["user"] = {"uid": 1003, "gid": 1004}
    container.process["capabilities"] = {}
    container.sleeping()
    assert container.exec("sh", "-c", "id -u; id -g").ok().out == "1003\n1004\n"
    shown = container.exec("--user", "1009:1000", "--", "sh", "-c", "id -u; id -g")
    assert shown.ok().out == "1009\n1000\n"
    container.exec("--user", "0", "--", "true").failed("unmapped", code=255)


@pytest.mark.kaa_only("runc 1.1 cannot enter this")
def test_the_hosts_network_in_a_user_namespace(container: Container, netns: str) -> None:
    """The owners are mixed: joined with the host's power, before that is given up."""
    mapped(container)
    config.set_namespace(container.config, "network", netns)
    container.mounts[:] = [m for m in container.mounts if m["destination"] != "/sys"]
    container.linux["maskedPaths"] = [
        path for path in container.linux["maskedPaths"] if not path.startswith("/sys")
    ]
    container.sleeping()
    report = probe.exec(container)
    assert report["namespaces"]["net"] == os.stat(netns).st_ino
    assert report["namespaces"]["user"] == os.stat(f"/proc/{container.pid}/ns/user").st_ino


def test_joined_namespaces_of_another_container(new_container: Callable[[], Container]) -> None:
    """As in a pod: pid, network, ipc and uts of the first."""
    first, second = new_container(), new_container()
    first.sleeping()
    for kind, name in (("pid", "pid"), ("network", "net"), ("ipc", "ipc"), ("uts", "uts")):
        config.set_namespace(second.config, kind, f"/proc/{first.pid}/ns/{name}")
    second.sleeping()
    report = probe.exec(second)
    for name in ("pid", "net", "ipc", "uts"):
        assert report["namespaces"][name] == os.stat(f"/proc/{first.pid}/ns/{name}").st_ino
    assert report["namespaces"]["mnt"] == os.stat(f"/proc/{second.pid}/ns/mnt").st_ino


def test_inherited_namespaces(container: Container) -> None:
    for kind in ("network", "ipc", "pid"):
        config.drop_namespace(container.config, kind)
    container.sleeping()
    report = probe.exec(container)
    for name in ("net", "ipc", "pid"):
        assert report["namespaces"][name] == os.stat(f"/proc/self/ns/{name}").st_ino


@pytest.mark.kaa_only("runc 1.1 cannot run this")
def test_without_a_mount_namespace(container: Container) -> None:
    config.drop_namespace(container.config, "mount")
    container.mounts[:] = []
    for key in ("maskedPaths", "readonlyPaths"):
        container.linux[key] = []
    container.sleeping()
    try:
        shown = container.exec("sh", "-c", "ls -d /home/user; readlink /proc/self/root || true")
        assert "/home/user" in shown.ok().out
        assert not Path(f"{container.rootfs}/proc/self").exists()
    finally:
        container.delete("--force")


def test_a_time_namespace(container: Container) -> None:
    if not container.runtime.is_kaa:
        pytest.skip("runc 1.1 knows no time namespaces")
    container.linux["namespaces"].append({"type": "time"})
    container.linux["timeOffsets"] = {"boottime": {"secs": 7_000_000}}
    container.sleeping()
    assert float(container.exec("cat", "/proc/uptime").ok().out.split()[0]) > 7_000_000


def test_a_cgroup_namespace(container: Container) -> None:
    container.linux["namespaces"].append({"type": "cgroup"})
    container.sleeping()
    shown = container.exec("cat", "/proc/self/cgroup").ok().out
    assert {line.split(":", 2)[2] for line in shown.splitlines()} == {"/"}


# Paused, and sub-cgroups


def test_paused_without_the_option(container: Container) -> None:
    container.sleeping()
    container.runtime("pause", container.id).ok()
    container.exec("true").failed("paused", code=255)
    assert container.status == "paused"


def test_the_root_of_its_cgroup(container: Container) -> None:
    container.sleeping()
    own = container.exec("cat", "/proc/self/cgroup").ok().out
    assert container.exec("--cgroup", "/", "--", "cat", "/proc/self/cgroup").ok().out == own


@pytest.mark.kaa_only("runc 1.1 names no controller in the error")
def test_a_controller_that_there_is_not(container: Container) -> None:
    container.sleeping()
    container.exec("--cgroup", "nonsense:sub", "--", "true").failed("nonsense", code=255)


def test_two_paths_for_one_controller(container: Container) -> None:
    container.sleeping()
    options = ("--cgroup", "pids:a", "--cgroup", "pids:b")
    container.exec(*options, "--", "true").failed(code=255)
