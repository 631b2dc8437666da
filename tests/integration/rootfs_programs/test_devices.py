"""/dev: nodes, links, the console; and images that would rather have them elsewhere."""

import os
import stat
from pathlib import Path
from typing import Any

import pytest
from kit.hostcanary import HostCanary

from kaa.compile.devices import bind_console
from kaa.compile.root import Root
from kaa.errors import ConfigError, SyscallError
from kaa.program.program import Program

from .rig import DEV, PROC, PTS, Rig, bind, tmpfs

NODES = "null zero full random urandom tty"
LINKS = "fd stdin stdout stderr core ptmx"
TIOCSPTLCK, TIOCGPTPEER = 0x40045431, 0x5441


def device(path: str, kind: str = "c", numbers: str = "1:3", **more: int) -> dict[str, Any]:
    """An entry of linux.devices."""
    major, _, minor = numbers.partition(":")
    return {"path": path, "type": kind, "major": int(major), "minor": int(minor), **more}


@pytest.mark.parametrize("mounted", [[PROC, DEV], [PROC]])
def test_defaults(rig: Rig, mounted: list[dict[str, Any]]) -> None:
    result = rig.run(
        f"cd /dev; stat -c '%n %t:%T %a %u' {NODES}; stat -c %N {LINKS}; echo x > null && echo ok",
        mounted,
    )
    assert result.lines[:6] == [
        "null 1:3 666 0",
        "zero 1:5 666 0",
        "full 1:7 666 0",
        "random 1:8 666 0",
        "urandom 1:9 666 0",
        "tty 5:0 666 0",
    ]
    assert [line.partition("-> ")[2].strip("'") for line in result.lines[6:12]] == [
        "/proc/self/fd",
        "/proc/self/fd/0",
        "/proc/self/fd/1",
        "/proc/self/fd/2",
        "/proc/kcore",
        "pts/ptmx",
    ]
    assert result.lines[12] == "ok"


def test_devices_of_the_config(rig: Rig) -> None:
    result = rig.run(
        "stat -c '%n %F %t:%T %a %u:%g' /dev/fuse /dev/sub/loop /dev/null /dev/pipe /other/node;"
        "ls -l /dev/ptmx",
        [PROC, DEV],
        devices=[
            device("/dev/fuse", "c", "10:229", fileMode=0o640, uid=5, gid=6),
            device("/dev/sub/loop", "b", "7:200"),
            device("/dev//null", "u", "1:3", fileMode=stat.S_IFCHR | 0o600),
            {"path": "/dev/pipe", "type": "p", "fileMode": 0o622, "uid": 9},
            device("/other/node", "c", "4095:1048575"),
            device("/dev/ptmx", "c", "5:2"),
        ],
    )
    assert result.lines[:-1] == [
        "/dev/fuse character special file a:e5 640 5:6",
        "/dev/sub/loop block special file 7:c8 666 0:0",
        "/dev/null character special file 1:3 600 0:0",
        "/dev/pipe fifo 0:0 622 9:0",
        "/other/node character special file fff:fffff 666 0:0",
    ]
    assert result.lines[-1].endswith("-> pts/ptmx")


@pytest.mark.parametrize(
    ("entry", "pointer"),
    [
        (device("/dev/x", "z"), "/linux/devices/0/type"),
        (device("/", "c"), "/linux/devices/0/path"),
        (device("/dev/x", "c", "4096:0"), "/linux/devices/0"),
    ],
)
def test_nonsense(rig: Rig, entry: dict[str, Any], pointer: str) -> None:
    with pytest.raises(ConfigError) as caught:
        rig.run("true", [PROC, DEV], devices=[entry])
    assert caught.value.pointer == pointer


def test_a_node_that_is_there(rig: Rig) -> None:
    os.mknod(rig.root / "dev/zero", stat.S_IFCHR | 0o600, os.makedev(1, 5))
    (rig.root / "dev/null").write_text("no device")
    os.mknod(rig.root / "dev/mine", stat.S_IFCHR | 0o600, os.makedev(10, 229))
    host = os.stat("/dev/null")
    result = rig.run(
        "cat /dev/null; chmod 0 /dev/null; chown 7 /dev/null; stat -c '%t:%T' /dev/null /dev/zero;"
        "stat -c '%t:%T %a' /dev/mine; echo x > /dev/null && echo ok",
        [PROC],
        devices=[device("/dev/mine", "c", "10:229")],
    )
    assert [line for line in result.lines if not line.startswith("ch")] == [
        "1:3",
        "1:5",
        "a:e5 600",
        "ok",
    ]
    assert os.stat("/dev/null")[:6] == host[:6]
    (rig.root / "dev/mine").unlink()
    (rig.root / "dev/mine").touch()
    with pytest.raises(SyscallError, match="/dev/mine") as caught:  # nor is it on the host
        rig.run("true", [PROC], devices=[device("/dev/mine", "c", "10:229")])
    assert caught.value.pointer == "/linux/devices/0"


