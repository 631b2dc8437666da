"""What v1 and v2 promise alike."""

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from kaa.cgroups import Layout, load
from kaa.cgroups.base import Cgroup
from kaa.errors import CgroupError

from .conftest import New, Small, exists, state_of, until


@pytest.fixture
def cgroup(new: New, any_layout: Layout) -> Cgroup:
    return new(any_layout)


def test_nothing_is_made_before_create(new: New, any_layout: Layout) -> None:
    cgroup = new(any_layout, create=False)
    assert not any(exists(path) for path in cgroup.paths().values())
    assert cgroup.record()["made"] is None


def test_made_entered_killed_removed(cgroup: Cgroup, small: Small) -> None:
    for path in cgroup.paths().values():
        assert os.stat(path).st_mode & 0o7777 == 0o755
    cgroup.attach(small.pid)
    cgroup.attach_last(small.pid)
    for path in set(cgroup.paths().values()):
        assert Path(path, "cgroup.procs").read_text() == f"{small.pid}\n"
    again = load(cgroup.record())
    assert again.pids() == [small.pid]
    again.kill_all()
    assert small.wait() == -signal.SIGKILL
    again.delete()
    assert not any(exists(path) for path in cgroup.paths().values())
    again.delete()  # a second time is no error
    assert again.pids() == []
    assert not again.frozen()


def test_any_umask(new: New, any_layout: Layout) -> None:
    old = os.umask(0o077)
    try:
        cgroup = new(any_layout, "/a/b")
    finally:
        os.umask(old)
    for path in cgroup.paths().values():
        assert os.stat(path).st_mode & 0o777 == 0o755
        assert os.stat(os.path.dirname(path)).st_mode & 0o777 == 0o755


def test_parents_that_were_made_go_when_nobody_needs_them(new: New, any_layout: Layout) -> None:
    first, second = new(any_layout, "/pod/a"), new(any_layout, "/pod/b")
    pods = {os.path.dirname(path) for path in first.paths().values()}
    first.delete()
    assert all(exists(pod) for pod in pods), "b is still in it"
    second.delete()
    assert all(exists(pod) for pod in pods), "b did not make it"
    for pod in pods:
        os.rmdir(pod)
    third = new(any_layout, "/pod/c")
    third.delete()
    assert not any(exists(pod) for pod in pods)


def test_neighbours_that_come_and_go(new: New, any_layout: Layout) -> None:
    """Each makes the common parent if it is missing, and removes it if it made it."""

    def live(name: str) -> None:
        for _ in range(40):
            cgroup = new(any_layout, f"/pod/{name}")
            assert all(exists(path) for path in cgroup.paths().values())
            cgroup.delete()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(live, "abcd"))
    pods = {os.path.dirname(path) for path in new(any_layout, "/pod/e").paths().values()}
    new(any_layout, "/pod/f").delete()
    assert all(exists(pod) for pod in pods)


def test_a_cgroup_in_use_is_refused(
    new: New, any_layout: Layout, cgroup: Cgroup, small: Small
) -> None:
    cgroup.attach(small.pid)
    cgroup.attach_last(small.pid)
    other = new(any_layout, create=False)
    with pytest.raises(CgroupError, match=r"cgroup is not empty: 1 process\(es\) found"):
        other.create()
    other.kill_all()
    other.delete()
    assert small.alive(), "it is not ours to kill"
    assert cgroup.pids() == [small.pid]


def test_a_record_from_before_create_kills_nobody(
    new: New, any_layout: Layout, cgroup: Cgroup, small: Small
) -> None:
    cgroup.attach(small.pid)
    crashed = load(new(any_layout, create=False).record())
    crashed.kill_all()
    crashed.delete()
    assert small.alive()
    assert cgroup.pids() == [small.pid]


def test_processes_below_count_too(
    new: New, any_layout: Layout, cgroup: Cgroup, small: Small
) -> None:
    for path in set(cgroup.paths().values()):
        below = Path(path, "x")
        below.mkdir()
        for name in ("cpuset.cpus", "cpuset.mems"):
            if (below / name).exists():
                (below / name).write_text((below.parent / name).read_text())
        (below / "cgroup.procs").write_text(str(small.pid))
    assert cgroup.pids() == [small.pid]
    assert cgroup.pids(recursive=False) == []
    with pytest.raises(CgroupError, match="not empty"):
        new(any_layout, create=False).create()


def test_a_frozen_cgroup_is_refused(new: New, any_layout: Layout, cgroup: Cgroup) -> None:
    cgroup.freeze()
    try:
        with pytest.raises(CgroupError, match="unexpectedly frozen"):
            new(any_layout, "/child", create=False).create()
        assert not any(exists(f"{path}/child") for path in cgroup.paths().values())
        with pytest.raises(CgroupError, match="unexpectedly frozen"):
            new(any_layout, create=False).create()
        assert all(exists(path) for path in cgroup.paths().values())
    finally:
        cgroup.thaw()


def test_freeze_and_thaw(cgroup: Cgroup, small: Small) -> None:
    cgroup.attach(small.pid)
    cgroup.freeze()
    assert cgroup.frozen()
    assert small.process.stdin
    small.process.stdin.write(b"f")
    time.sleep(0.05)
    assert state_of(small.pid) in "DS"
    os.set_blocking(small.process.stdout.fileno(), False)  # type: ignore[union-attr]
    assert small.process.stdout.read(1) is None  # type: ignore[union-attr]
    os.set_blocking(small.process.stdout.fileno(), True)  # type: ignore[union-attr]
    cgroup.thaw()
    assert not cgroup.frozen()
    assert small.process.stdout.read(1) == b"\0"  # type: ignore[union-attr]


