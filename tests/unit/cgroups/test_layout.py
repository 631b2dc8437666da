"""Which hierarchies there are, and where a container's cgroups go."""

import pytest

from kaa.cgroups.layout import Hierarchy, Layout, load, open_cgroup, parse
from kaa.errors import CgroupError

HYBRID_MOUNTS = r"""
22 1 0:20 / / rw - ext4 /dev/root rw
31 22 0:28 / /sys/fs/cgroup ro,nosuid - tmpfs tmpfs ro,mode=755
32 31 0:29 / /sys/fs/cgroup/unified rw,nosuid shared:5 - cgroup2 cgroup2 rw,nsdelegate
33 31 0:30 / /sys/fs/cgroup/systemd rw shared:6 - cgroup cgroup rw,xattr,name=systemd
34 31 0:31 / /sys/fs/cgroup/cpu,cpuacct rw shared:7 master:2 - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset,noprefix,clone_children
36 22 0:33 / /run/my\040memory rw - cgroup cgroup rw,memory
37 31 0:33 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
38 22 0:33 / /mnt/memory rw - cgroup cgroup rw,memory
39 22 0:40 / /run/net\040cls rw - cgroup cgroup rw,net_cls
"""
HYBRID_OWN = """6:net_cls:/
5:memory:/user/me
4:cpuset:/
3:cpu,cpuacct:/user
2:name=systemd:/user.slice/session-1.scope
0::/user.slice/session-1.scope
"""
V2_MOUNTS = "30 22 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"
V2_OWN = "0::/user.slice/user-1000.slice/session-3.scope\n"
V1_MOUNTS = "36 22 0:33 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"


def test_hybrid() -> None:
    layout = parse(HYBRID_MOUNTS, HYBRID_OWN)
    assert layout.version == "hybrid"
    assert layout.unified
    assert layout.unified.mountpoint == "/sys/fs/cgroup/unified"
    assert {h.mountpoint: (h.controllers, h.own) for h in layout.hierarchies} == {
        "/sys/fs/cgroup/systemd": (("name=systemd",), "/user.slice/session-1.scope"),
        "/sys/fs/cgroup/cpu,cpuacct": (("cpu", "cpuacct"), "/user"),
        "/sys/fs/cgroup/cpuset": (("cpuset",), "/"),
        "/sys/fs/cgroup/memory": (("memory",), "/user/me"),
        "/run/net cls": (("net_cls",), "/"),
    }
    assert [h.mountpoint for h in layout.hierarchies if h.noprefix] == ["/sys/fs/cgroup/cpuset"]


def test_hybrid_view_has_the_links_of_joint_controllers() -> None:
    view = open_cgroup(parse(HYBRID_MOUNTS, HYBRID_OWN), "/box", "box", rootless=False).view()
    assert view.version == 1
    assert view.links == {"cpu": "cpu,cpuacct", "cpuacct": "cpu,cpuacct"}
    assert (
        "cpu,cpuacct",
        "/sys/fs/cgroup/cpu,cpuacct/box",
        "cpu,cpuacct",
        "/sys/fs/cgroup/cpu,cpuacct",
    ) in view.hierarchies
    assert ("net_cls", "/run/net cls/box", "net_cls", "/run/net cls") in view.hierarchies
    assert all(name != "unified" for name, *_ in view.hierarchies)


def test_v1() -> None:
    layout = parse(V1_MOUNTS, HYBRID_OWN)
    assert layout.version == "v1"
    assert layout.unified is None


def test_v2() -> None:
    layout = parse(V2_MOUNTS, V2_OWN)
    assert layout.version == "v2"
    view = open_cgroup(layout, "/pod/box", "box", rootless=False).view()
    assert (view.version, view.hierarchies, view.links) == (
        2,
        [("", "/sys/fs/cgroup/pod/box", "", "/sys/fs/cgroup")],
        {},
    )


def test_v2_with_a_stray_v1_controller_is_v2() -> None:
    stray = "39 22 0:40 / /sys/fs/cgroup/net_cls rw - cgroup cgroup rw,net_cls\n"
    layout = parse(V2_MOUNTS + stray, "1:net_cls:/\n" + V2_OWN)
    assert layout.version == "v2"
    assert len(layout.hierarchies) == 1