def test_a_second_start_finds_its_nodes(rig: Rig) -> None:
    for _ in range(2):
        found = rig.run("cat /proc/self/mountinfo", [PROC], devices=[device("/dev/mine")])
        assert set(found.mounts) == {"/", "/proc"}


@pytest.mark.parametrize("with_tmpfs", [False, True])
@pytest.mark.parametrize("target", ["{canary}", "../../../../../../..{canary}"])
def test_dev_is_a_link(
    rig: Rig, tmp: Path, canary: HostCanary, with_tmpfs: bool, target: str
) -> None:
    where = tmp / "canary"
    (rig.root / "dev").rmdir()
    (rig.root / "dev").symlink_to(target.format(canary=where))
    before = sorted(os.listdir(where))
    rig.run(
        "ls -l /dev/",
        [PROC, DEV] if with_tmpfs else [PROC],
        devices=[device("/dev/x/y", "c", "1:3")],
    )
    assert sorted(os.listdir(where)) == before
    inside = rig.root / str(where)[1:]
    assert inside.is_dir()
    if not with_tmpfs:
        assert (inside / "x/y").is_char_device()


def test_links_in_dev_are_not_followed(rig: Rig, canary: HostCanary, tmp: Path) -> None:
    for name in ("ptmx", "stdin", "null"):
        (rig.root / "dev" / name).symlink_to(tmp / "canary" / name)
    result = rig.run("readlink /dev/ptmx; stat -L -c '%t:%T' /dev/null", [PROC])
    assert result.lines == ["pts/ptmx", "1:3"]


def test_a_bound_dev_is_left_alone(rig: Rig, tmp: Path) -> None:
    (tmp / "dev").mkdir()
    (tmp / "dev/null").touch()
    for destination in ("/dev", "/dev/", "/x/../dev"):
        result = rig.run("ls /dev", [bind(tmp / "dev", destination, "rbind")])
        assert result.lines == ["null"]


def test_a_mount_on_a_device_stays(rig: Rig) -> None:
    mounts = [bind("/dev/zero", "/dev/tty"), DEV, bind("/dev/urandom", "/dev/random")]
    result = rig.run("stat -c %t:%T /dev/random /dev/tty /dev/null", mounts)
    assert result.lines == ["1:9", "5:0", "1:3"]
    result = rig.run("stat -c %t:%T /dev/random", [bind("/dev/urandom", "/dev/random")])
    assert result.lines == ["1:9"]


def test_read_only_dev(rig: Rig) -> None:
    dev = {**DEV, "options": [*DEV["options"], "ro"]}
    result = rig.run(
        "touch /dev/x || echo read-only; cat /proc/self/mountinfo; echo > /dev/null && echo ok",
        [PROC, dev, PTS, tmpfs("/dev/shm")],
    )
    assert result.lines[1] == "read-only"
    assert result.lines[-1] == "ok"
    assert "ro" in result.mounts["/dev"].options
    assert "rw" in result.mounts["/dev/shm"].options


def console(p: Program, root: Root) -> None:
    """What terminal.py does before it binds the console, without the checks."""
    master = p.openat(root.fd, "dev/pts/ptmx", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC, 0)
    p.ioctl(master, TIOCSPTLCK, b"\0\0\0\0")
    peer = p.ioctl(master, TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY)
    bind_console(p, root.fd, peer)


@pytest.mark.parametrize("userns", [False, True])
def test_console(rig: Rig, userns: bool) -> None:
    if userns:
        rig.hand_over()
    result = rig.run(
        "stat -c %t:%T /dev/console; cat /proc/self/mountinfo",
        [PROC, DEV, PTS],
        before_leave=console,
        userns=userns,
    )
    assert result.lines[0] == "88:0"
    assert result.mounts["/dev/console"].kind == "devpts"


def test_console_through_a_link(rig: Rig, tmp: Path, canary: HostCanary) -> None:
    (rig.root / "dev/console").symlink_to(tmp / "canary/new")
    (rig.root / "dev/pts").mkdir()
    result = rig.run("stat -L -c %t:%T /dev/console", [PROC, PTS], before_leave=console)
    assert result.lines == ["88:0"]
    assert not (tmp / "canary/new").exists()


def test_the_console_must_be_a_terminal(rig: Rig) -> None:
    def fake(p: Program, root: Root) -> None:
        bind_console(p, root.fd, p.openat(root.fd, "etc/passwd", os.O_RDONLY, 0))

    with pytest.raises(SyscallError, match="/dev/console") as caught:
        rig.run("true", [PROC, DEV], before_leave=fake)
    assert caught.value.pointer == "/process/terminal"