def test_frozen_by_someone_above(new: New, any_layout: Layout, cgroup: Cgroup) -> None:
    child = new(any_layout, "/child")
    cgroup.freeze()
    assert child.frozen()
    with pytest.raises(CgroupError, match="a cgroup above it is frozen"):
        child.thaw()
    cgroup.thaw()
    assert not child.frozen()


def test_a_frozen_process_can_be_killed(cgroup: Cgroup, small: Small) -> None:
    cgroup.attach(small.pid)
    cgroup.freeze()
    cgroup.kill_all()
    assert small.wait() == -signal.SIGKILL
    cgroup.delete()


def test_another_signal_for_all(cgroup: Cgroup, small: Small) -> None:
    cgroup.attach(small.pid)
    cgroup.kill_all(signal.SIGTERM)
    assert small.wait() == -signal.SIGTERM
    assert not cgroup.frozen()


def test_a_signal_does_not_resume_a_paused_container(cgroup: Cgroup, small: Small) -> None:
    cgroup.attach(small.pid)
    cgroup.freeze()
    cgroup.kill_all(signal.SIGTERM)
    until(cgroup.frozen)  # while a process leaves it, a v2 cgroup is not
    if cgroup.version == 1:  # in v2 a frozen process can die of any fatal signal
        assert small.alive()
    cgroup.thaw()
    assert small.wait() == -signal.SIGTERM


def test_processes_that_fork_as_fast_as_they_can(
    new: New, v1_layout: Layout, any_layout: Layout, small: Small
) -> None:
    fence = new(v1_layout, "/fence")  # only v1 can count processes on this machine
    fence.apply({"pids": {"limit": 200}})
    fence.attach(small.pid)
    cgroup = new(any_layout, "/bomb")
    for hierarchy in cgroup.hierarchies:
        if "pids" not in hierarchy.controllers:
            Path(hierarchy.dir, "cgroup.procs").write_text(str(small.pid))
    small.order("b")
    until(lambda: len(cgroup.pids()) > 100)
    began = time.monotonic()
    cgroup.kill_all()
    until(lambda: not cgroup.pids(), 1)
    assert time.monotonic() - began < 1
    assert small.wait() == -signal.SIGKILL


def test_removal_waits_for_the_dying(cgroup: Cgroup, small: Small) -> None:
    cgroup.attach(small.pid)
    cgroup.attach_last(small.pid)
    helper = subprocess.Popen(
        [sys.executable, "-S", "-c", f"import os, time; time.sleep(.3); os.kill({small.pid}, 9)"]
    )
    cgroup.delete()
    helper.wait()
    assert not any(exists(path) for path in cgroup.paths().values())


def test_removal_says_who_is_in_the_way(cgroup: Cgroup, small: Small) -> None:
    cgroup.attach(small.pid)
    began = time.monotonic()
    with pytest.raises(CgroupError) as caught:
        cgroup.delete()
    assert 1.5 < time.monotonic() - began < 4
    assert f"1 process(es) in it: {small.pid}" in str(caught.value)


def test_trees_deeper_than_a_path_can_be_long(cgroup: Cgroup, small: Small) -> None:
    """A container with a writable cgroup can do this to whoever cleans up after it."""
    here = os.getcwd()
    main = cgroup.hierarchies[0].dir
    try:
        os.chdir(main)
        for _ in range(30):
            os.mkdir("d" * 200)
            os.mkdir("e" * 200)
            os.chdir("d" * 200)
        if cgroup.version == 2:
            Path("cgroup.procs").write_text(str(small.pid))
            assert cgroup.pids() == [small.pid]
    finally:
        os.chdir(here)
    cgroup.kill_all()
    cgroup.delete()
    assert not exists(main)


def test_joining_a_cgroup_below(cgroup: Cgroup, small: Small) -> None:
    for path in set(cgroup.paths().values()):
        below = Path(path, "sub")
        below.mkdir()
        for name in ("cpuset.cpus", "cpuset.mems"):
            if (below / name).exists():
                (below / name).write_text((below.parent / name).read_text())
    cgroup.join(small.pid, sub={"": "/../../sub"})
    for path in set(cgroup.paths().values()):
        assert Path(path, "sub", "cgroup.procs").read_text() == f"{small.pid}\n"
    cgroup.join(small.pid)
    for path in set(cgroup.paths().values()):
        assert Path(path, "cgroup.procs").read_text() == f"{small.pid}\n"
    with pytest.raises(CgroupError, match="no such file"):
        cgroup.join(small.pid, sub={"": "none"})
    with pytest.raises(CgroupError, match="no cgroup of a controller 'nosuch'"):
        cgroup.join(small.pid, sub={"nosuch": "sub"})


def test_a_name_that_is_a_file(new: New, any_layout: Layout, cgroup: Cgroup) -> None:
    bad = new(any_layout, "/a/cgroup.procs", create=False)
    with pytest.raises(CgroupError, match="not a directory"):
        bad.create()
    assert not any(exists(f"{path}/a") for path in cgroup.paths().values())


def test_a_process_that_has_ended(cgroup: Cgroup) -> None:
    ended = subprocess.Popen(["true"])
    ended.wait()
    with pytest.raises(CgroupError, match="process has ended"):
        cgroup.attach(ended.pid)
