"""Known attacks with links in the image: each leads nowhere but into the root.

Each test plants a link that leads to the canary (a directory of the host outside
every root), lets the runtime mount, make or write something there, and checks that
the canary is as it was. Whether the container starts is the runtime's choice; what
it makes must be below the root.
"""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from kit import config
from kit.container import Container, mount_at
from kit.hostcanary import HostCanary

UP = "../" * 12


@pytest.fixture(params=["absolute", "relative", "chain"])
def plant(
    request: pytest.FixtureRequest, container: Container, canary: HostCanary
) -> Callable[[str, str], None]:
    """`plant(path in the root, path in the canary)`: a link, in one of three ways."""

    def make(link: str, target: str = "") -> None:
        place = container.rootfs / link
        place.parent.mkdir(parents=True, exist_ok=True)
        if place.is_dir() and not place.is_symlink():
            place.rmdir()
        goal = str(canary.path / target).rstrip("/")
        if request.param == "relative":
            goal = UP + goal.lstrip("/")
        if request.param == "chain":
            (container.rootfs / "hop1").symlink_to("/hop2/../hop3")
            (container.rootfs / "hop2").mkdir()
            (container.rootfs / "hop3").symlink_to(UP + goal.lstrip("/"))
            goal = "/hop1"
        place.symlink_to(goal)

    return make


def settle(container: Container, canary: HostCanary) -> None:
    """Run it; if it ran, whatever it printed is not the host's secret."""
    result = container.run()
    assert "a secret of the host" not in result.out + result.err
    result.sane()
    canary.intact()


Plant = Callable[..., None]


def test_a_mount_below_a_link(container: Container, canary: HostCanary, plant: Plant) -> None:
    """CVE-2015-3629, CVE-2015-3630."""
    plant("link")
    container.mounts.append(config.tmpfs("/link/x"))
    settle(container.script("cat /link/secret; cat /proc/self/mountinfo"), canary)


def test_a_mount_on_a_link(container: Container, canary: HostCanary, plant: Plant) -> None:
    plant("link")
    container.mounts.append(config.tmpfs("/link"))
    settle(container.script("ls /link; touch /link/made; cat /link/secret"), canary)


def test_missing_directories_behind_a_link(
    container: Container, canary: HostCanary, plant: Plant
) -> None:
    """CVE-2024-45310."""
    plant("v")
    container.mounts.append(config.tmpfs("/v/a/b/c"))
    settle(container.script("ls /v/a/b"), canary)


def test_a_file_bound_on_a_link(
    container: Container, canary: HostCanary, plant: Plant, tmp: Path
) -> None:
    """CVE-2019-18837: a file source, and the last component is the link."""
    (tmp / "source").write_text("the source")
    plant("etc/target", "secret")
    container.mounts.append(config.bind(tmp / "source", "/etc/target"))
    settle(container.script("cat /etc/target; echo overwritten > /etc/target"), canary)


def test_a_file_made_through_a_dangling_link(
    container: Container, canary: HostCanary, plant: Plant, tmp: Path
) -> None:
    (tmp / "source").write_text("the source")
    plant("etc/target", "new-file")
    container.mounts.append(config.bind(tmp / "source", "/etc/target", "ro"))
    settle(container.script("cat /etc/target"), canary)


def test_cwd_behind_a_link(container: Container, canary: HostCanary, plant: Plant) -> None:
    plant("link")
    container.process["cwd"] = "/link/made"
    settle(container.script("pwd; ls -la .; cat ../secret"), canary)


@pytest.mark.kaa_only("runc 1.1 has this hole, and the canary shows it")
@pytest.mark.parametrize("with_tmpfs", [True, False])
@pytest.mark.parametrize("device", ["/dev/x/y", "/dev/ptmx"])
def test_dev_is_a_link(
    container: Container, canary: HostCanary, plant: Plant, with_tmpfs: bool, device: str
) -> None:
    """CVE-2026-41579, CVE-2026-47766: devices, links and ptmx made on the host."""
    (container.rootfs / "dev").rmdir()
    plant("dev")
    container.mounts[:] = [
        m
        for m in container.mounts
        if not m["destination"].startswith("/dev") or (with_tmpfs and m["destination"] == "/dev")
    ]
    container.linux["devices"] = [
        {"path": device, "type": "c", "major": 1, "minor": 3, "fileMode": 0o666, "uid": 7}
    ]
    settle(container.script("ls -la /dev/"), canary)


@pytest.mark.parametrize("name", ["fd", "stdin", "ptmx", "null", "core", "console", "tty"])
def test_what_dev_has_already(
    container: Container, canary: HostCanary, plant: Plant, name: str
) -> None:
    """A link at the name of a default device, with no tmpfs over /dev."""
    plant(f"dev/{name}", "secret")
    container.mounts[:] = [m for m in container.mounts if not m["destination"].startswith("/dev")]
    settle(container.script("ls -la /dev; echo x > /dev/null"), canary)


