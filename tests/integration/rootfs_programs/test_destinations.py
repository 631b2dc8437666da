"""Where mounts land, whatever the image says."""

import os
from pathlib import Path

import pytest
from kit.hostcanary import HostCanary

from kaa.errors import SyscallError

from .rig import PROC, SYS, Rig, bind, tmpfs

SHOW = "cat /proc/self/mountinfo"


def test_missing_destinations_are_made(rig: Rig, tmp: Path) -> None:
    (tmp / "file").write_text("hello\n")
    result = rig.run("cat /a/b/file; ls /c/d", [bind(tmp / "file", "/a/b/file"), bind(tmp, "/c/d")])
    assert result.lines[0] == "hello"
    assert "rootfs" in result.lines
    assert oct((rig.root / "a/b/file").stat().st_mode) == "0o100644"
    assert oct((rig.root / "c/d").stat().st_mode) == "0o40755"


def test_relative_destination_and_source(rig: Rig, tmp: Path) -> None:
    (tmp / "data").mkdir()
    (tmp / "data/f").touch()
    assert rig.run("ls /x/y", [bind("data", "x/../x/./y", "rbind")]).lines == ["f"]


@pytest.mark.parametrize("target", ["{canary}", "../../../../../../../..{canary}"])
@pytest.mark.parametrize("kind", ["tmpfs", "dir", "file"])
def test_links_never_lead_out(
    rig: Rig, tmp: Path, canary: HostCanary, kind: str, target: str
) -> None:
    target = target.format(canary=tmp / "canary")
    (rig.root / "link").symlink_to(target)
    (tmp / "source").mkdir()
    (tmp / "source.txt").touch()
    mount = {
        "tmpfs": tmpfs("/link/x"),
        "dir": bind(tmp / "source", "/link/x"),
        "file": bind(tmp / "source.txt", "/link/x"),
    }[kind]
    result = rig.run(SHOW, [PROC, mount])
    assert len([m for m in result.mounts if m.endswith("/x")]) == 1
    assert (rig.root / str(tmp / "canary")[1:] / "x").exists()


def test_magic_links_are_not_followed(rig: Rig) -> None:
    (rig.root / "link").symlink_to("/proc/1/root")
    with pytest.raises(SyscallError, match="symbolic link") as caught:
        rig.run("true", [PROC, tmpfs("/link/x")])
    assert caught.value.pointer == "/mounts/1/destination"


def test_last_component_link_to_a_host_file(rig: Rig, tmp: Path, canary: HostCanary) -> None:
    (rig.root / "etc/conf").symlink_to(str(tmp / "canary/new"))
    (tmp / "conf").write_text("mine\n")
    assert rig.run("cat /etc/conf", [bind(tmp / "conf", "/etc/conf")]).lines == ["mine"]
    assert not (tmp / "canary/new").exists()


@pytest.mark.parametrize("kind", ["proc", "sys"])
@pytest.mark.parametrize("target", ["/bad", "bad", "../x", "/tmp"])
def test_proc_and_sys_only_on_ordinary_directories(rig: Rig, kind: str, target: str) -> None:
    (rig.root / "bad").mkdir()
    (rig.root / kind).rmdir()
    (rig.root / kind).symlink_to(target)
    with pytest.raises(SyscallError, match="must be mounted on ordinary directory") as caught:
        rig.run("true", [PROC] if kind == "proc" else [PROC, SYS])
    assert caught.value.pointer == f"/mounts/{['proc', 'sys'].index(kind)}/destination"


def test_proc_below_a_link(rig: Rig) -> None:
    (rig.root / "real").mkdir()
    (rig.root / "there").symlink_to("real")
    assert rig.run("ls -d /real/proc/1", [{**PROC, "destination": "/real/proc"}]).lines == [
        "/real/proc/1"
    ]
    with pytest.raises(SyscallError, match="ordinary directory"):
        rig.run("true", [{**PROC, "destination": "/there/proc"}])


