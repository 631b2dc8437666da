"""cgroup v2: what works also where the hierarchy has no controllers (beside v1)."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from kaa.caller import Caller
from kaa.cgroups import Layout, device_rules, v2
from kaa.cgroups.base import Cgroup
from kaa.errors import CgroupError
from kaa.program.init import Init
from kaa.program.program import Program
from kaa.program.wire import initial_progress

from .conftest import New, Small


@pytest.fixture
def cgroup(new: New, v2_layout: Layout) -> Cgroup:
    return new(v2_layout)


def test_a_missing_controller_is_named(cgroup: Cgroup) -> None:
    directory = Path(cgroup.paths()[""])
    if "memory" in (directory / "cgroup.controllers").read_text().split():
        pytest.skip("this hierarchy has its controllers")
    with pytest.raises(CgroupError) as caught:
        cgroup.apply({"memory": {"limit": 1 << 20}})
    assert caught.value.pointer == "/linux/resources/memory/limit"
    assert caught.value.path == str(directory / "memory.max")
    assert "memory controller is not available in the cgroup v2 hierarchy" in str(caught.value)


@pytest.fixture
def controller(v2_layout: Layout) -> str:
    """A controller that v1 has left to v2; limits are tried with huge pages."""
    assert v2_layout.unified
    top = Path(v2_layout.unified.mountpoint)
    if "hugetlb" not in (top / "cgroup.controllers").read_text().split():
        pytest.skip("the hugetlb controller is not in the v2 hierarchy")
    return "hugetlb"


HUGE = {"hugepageLimits": [{"pageSize": "2MB", "limit": 4 << 20}]}


def test_controllers_are_enabled_all_the_way_down(
    new: New, v2_layout: Layout, controller: str
) -> None:
    cgroup = new(v2_layout, "/a/b")
    directory = Path(cgroup.paths()[""])
    for above in (directory.parent, directory.parents[1], directory.parents[2]):
        assert controller in (above / "cgroup.subtree_control").read_text().split()
    assert controller not in (directory / "cgroup.subtree_control").read_text().split()
    cgroup.apply(HUGE)
    assert (directory / "hugetlb.2MB.max").read_text() == f"{4 << 20}\n"
    assert (directory / "hugetlb.2MB.rsvd.max").read_text() == f"{4 << 20}\n"
    assert cgroup.stats()["hugetlb"]["2MB"] == {"failcnt": 0}
    with pytest.raises(CgroupError, match=r"huge pages are: .*2MB"):
        cgroup.apply({"hugepageLimits": [{"pageSize": "3MB", "limit": 0}]})


def test_a_parent_with_processes_passes_no_controllers_on(
    new: New, v2_layout: Layout, controller: str, small: Small
) -> None:
    parent = new(v2_layout)
    parent.attach(small.pid)
    child = new(v2_layout, "/child")
    with pytest.raises(CgroupError) as caught:
        child.apply(HUGE)
    assert caught.value.pointer == "/linux/resources/hugepageLimits/0/limit"
    switches = f"{parent.paths()['']}/cgroup.subtree_control"
    assert f"writing +{controller} to {switches}: device or resource busy" in str(caught.value)
    assert "has processes of its own" in str(caught.value)
    parent.kill_all()


def test_a_parent_with_processes_is_not_made_threaded(
    new: New, v2_layout: Layout, small: Small
) -> None:
    """Which the kernel does if only such controllers are passed on as threads may have."""
    cgroup = new(v2_layout)
    top = Path(cgroup.paths()[""])
    if "pids" not in (top / "cgroup.controllers").read_text().split():
        pytest.skip("this hierarchy has no pids controller")
    (top / "cgroup.subtree_control").write_text("+pids")
    parent = top / "parent"
    parent.mkdir()
    (parent / "cgroup.procs").write_text(str(small.pid))
    cgroup._before_child(cgroup.hierarchies[0], str(parent))
    assert (parent / "cgroup.type").read_text() == "domain\n"
    assert (parent / "cgroup.subtree_control").read_text().split() == []
    assert "has processes of its own" in cgroup.why_missing("pids")


def test_exec_goes_where_init_is_if_the_top_takes_no_processes(
    cgroup: Cgroup, controller: str, small: Small, small_binary: Path
) -> None:
    """systemd in a container makes cgroups in its cgroup and moves itself below."""
    directory = Path(cgroup.paths()[""])
    (directory / "init.scope").mkdir()
    (directory / "init.scope" / "cgroup.procs").write_text(str(small.pid))
    (directory / "cgroup.subtree_control").write_text(f"+{controller}")
    other = Small(small_binary)
    try:
        with pytest.raises(CgroupError, match="device or resource busy"):
            cgroup.join(other.pid)
        with pytest.raises(CgroupError, match="controllers on to cgroups below"):
            cgroup.attach(other.pid)
        cgroup.join(other.pid, init=small.pid)
        inside = (directory / "init.scope" / "cgroup.procs").read_text().split()
        assert str(other.pid) in inside
    finally:
        other.close()


def test_no_swap_is_no_error_where_swap_is_not_counted(cgroup: Cgroup) -> None:
    if os.path.exists(cgroup.paths()[""] + "/memory.swap.max"):
        pytest.skip("swap is counted here")
    cgroup.apply({"memory": {"swap": -1}})


def test_unified(cgroup: Cgroup) -> None:
    directory = Path(cgroup.paths()[""])
    cgroup.apply({"unified": {"cgroup.max.depth": "3", "cgroup.max.descendants": "7"}})
    assert (directory / "cgroup.max.depth").read_text() == "3\n"
    assert (directory / "cgroup.max.descendants").read_text() == "7\n"
    with pytest.raises(CgroupError) as caught:
        cgroup.apply({"unified": {"no.such": "1"}})
    assert caught.value.pointer == "/linux/resources/unified/no.such"


def test_a_parent_that_is_full(new: New, v2_layout: Layout) -> None:
    parent = new(v2_layout)
    parent.apply({"unified": {"cgroup.max.descendants": "0"}})
    with pytest.raises(CgroupError, match=r"cgroup\.max\.descendants"):
        new(v2_layout, "/child", create=False).create()


def test_a_failed_update_is_taken_back(cgroup: Cgroup) -> None:
    directory = Path(cgroup.paths()[""])
    cgroup.apply({"unified": {"cgroup.max.depth": "3"}})
    update = {"cgroup.max.depth": "5", "cgroup.max.descendants": "9", "no.such": "1"}
    with pytest.raises(CgroupError, match="no such file"):
        cgroup.apply({"unified": update}, update=True)
    assert (directory / "cgroup.max.depth").read_text() == "3\n"
    assert (directory / "cgroup.max.descendants").read_text() == "max\n"


def test_what_the_container_may_be_given(cgroup: Cgroup) -> None:
    directory = Path(cgroup.paths()[""])
    gid = directory.stat().st_gid
    cgroup.delegate(100000)
    given = {p.name for p in directory.iterdir() if p.stat().st_uid == 100000}
    listed = Path("/sys/kernel/cgroup/delegate")
    assert given <= set(listed.read_text().split())
    assert {"cgroup.procs", "cgroup.threads", "cgroup.subtree_control"} <= given
    assert directory.stat().st_uid == 100000
    assert directory.stat().st_gid == gid
    assert (directory / "cgroup.freeze").stat().st_uid == 0


def test_a_threaded_parent(new: New, v2_layout: Layout) -> None:
    parent = new(v2_layout)
    thread = Path(parent.paths()[""], "thread")
    thread.mkdir()
    (thread / "cgroup.type").write_text("threaded\n")
    with pytest.raises(CgroupError, match="domain invalid") as caught:
        new(v2_layout, "/sibling")
    assert "threaded" in str(caught.value)
    assert caught.value.pointer == "/linux/cgroupsPath"
    assert not Path(parent.paths()[""], "sibling").exists(), "nothing is left behind"


def test_a_process_cannot_enter_an_invalid_cgroup(cgroup: Cgroup, small: Small) -> None:
    directory = Path(cgroup.paths()[""])
    parent = directory.with_name(directory.name + "-p")
    parent.mkdir()
    try:
        (parent / "thread").mkdir()
        (parent / "thread" / "cgroup.type").write_text("threaded\n")
        (parent / "c").mkdir()
        bad = v2.Cgroup([cgroup.hierarchies[0].at(f"/{parent.name}/c")], rootless=False)
        with pytest.raises(CgroupError) as caught:
            bad.attach(small.pid)
        assert "domain invalid" in str(caught.value)
    finally:
        for path in (parent / "thread", parent / "c", parent):
            path.rmdir()


def test_pids_of_a_threaded_subtree_are_listed_at_its_root(cgroup: Cgroup, small: Small) -> None:
    cgroup.attach(small.pid)
    thread = Path(cgroup.paths()[""], "thread")
    thread.mkdir()
    (thread / "cgroup.type").write_text("threaded\n")
    assert cgroup.pids() == [small.pid]


class Host:
    """A kaa-init in the host's namespaces, which makes the system calls Python cannot."""

    def __init__(self) -> None:
        self.progress = os.memfd_create("progress")
        os.write(self.progress, initial_progress())
        self.init = Init.spawn(Caller.of_this_process(), self.progress)

    def limit(self, cgroup: Cgroup, resources: dict[str, object]) -> None:
        program = Program(self.init.slots)
        cgroup.device_ops(program, resources)
        self.init.run(program)

    def close(self) -> None:
        self.init.end()
        os.close(self.progress)