def test_pts_is_a_link(container: Container, canary: HostCanary, plant: Plant) -> None:
    plant("dev/pts")
    container.mounts[:] = [m for m in container.mounts if m["destination"] != "/dev"]
    settle(container.script("ls -la /dev/pts/"), canary)


@pytest.mark.parametrize("kind", ["proc", "sys"])
def test_proc_and_sys_are_no_links(
    container: Container, canary: HostCanary, plant: Plant, kind: str
) -> None:
    """CVE-2019-19921, CVE-2023-27561, CVE-2023-28642, CVE-2025-54867."""
    plant(kind)
    container.run().failed(kind, f"/{kind}")


@pytest.mark.parametrize("target", ["bad", "/bad", "../bad", "tmp/../bad"])
@pytest.mark.parametrize("kind", ["proc", "sys"])
def test_proc_and_sys_are_no_links_within_the_root(
    container: Container, kind: str, target: str
) -> None:
    (container.rootfs / "bad").mkdir()
    (container.rootfs / kind).rmdir()
    (container.rootfs / kind).symlink_to(target)
    container.run().failed(kind)


def test_proc_by_another_name(container: Container, tmp: Path) -> None:
    """CVE-2023-28642: /x leads to /proc, and something is bound there."""
    fake = tmp / "fake/self/attr/apparmor"
    fake.mkdir(parents=True)
    (container.rootfs / "x").symlink_to("proc")
    container.mounts.append(config.bind(tmp / "fake", "/x"))
    container.run().failed("proc")


@pytest.mark.parametrize("target", ["/proc", "/proc/self", "/proc/1", "/proc/sys", "/proc/self/fd"])
def test_nothing_is_mounted_over_proc(container: Container, tmp: Path, target: str) -> None:
    """CVE-2019-16884: a directory that looks like /proc."""
    fake = tmp / "fake"
    for name in ("exec", "apparmor/exec", "current"):
        (fake / "self/attr" / name).parent.mkdir(parents=True, exist_ok=True)
        (fake / "self/attr" / name).touch()
    container.mounts.append(config.bind(fake, target))
    container.run().failed("proc")


def test_files_of_proc_that_may_be_bound(container: Container, tmp: Path) -> None:
    """lxcfs binds these; they decide nothing about the container's confinement."""
    (tmp / "uptime").write_text("1.00 1.00\n")
    container.mounts.append(config.bind(tmp / "uptime", "/proc/uptime", "ro"))
    assert container.script("cat /proc/uptime").run().ok().out == "1.00 1.00\n"


@pytest.mark.parametrize("name", ["passwd", "group", "shadow"])
def test_the_users_files_are_links(container: Container, canary: HostCanary, name: str) -> None:
    place = container.rootfs / "etc" / name
    place.unlink(missing_ok=True)
    place.symlink_to(canary.file)
    container.process["user"]["uid"] = 1000
    settle(container.script("echo $HOME; cat /etc/passwd"), canary)


def test_masked_and_read_only_paths_are_links(
    container: Container, canary: HostCanary, plant: Plant
) -> None:
    plant("masked", "secret")
    container.linux["maskedPaths"].append("/masked")
    container.linux["readonlyPaths"].append("/masked")
    settle(container.script("cat /masked"), canary)
    assert os.access(canary.file, os.W_OK)


@pytest.mark.kaa_only("runc 1.1 follows 255 links")
def test_forty_links_and_more(container: Container, canary: HostCanary) -> None:
    """An endless and a very long chain of links end in an error, not in a crash."""
    (container.rootfs / "loop").symlink_to("loop")
    (container.rootfs / "link0").symlink_to(canary.path)
    for number in range(1, 60):
        (container.rootfs / f"link{number}").symlink_to(f"link{number - 1}")
    for target in ("/loop/x", "/link59/x", "/" + "n" * 300, "/etc/passwd/x"):
        container.mounts.append(config.tmpfs(target))
        container.run().failed()
        container.mounts.pop()
        container.delete("--force")
    canary.intact()


def test_a_bind_source_that_is_a_link_is_opened_once(
    container: Container, canary: HostCanary, tmp: Path
) -> None:
    """The host's links are the administrator's: followed, but the mount is of what was opened."""
    (tmp / "real").mkdir()
    (tmp / "real/file").write_text("real")
    (tmp / "link").symlink_to(tmp / "real")
    container.mounts.append(config.bind(tmp / "link", "/vol", "ro"))
    assert container.script("cat /vol/file").run().ok().out == "real"


def test_a_link_as_root(container: Container, tmp: Path) -> None:
    link = container.bundle / "link"
    link.symlink_to(container.rootfs)
    container.config["root"]["path"] = "link"
    container.run().failed("link", "root")


def test_the_root_itself_may_be_a_mount(container: Container) -> None:
    subprocess.run(["mount", "--bind", container.rootfs, container.rootfs], check=True)
    try:
        container.sleeping()
        assert mount_at(container.mountinfo(), "/")
    finally:
        container.delete("--force")
        subprocess.run(["umount", container.rootfs], check=True)