def test_link_into_proc_is_refused(rig: Rig, tmp: Path) -> None:
    (rig.root / "data").symlink_to("/proc/sys")
    with pytest.raises(SyscallError, match="leads into /proc"):
        rig.run("true", [PROC, bind(tmp, "/data/kernel")])
    assert rig.run("cat /proc/cpuinfo", [PROC, bind("/etc/hostname", "/proc/cpuinfo")]).out


def test_bind_on_proc_must_be_a_procfs(rig: Rig, tmp: Path) -> None:
    with pytest.raises(SyscallError, match="is a procfs"):
        rig.run("true", [bind(tmp, "/proc")])
    assert "/proc/sys" in rig.run("ls -d /proc/sys", [bind("/proc", "/proc", "rbind")]).out


def test_mounts_on_the_root_itself(rig: Rig, tmp: Path) -> None:
    (rig.root / "extra").touch()
    upper = {
        "destination": "/",
        "type": "overlay",
        "source": "overlay",
        "options": [f"lowerdir={rig.root}", f"upperdir={tmp}/up", f"workdir={tmp}/work", "silent"],
    }
    for name in ("up", "work"):
        (tmp / name).mkdir()
    result = rig.run("ls /; touch /new; cat /proc/self/mountinfo", [upper, PROC, tmpfs("/x")])
    assert "extra" in result.lines
    assert (tmp / "up/new").exists()
    assert result.mounts["/"].kind == "overlay"
    assert result.mounts["/x"].kind == "tmpfs"
    result = rig.run("ls / /x", [bind(rig.root, "/", "rbind"), tmpfs("/x")], read_only=True)
    assert "extra" in result.lines


def test_source_inside_an_earlier_mount(rig: Rig) -> None:
    (rig.root / "a").mkdir()
    (rig.root / "a/old").mkdir()
    source = f"{rig.root}/a/old"
    mounts = [tmpfs("/a", "tmpcopyup"), tmpfs("/a/old/new"), bind(source, "/b", "rbind")]
    result = rig.run("ls /b", mounts)
    assert result.lines == ["new"]


def test_missing_source_leaves_nothing(rig: Rig) -> None:
    with pytest.raises(SyscallError, match="no such file") as caught:
        rig.run("true", [bind("/nonexistent/thing", "/x")])
    assert caught.value.pointer == "/mounts/0/source"
    assert not (rig.root / "x").exists()


def test_tmpfs_takes_the_mode_that_it_covers(rig: Rig) -> None:
    (rig.root / "tmp").chmod(0o1777)
    (rig.root / "odd").mkdir()
    (rig.root / "odd").chmod(0o2751)
    script = "stat -c %a /tmp /odd /given /new/deep"
    mounts = [tmpfs("/tmp"), tmpfs("/odd"), tmpfs("/given", "mode=700"), tmpfs("/new/deep")]
    for _ in range(2):  # a second start finds what the first has made
        assert rig.run(script, mounts).lines == ["1777", "2751", "700", "1777"]
    assert oct((rig.root / "new").stat().st_mode) == "0o40755"


def test_tmpcopyup(rig: Rig) -> None:
    home = rig.root / "home/user"
    (home / "d").mkdir()
    (home / "d/f").write_text("text")
    (home / "link").symlink_to("/etc/passwd")
    os.chown(home / "d/f", 5, 6)
    (home / "d/f").chmod(0o640)
    result = rig.run(
        "stat -c '%a %u' /home/user; stat -c '%a %u %g' /home/user/d/f; readlink /home/user/link;"
        "touch /home/user/x || echo read-only",
        [tmpfs("/home/user", "tmpcopyup", "ro", "silent"), tmpfs("/home/user/below")],
    )
    assert result.lines[:3] == ["755 1000", "640 5 6", "/etc/passwd"]
    assert result.lines[-1] == "read-only"
    assert not (home / "below").exists()
