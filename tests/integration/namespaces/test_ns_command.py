"""`kaa ns` on real namespaces, beside lsns."""

import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kaa.namespaces import machine

_BOOT = Path(__file__).parents[3] / "src/kaa/_boot.py"


def kaa(*args: str, code: int = 0) -> str:
    done = subprocess.run(
        ["/usr/bin/python3", "-IS", str(_BOOT), "ns", *args], capture_output=True, text=True
    )
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr if code else done.stdout


@pytest.fixture
def inner() -> Iterator[int]:
    """Pid of a sleep, pid 1 in namespaces of its own, below a user namespace of its own."""
    with subprocess.Popen(
        ["unshare", "-Ur", "--pid", "--net", "--mount", "--uts", "--ipc", "--cgroup", "--fork",
         "--kill-child", "sleep", "60"],
    ) as outer:  # fmt: skip
        try:
            children = Path(f"/proc/{outer.pid}/task/{outer.pid}/children")
            for _ in range(200):
                words = children.read_text().split()
                if words and Path(f"/proc/{words[0]}/comm").read_text() == "sleep\n":
                    break
                time.sleep(0.02)
            else:
                pytest.fail("unshare did not start")
            yield int(words[0])
        finally:
            outer.kill()


def inode(pid: int, name: str) -> int:
    return os.stat(f"/proc/{pid}/ns/{name}").st_ino


def flat(nested: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """lsns puts the namespaces of a child process below those of its parent."""
    for entry in nested:
        yield entry
        yield from flat(entry.get("children", []))


def lsns() -> set[tuple[str, int, int]]:
    done = subprocess.run(["lsns", "-J"], check=True, capture_output=True)
    return {(n["type"], n["ns"], n["pid"]) for n in flat(json.loads(done.stdout)["namespaces"])}


def scanned() -> set[tuple[str, int, int]]:
    return {(s.type, s.inode, s.pid) for s in machine.scan() if s.processes}


def test_list_agrees_with_lsns(inner: int) -> None:
    # others come and go on this machine: what each sees twice, the other sees in between
    theirs, ours, theirs_again, ours_again = lsns(), scanned(), lsns(), scanned()
    assert theirs & theirs_again <= ours
    assert ours & ours_again <= theirs_again
    for name in ("user", "pid", "net", "mnt", "uts", "ipc", "cgroup"):
        assert inode(inner, name) in {number for _, number, _ in ours & theirs_again}


def test_list_of_a_process(inner: int) -> None:
    found: list[dict[str, Any]] = json.loads(kaa("list", "--json", "--pid", str(inner)))
    by_type = {space["type"]: space for space in found}
    user = inode(inner, "user")
    assert {space["inode"] for space in found} == {inode(inner, name) for name in by_type}
    assert by_type["net"]["processes"] == 2  # unshare and sleep
    assert by_type["pid"]["processes"] == 1
    assert by_type["pid"]["command"] == "sleep"
    assert by_type["pid"]["held_by"] == ["process", "for-children"]
    assert by_type["pid"]["parent"] == inode(os.getpid(), "pid")
    assert by_type["net"]["owner"] == by_type["pid"]["owner"] == user
    assert by_type["user"]["owner"] == inode(os.getpid(), "user")
    assert by_type["net"]["owner_uid"] == 0
    assert inode(inner, "net") in by_type["user"]["children"]


def test_a_mount_keeps_a_namespace(tmp_path: Path) -> None:
    target = tmp_path / "a b"
    target.touch()
    subprocess.run(["unshare", f"--net={target}", "true"], check=True)
    try:
        found = json.loads(kaa("list", "--json", "--type", "net"))
        space = next(s for s in found if s["inode"] == target.stat().st_ino)
    finally:
        subprocess.run(["umount", str(target)], check=True)
    assert space["held_by"] == ["mount"]
    assert space["mounts"] == [str(target)]
    assert (space["processes"], space["pid"]) == (0, None)
    assert space["owner"] == inode(os.getpid(), "user")


def test_show(inner: int) -> None:
    me = os.getpid()
    record = json.loads(kaa("show", str(inner), "--json", "--diff", str(me)))
    assert record["namespaces"]["pid_for_children"] == inode(inner, "pid")
    assert record["uid_map"] == [[0, 0, 1]]
    assert set(record["diff"]["same"]) == {"time", "time_for_children"}
    assert record["diff"]["different"]["net"] == inode(me, "net")
    assert record["propagation"]["shared"] == 0  # unshare makes all private or slave
    text = kaa("show", str(inner), "--diff", str(me))
    assert "uid 0 inside is 0 outside" in text
    assert f"process {me}: {inode(me, 'net')}" in text


def test_pids(inner: int) -> None:
    assert json.loads(kaa("pids", str(inner), "--json")) == [
        {"level": 0, "inode": inode(os.getpid(), "pid"), "pid": inner},
        {"level": 1, "inode": inode(inner, "pid"), "pid": 1},
    ]
    assert kaa("pids", str(inner)).splitlines()[-1].split()[2] == "1"


def test_tree(inner: int) -> None:
    for kind in ("user", "pid"):
        roots = json.loads(kaa("tree", "--json"))[kind]
        root = next(r for r in roots if r["inode"] == inode(os.getpid(), kind))
        assert inode(inner, kind) in [below["inode"] for below in root["below"]]
    assert f"─ {inode(inner, 'pid')} (1 processes) {inner} sleep" in kaa("tree")


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("show", "4194305"), "there is no process 4194305"),
        (("pids", "init"), "'init' is not a pid"),
        (("list", "--type", "mount"), "mount"),
        (("list", "--pid", "4194305"), "there is no process 4194305"),
    ],
)
def test_errors(args: tuple[str, ...], said: str) -> None:
    assert said in kaa(*args, code=1)
