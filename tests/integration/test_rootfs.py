"""The root: read-only, devices, masked and read-only paths, pivot and no pivot."""

import os
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from kit import config, probe, rootfs
from kit.container import Container, mount_at

DEVICES = {
    "null": (1, 3),
    "zero": (1, 5),
    "full": (1, 7),
    "random": (1, 8),
    "urandom": (1, 9),
    "tty": (5, 0),
}
LINKS = ["/proc/self/fd", "/proc/self/fd/0", "/proc/self/fd/1", "/proc/self/fd/2", "pts/ptmx"]


def test_the_root_is_the_bundles(container: Container) -> None:
    (container.rootfs / "mark").write_text("this root")
    container.script("cat /mark; ls -d /../../mark; echo new > /new")
    assert container.run().ok().out == "this root/../../mark\n"
    assert (container.rootfs / "new").read_text() == "new\n"


def test_nothing_of_the_hosts_mounts_is_visible(container: Container) -> None:
    targets = [m["target"] for m in probe.run(container).mounts]
    assert "/" in targets
    assert not any(t.startswith(("/work", "/tmp/", "/var", "/home")) for t in targets), targets
    assert len(targets) < 40


def test_a_read_only_root(container: Container) -> None:
    container.config["root"]["readonly"] = True
    result = container.script("echo x > /new; rm /etc/passwd; touch /dev/shm/ok && echo ok").run()
    assert result.err.lower().count("read-only") == 2
    assert result.out == "ok\n"
    assert (container.rootfs / "etc/passwd").exists()
    assert "ro" in mount_at(probe.run(container).mounts, "/")["options"]


def test_a_relative_root_and_one_with_dots(container: Container) -> None:
    for path in (
        "rootfs",
        "./rootfs",
        str(container.rootfs),
        "../" + container.bundle.name + "/rootfs",
    ):
        container.config["root"]["path"] = path
        container.run().ok()


@pytest.mark.parametrize("option", [[], ["--no-pivot"]])
def test_default_devices(container: Container, option: list[str]) -> None:
    names = " ".join(DEVICES)
    container.script(f"cd /dev; stat -c '%n %F %t %T %a %u %g' {names}")
    lines = container.run(*option).ok().out.splitlines()
    for line, (name, (major, minor)) in zip(lines, DEVICES.items(), strict=True):
        assert line == f"{name} character special file {major:x} {minor:x} 666 0 0"


def test_default_devices_work(container: Container) -> None:
    container.script(
        "echo x > /dev/null && head -c 4 /dev/zero | od -An -tx1 && head -c 8 /dev/urandom | wc -c "
        "&& ! echo x > /dev/full"
    )
    assert container.run().ok().out.split() == ["00", "00", "00", "00", "8"]


def test_default_links(container: Container) -> None:
    container.script("cd /dev; for l in fd stdin stdout stderr ptmx; do readlink $l; done")
    assert container.run().ok().out.split() == LINKS


def test_configured_devices(container: Container) -> None:
    container.linux["devices"] = [
        {
            "path": "/dev/deep/kaa",
            "type": "c",
            "major": 10,
            "minor": 229,
            "fileMode": 0o640,
            "uid": 5,
            "gid": 6,
        },
        {"path": "/dev/block", "type": "b", "major": 7, "minor": 99},
        {"path": "/dev/pipe", "type": "p", "fileMode": 0o600},
    ]
    container.script("cd /dev; stat -c '%F %t %T %a %u %g' deep/kaa; stat -c %F block pipe")
    assert container.run().ok().out.splitlines() == [
        "character special file a e5 640 5 6",
        "block special file",
        "fifo",
    ]


def test_a_device_that_no_rule_allows_cannot_be_opened(container: Container) -> None:
    container.linux["devices"] = [{"path": "/dev/mem1", "type": "c", "major": 1, "minor": 1}]
    result = container.script("cat /dev/mem1").run()
    assert result.code != 0
    assert "not permitted" in result.err


def test_the_device_that_a_rule_allows_can(container: Container) -> None:
    container.linux["devices"] = [
        {"path": "/dev/kmsg1", "type": "c", "major": 1, "minor": 11, "fileMode": 0o600}
    ]
    container.linux["resources"]["devices"].append(
        {"allow": True, "type": "c", "major": 1, "minor": 11, "access": "r"}
    )
    for kind in ("bounding", "effective", "permitted"):
        container.process["capabilities"][kind].append("CAP_SYSLOG")
    result = container.script(
        "exec 3< /dev/kmsg1 && echo read; exec 4> /dev/kmsg1 && echo wrote"
    ).run()
    assert result.out == "read\n"
    assert "not permitted" in result.err