@pytest.fixture(scope="module")
def sealed_init() -> None:
    """The first start keeps a descriptor of kaa-init's binary for the next ones."""
    Host().close()


@pytest.fixture
def host(sealed_init: None) -> Iterator[Host]:
    running = Host()
    yield running
    running.close()


DENY = {"allow": False, "access": "rwm"}
ZERO = {"type": "c", "major": 1, "minor": 5}


def test_the_kernel_takes_and_obeys_the_device_filter(
    cgroup: Cgroup, small: Small, host: Host
) -> None:
    cgroup.attach(small.pid)
    assert (small.order("o"), small.order("z")) == (0, 0)
    host.limit(cgroup, {"devices": [{"allow": True}, {"allow": False, **ZERO}]})
    assert (small.order("o"), small.order("z")) == (0, 0), "the built-in rules come last"
    host.limit(cgroup, {"devices": [DENY]})
    assert (small.order("o"), small.order("z")) == (0, 0), "the usual devices"


def test_programs_that_were_there_are_replaced(
    cgroup: Cgroup, small: Small, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    cgroup.attach(small.pid)
    with monkeypatch.context() as patch:
        patch.setattr(device_rules, "_DEFAULTS", ())
        host.limit(cgroup, {"devices": [{"allow": True}, {"allow": False, **ZERO}]})
        assert (small.order("o"), small.order("z")) == (0, 1)
        host.limit(cgroup, {"devices": [DENY]})
        assert (small.order("o"), small.order("z")) == (1, 1), "both must allow"
    cgroup.made = []  # as for a cgroup that was there: who knows what is attached to it
    host.limit(cgroup, {"devices": [DENY]})
    assert (small.order("o"), small.order("z")) == (0, 0), "only the new one counts"
