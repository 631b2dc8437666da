"""Namespaces: new, joined and inherited, one by one and mixed."""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from kit import config, probe
from kit.container import Container, inode

KINDS = {
    "pid": "pid",
    "network": "net",
    "mount": "mnt",
    "ipc": "ipc",
    "uts": "uts",
    "cgroup": "cgroup",
    "user": "user",
}
UNSHARE = {
    "network": "--net",
    "ipc": "--ipc",
    "uts": "--uts",
    "cgroup": "--cgroup",
    "time": "--time",
}


@pytest.fixture
def holder() -> Iterator[Callable[..., int]]:
    """Starts processes that only keep namespaces alive: `holder("--net", "--uts")` is a pid."""
    running: list[subprocess.Popen[bytes]] = []

    def start(*options: str) -> int:
        process = subprocess.Popen(
            ["unshare", *options, "sh", "-c", "echo; exec sleep 1000"], stdout=subprocess.PIPE
        )
        running.append(process)
        assert process.stdout is not None
        process.stdout.readline()
        return process.pid

    yield start
    for process in running:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("kind", ["pid", "network", "mount", "ipc", "uts", "cgroup"])
def test_new(container: Container, kind: str) -> None:
    config.set_namespace(container.config, kind)
    report = probe.run(container)
    name = KINDS[kind]
    assert report["namespaces"][name] != inode(f"/proc/self/ns/{name}")


@pytest.mark.parametrize("kind", ["pid", "network", "ipc", "uts", "cgroup"])
def test_inherited(container: Container, kind: str) -> None:
    config.drop_namespace(container.config, kind)
    if kind == "uts":
        del container.config["hostname"]
    if kind == "ipc":
        container.mounts[:] = [m for m in container.mounts if m["type"] != "mqueue"]
    report = probe.run(container)
    name = KINDS[kind]
    assert report["namespaces"][name] == inode(f"/proc/self/ns/{name}")


@pytest.mark.parametrize("kind", ["network", "ipc", "uts", "cgroup"])
def test_joined(container: Container, holder: Callable[..., int], kind: str) -> None:
    pid = holder(UNSHARE[kind])
    path = f"/proc/{pid}/ns/{KINDS[kind]}"
    config.set_namespace(container.config, kind, path)
    if kind == "uts":
        del container.config["hostname"]
    assert probe.run(container)["namespaces"][KINDS[kind]] == inode(path)


def test_joined_pid_namespace_of_another_container(
    new_container: Callable[..., Container],
) -> None:
    first, second = new_container(), new_container()
    first.sleeping()
    path = f"/proc/{first.pid}/ns/pid"
    config.set_namespace(second.config, "pid", path)
    report = probe.run(second)
    assert report["namespaces"]["pid"] == inode(path)
    assert report["pid"] > 1


def test_a_pod(new_container: Callable[..., Container]) -> None:
    """One container keeps the namespaces, another shares network, ipc and uts."""
    first, second = new_container(), new_container()
    first.config["hostname"] = "the-pod"
    first.sleeping()
    for kind in ("network", "ipc", "uts"):
        config.set_namespace(second.config, kind, f"/proc/{first.pid}/ns/{KINDS[kind]}")
    del second.config["hostname"]
    second.script("hostname; readlink /proc/self/ns/net")
    shown = second.run().ok().out.split()
    assert shown == ["the-pod", os.readlink(f"/proc/{first.pid}/ns/net")]


def test_a_namespace_bound_to_a_file(container: Container, tmp: Path) -> None:
    path = tmp / "net"
    path.touch()
    subprocess.run(["unshare", f"--net={path}", "true"], check=True)
    try:
        config.set_namespace(container.config, "network", str(path))
        assert probe.run(container)["namespaces"]["net"] == inode(path)
    finally:
        subprocess.run(["umount", str(path)], check=True)