def test_devices_in_a_user_namespace_are_the_hosts(container: Container) -> None:
    """mknod(2) is forbidden there: they are binds, and they work."""
    config.add_user_namespace(container.config)
    os.chown(container.rootfs, 200000, 200000)
    container.script("cd /dev; echo x > null && head -c 2 zero | wc -c; stat -c '%t %T' null zero")
    assert container.run().ok().out.split() == ["2", "1", "3", "1", "5"]
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


def test_no_devices_into_a_bound_dev(container: Container, tmp: Path) -> None:
    """When /dev is a bind, it is the user's: nothing is made in it."""
    (tmp / "dev").mkdir()
    os.mknod(tmp / "dev/null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    container.mounts[:] = [m for m in container.mounts if not m["destination"].startswith("/dev")]
    container.mounts.append(config.bind(tmp / "dev", "/dev"))
    container.linux["maskedPaths"] = []
    container.run().ok()
    assert os.listdir(tmp / "dev") == ["null"]


def test_masked_paths(container: Container) -> None:
    (container.rootfs / "secret").write_text("secret")
    (container.rootfs / "secrets").mkdir()
    (container.rootfs / "secrets/inner").write_text("secret")
    container.linux["maskedPaths"] += ["/secret", "/secrets", "/not/there"]
    container.script(
        "cat /secret; ls /secrets; echo w > /secrets/new; cat /proc/kcore | head -c 10 | wc -c"
    )
    result = container.run()
    assert result.out == "0\n"
    assert "read-only" in result.err.lower()
    assert (container.rootfs / "secret").read_text() == "secret"


def test_read_only_paths(container: Container) -> None:
    (container.rootfs / "data").mkdir()
    container.linux["readonlyPaths"] += ["/data", "/etc/passwd", "/not/there"]
    result = container.script(
        "echo x > /data/new; echo x > /etc/passwd; echo x > /proc/sys/kernel/hostname"
    ).run()
    assert result.err.lower().count("read-only") == 3, result.err
    found = probe.run(container).mounts
    for path in ("/data", "/proc/sys", "/etc/passwd"):
        assert "ro" in mount_at(found, path)["options"]
    # what the mount had before stays
    assert {"nosuid", "nodev", "noexec"} <= mount_at(found, "/sys")["options"]


def test_nothing_below_proc_and_sys_is_writable_but_its_own(container: Container) -> None:
    found = probe.writable(container, "/proc", "/sys")
    own = ("/proc/1/", "/proc/self/", "/proc/thread-self/", "/proc/pressure/", "/proc/mtrr")
    others = [path for path in found if not path.startswith(own)]
    assert others == []


@pytest.mark.parametrize("readonly", [True, False])
def test_no_pivot(container: Container, readonly: bool) -> None:
    container.config["root"]["readonly"] = readonly
    container.script("ls /; echo x > /new; cat /proc/1/comm")
    result = container.run("--no-pivot")
    assert "bin" in result.out.split()
    assert "work" not in result.out.split()
    assert ("read-only" in result.err.lower()) == readonly


def test_no_pivot_leaves_no_unmasked_proc(container: Container) -> None:
    """A full proc of the host left below would let root mount a fresh one without masks."""
    container.process["capabilities"] = {
        kind: ["CAP_SYS_ADMIN", "CAP_SYS_CHROOT"] for kind in ("bounding", "effective", "permitted")
    }
    config.add_user_namespace(container.config)
    os.chown(container.rootfs, 200000, 200000)
    container.script(
        "mkdir /tmp/p; mount -t proc proc /tmp/p && head -c 1 /tmp/p/kcore | wc -c; "
        "grep -c ' /proc ' /proc/self/mountinfo"
    )
    container.run("--no-pivot").ok()


def test_a_root_on_a_read_only_mount(container: Container, tmp: Path) -> None:
    subprocess.run(["mount", "--bind", container.rootfs, container.rootfs], check=True)
    subprocess.run(["mount", "-o", "remount,bind,ro", container.rootfs], check=True)
    try:
        for name in ("dev", "proc", "sys"):
            assert (container.rootfs / name).is_dir()
        result = container.script("touch /x; echo here").run()
        assert result.out == "here\n"
        assert "read-only" in result.err.lower()
    finally:
        subprocess.run(["umount", container.rootfs], check=True)


@pytest.mark.parametrize("path", ["missing", "config.json", ""])
def test_a_root_that_is_not_there(
    container: Container, path: str, nothing_is_left: Callable[[], None]
) -> None:
    container.config["root"]["path"] = path
    container.run().failed(code=1)
    nothing_is_left()


def test_a_root_in_a_bundle_with_odd_characters(
    new_container: Callable[..., Container], tmp: Path
) -> None:
    odd = tmp / 'a "b" \\ c\td,e:f'
    rootfs.busybox(odd)
    container = new_container("echo here", root=odd)
    assert container.run().ok().out == "here\n"