def test_none() -> None:
    with pytest.raises(CgroupError, match="no cgroup file system is mounted"):
        parse("22 1 0:20 / / rw - ext4 /dev/root rw\n", "")


def test_a_mount_of_a_part_of_the_hierarchy() -> None:
    """A container without its own cgroup namespace sees its cgroup as the top."""
    mounts = "30 22 0:26 /docker/c1 /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"
    inside, beside = parse(mounts, "0::/docker/c1/me\n"), parse(mounts, "0::/docker/c10\n")
    assert inside.hierarchies[0].own == "/me"
    assert beside.hierarchies[0].own == "/"


@pytest.mark.parametrize(
    ("cgroups_path", "directory"),
    [
        ("/a/b", "/a/b"),
        ("/../../etc", "/etc"),
        ("/a/../../../b/./c//d/", "/b/c/d"),
    ],
)
def test_an_absolute_path_starts_at_the_top(cgroups_path: str, directory: str) -> None:
    for layout in (parse(HYBRID_MOUNTS, HYBRID_OWN), parse(V2_MOUNTS, V2_OWN)):
        cgroup = open_cgroup(layout, cgroups_path, "box", rootless=False)
        for hierarchy in cgroup.hierarchies:
            assert hierarchy.dir == hierarchy.mountpoint + directory


@pytest.mark.parametrize(
    ("cgroups_path", "below"),
    [
        ("", "box"),
        ("a/b", "a/b"),
        ("../../etc", "etc"),
        ("system.slice:runc:box", "system.slice:runc:box"),
    ],
)
@pytest.mark.parametrize("rootless", [False, True])
def test_a_relative_path_starts_at_the_callers_cgroup(
    cgroups_path: str, below: str, rootless: bool
) -> None:
    v2 = open_cgroup(parse(V2_MOUNTS, V2_OWN), cgroups_path, "box", rootless=rootless)
    assert v2.paths() == {"": f"/sys/fs/cgroup/user.slice/user-1000.slice/{below}"}
    v1 = open_cgroup(parse(HYBRID_MOUNTS, HYBRID_OWN), cgroups_path, "box", rootless=rootless)
    assert v1.paths()["memory"] == f"/sys/fs/cgroup/memory/user/me/{below}"
    assert v1.paths()["cpuset"] == f"/sys/fs/cgroup/cpuset/{below}"
    assert v1.paths()[""] == f"/sys/fs/cgroup/unified/user.slice/{below}"


def test_a_caller_at_the_top_or_outside_of_what_is_mounted() -> None:
    for own in ("0::/\n", "0::/../elsewhere/x\n", "0::/one\n"):
        cgroup = open_cgroup(parse(V2_MOUNTS, own), "", "box", rootless=False)
        assert cgroup.paths() == {"": "/sys/fs/cgroup/box"}


@pytest.mark.parametrize("path", ["/", "..", "/a/..", "a\0b", "a\nb", "\ud800", "a/" * 2000])
def test_paths_that_cannot_be(path: str) -> None:
    with pytest.raises(CgroupError) as caught:
        open_cgroup(parse(V2_MOUNTS, V2_OWN), path, "box", rootless=False)
    assert caught.value.pointer == "/linux/cgroupsPath"


def test_a_record_says_it_all() -> None:
    for layout in (parse(HYBRID_MOUNTS, HYBRID_OWN), parse(V2_MOUNTS, V2_OWN)):
        cgroup = open_cgroup(layout, "/pod/box", "box", rootless=False)
        cgroup.denied["memory"] = "why"
        again = load(cgroup.record())
        assert type(again) is type(cgroup)
        assert again.record() == cgroup.record()
        assert again.paths() == cgroup.paths()


def test_paths_name_each_controller() -> None:
    layout = Layout("v1", [Hierarchy(("cpu", "cpuacct"), "/sys/fs/cgroup/cpu,cpuacct")])
    cgroup = open_cgroup(layout, "", "box", rootless=False)
    directory = "/sys/fs/cgroup/cpu,cpuacct/box"
    assert cgroup.paths() == {"cpu": directory, "cpuacct": directory}