@pytest.mark.parametrize("kind", ["network", "ipc", "uts", "pid"])
def test_a_path_of_another_type_is_refused(container: Container, kind: str) -> None:
    config.set_namespace(container.config, kind, "/proc/self/ns/mnt")
    if kind == "uts":
        del container.config["hostname"]
    container.run().failed("namespace", "invalid argument", "ns/mnt")


@pytest.mark.parametrize("path", ["/etc/passwd", "/no/such/namespace", "/dev/null"])
def test_a_path_that_is_no_namespace_is_refused(
    container: Container, path: str, nothing_is_left: Callable[[], None]
) -> None:
    config.set_namespace(container.config, "network", path)
    container.run().failed(path, "namespace", "no such file")
    nothing_is_left()


def test_duplicates_are_refused(container: Container) -> None:
    container.linux["namespaces"].append({"type": "network"})
    container.run().failed("duplicate", "network")


def test_loopback_is_up(container: Container) -> None:
    container.script("cat /sys/class/net/lo/flags; ip -o addr show lo")
    flags, addresses = container.run().ok().out.split("\n", 1)
    assert int(flags, 16) & 1
    assert "127.0.0.1" in addresses


def test_a_new_network_has_only_a_loopback(container: Container) -> None:
    assert container.script("ls /sys/class/net").run().ok().out.split() == ["lo"]


@pytest.mark.kaa_only("time namespaces came with runc 1.2")
def test_time_offsets(container: Container) -> None:
    config.set_namespace(container.config, "time")
    container.linux["timeOffsets"] = {
        "boottime": {"secs": 1000000, "nanosecs": 5},
        "monotonic": {"secs": 7},
    }
    container.script("cat /proc/self/timens_offsets; cut -d. -f1 /proc/uptime")
    out = container.run().ok().out
    lines = [line.split() for line in out.splitlines()]
    assert ["monotonic", "7", "0"] in lines
    assert ["boottime", "1000000", "5"] in lines
    assert int(lines[-1][0]) >= 1000000


@pytest.mark.kaa_only("time namespaces came with runc 1.2")
def test_a_joined_time_namespace(container: Container, holder: Callable[..., int]) -> None:
    pid = holder("--time", "--boottime", "500000", "--fork")
    child = int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])
    try:
        path = f"/proc/{child}/ns/time"
        config.set_namespace(container.config, "time", path)
        assert probe.run(container)["namespaces"]["time"] == inode(path)
    finally:
        os.kill(child, 9)


def test_a_user_namespace(container: Container) -> None:
    config.add_user_namespace(container.config)
    container.linux["uidMappings"].append({"containerID": 70000, "hostID": 1000, "size": 10})
    os.chown(container.rootfs, 200000, 200000)
    report = probe.run(container)
    assert report["namespaces"]["user"] != inode("/proc/self/ns/user")
    maps = [line.split() for line in report["uid_map"].splitlines()]
    assert maps == [["0", "200000", "65536"], ["70000", "1000", "10"]]
    assert report["gid_map"].split() == ["0", "200000", "65536"]
    assert report["setgroups"] == "allow\n"
    assert report["uid"] == 0


def test_root_of_a_user_namespace_is_nobody_outside(container: Container) -> None:
    config.add_user_namespace(container.config)
    os.chown(container.rootfs, 200000, 200000)
    secret = container.rootfs / "secret"
    secret.write_text("of the host's root")
    secret.chmod(0o600)
    container.script("touch /made; cat /secret")
    container.run().failed("permission denied")
    assert (container.rootfs / "made").stat().st_uid == 200000


def test_a_process_user_in_a_user_namespace(container: Container) -> None:
    config.add_user_namespace(container.config)
    container.process["user"] = {"uid": 7, "gid": 8, "additionalGids": [9]}
    report = probe.run(container)
    assert (report["uid"], report["gid"]) == (7, 8)
    assert 9 in report["groups"]


def test_a_user_that_is_not_mapped(container: Container) -> None:
    config.add_user_namespace(container.config, count=100)
    container.process["user"]["uid"] = 100
    container.run().failed("uid", "mapped", "invalid argument")


def test_many_mappings(container: Container) -> None:
    """CVE-2021-43784: nearly what the kernel takes (less than a page), every one of them."""
    config.add_user_namespace(container.config)
    for kind in ("uidMappings", "gidMappings"):
        container.linux[kind] = [
            {"containerID": number, "hostID": 200000 + number * 3, "size": 1}
            for number in range(250)
        ]
    lines = probe.run(container)["uid_map"].splitlines()
    assert [line.split() for line in lines] == [
        [str(number), str(200000 + number * 3), "1"] for number in range(250)
    ]


def test_too_many_mappings_are_an_error(container: Container) -> None:
    config.add_user_namespace(container.config)
    container.linux["uidMappings"] = [
        {"containerID": number, "hostID": 200000 + number, "size": 1} for number in range(5000)
    ]
    container.run().failed("mapping", "uid_map", "invalid argument", "larger")


@pytest.mark.kaa_only("runc 1.1 wants mappings for a namespace that has them")
def test_a_joined_user_namespace_with_its_network(
    container: Container, holder: Callable[..., int]
) -> None:
    pid = holder("--user", "--map-root-user", "--net")
    for kind in ("user", "network"):
        config.set_namespace(container.config, kind, f"/proc/{pid}/ns/{KINDS[kind]}")
    # Only id 0 is mapped there: no group 5 for the terminals.
    container.mounts[:] = [m for m in container.mounts if m["type"] != "devpts"]
    report = probe.run(container)
    for name in ("user", "net"):
        assert report["namespaces"][name] == inode(f"/proc/{pid}/ns/{name}")


@pytest.mark.kaa_only("runc 1.1 joins in one fixed order")
def test_a_new_user_namespace_with_the_hosts_network_joined(
    container: Container, holder: Callable[..., int]
) -> None:
    """The network is the host's root's: entering it must come before the user namespace."""
    pid = holder("--net", "--uts")
    for kind in ("network", "uts"):
        config.set_namespace(container.config, kind, f"/proc/{pid}/ns/{KINDS[kind]}")
    del container.config["hostname"]
    config.add_user_namespace(container.config)
    container.mounts[:] = [m for m in container.mounts if m["type"] != "sysfs"]
    report = probe.run(container)
    assert report["namespaces"]["net"] == inode(f"/proc/{pid}/ns/net")
    assert report["namespaces"]["user"] != inode("/proc/self/ns/user")


@pytest.mark.kaa_only("runc 1.1 joins in one fixed order")
def test_joined_namespaces_of_different_owners(
    container: Container, holder: Callable[..., int]
) -> None:
    """A user namespace and its uts, with a network that belongs to the host."""
    theirs = holder("--user", "--map-root-user", "--uts", "--ipc")
    hosts = holder("--net")
    for kind in ("user", "uts", "ipc"):
        config.set_namespace(container.config, kind, f"/proc/{theirs}/ns/{KINDS[kind]}")
    config.set_namespace(container.config, "network", f"/proc/{hosts}/ns/net")
    del container.config["hostname"]
    container.mounts[:] = [m for m in container.mounts if m["type"] in ("proc", "tmpfs")]
    report = probe.run(container)
    for name in ("user", "uts", "ipc"):
        assert report["namespaces"][name] == inode(f"/proc/{theirs}/ns/{name}")
    assert report["namespaces"]["net"] == inode(f"/proc/{hosts}/ns/net")


def test_the_root_of_a_cgroup_namespace(container: Container) -> None:
    config.set_namespace(container.config, "cgroup")
    report = probe.run(container)
    assert {line.split(":", 2)[2] for line in report["cgroup"].splitlines()} == {"/"}


def test_hostname_needs_a_uts_namespace(container: Container) -> None:
    config.drop_namespace(container.config, "uts")
    container.run().failed("hostname", "UTS")
