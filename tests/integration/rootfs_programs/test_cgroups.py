"""A mount of type cgroup."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from kaa.compile.inputs import CgroupView
from kaa.errors import SyscallError

from .rig import ISOLATED, PROC, Rig

CGROUP = {
    "destination": "/sys/fs/cgroup",
    "type": "cgroup",
    "source": "cgroup",
    "options": ["nosuid", "noexec", "nodev", "relatime", "ro"],
}
SHOW = "cat /proc/self/mountinfo"


def _hierarchies() -> list[tuple[str, str, str, str]]:
    """Per version 1 hierarchy of this host: name, options, mount point."""
    found = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        left, _, right = line.partition(" - ")
        point, (kind, _, options) = left.split(" ")[4], right.split(" ")
        if kind == "cgroup":
            wanted = [o for o in options.split(",") if o not in ("rw", "ro", "xattr")]
            found.append((point.rpartition("/")[2], ",".join(wanted), point, kind))
    return found


def _unified() -> str:
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        if " - cgroup2 " in line:
            return line.split(" ")[4]
    return ""


@pytest.fixture
def version1(rig: Rig, tmp: Path) -> Iterator[CgroupView]:
    """A cgroup of the test's own in each hierarchy, which the container does not join."""
    if not _hierarchies():
        pytest.skip("this host mounts no cgroup version 1 hierarchy")
    made = []
    for name, options, point, _ in _hierarchies():
        path = f"{point}/{tmp.name}"
        os.mkdir(path)
        made.append((name, path, options, point))
    rig.cgroup = CgroupView(1, made, {"kt-link": made[0][0]})
    yield rig.cgroup
    for _, path, _, _ in made:
        os.rmdir(path)


@pytest.fixture
def version2(rig: Rig, tmp: Path) -> Iterator[CgroupView]:
    """The same in the unified hierarchy."""
    if not _unified():
        pytest.skip("this host mounts no cgroup version 2 hierarchy")
    path = f"{_unified()}/{tmp.name}"
    os.mkdir(path)
    rig.cgroup = CgroupView(2, [("", path, "", _unified())])
    yield rig.cgroup
    os.rmdir(path)


@pytest.mark.parametrize("read_only", [True, False])
def test_version_1(rig: Rig, tmp: Path, version1: CgroupView, read_only: bool) -> None:
    options = CGROUP["options"] if read_only else ["rw"]
    result = rig.run(
        f"{SHOW}; ls -l /sys/fs/cgroup; mkdir /sys/fs/cgroup/new && echo made;"
        f"mkdir /sys/fs/cgroup/{version1.hierarchies[0][0]}/new && echo made",
        [PROC, {**CGROUP, "options": options}],
    )
    for name, path, _, point in version1.hierarchies:
        found = result.mounts[f"/sys/fs/cgroup/{name}"]
        assert found.root == path.removeprefix(point)
        assert found.options >= {"nosuid", "noexec", "nodev", "ro" if read_only else "rw"}
    assert any("kt-link -> " in line for line in result.lines)
    assert result.out.count("made") == (0 if read_only else 2)
    if not read_only:
        os.rmdir(f"{version1.hierarchies[0][1]}/new")


def test_version_1_with_a_cgroup_namespace(rig: Rig, version1: CgroupView) -> None:
    result = rig.run(SHOW, [PROC, CGROUP], namespaces=(*ISOLATED, "cgroup"))
    for name, _, _, _ in version1.hierarchies:
        found = result.mounts[f"/sys/fs/cgroup/{name}"]
        assert found.kind == "cgroup"
        assert found.root == "/"
        assert "ro" in found.options


def test_version_2(rig: Rig, version2: CgroupView) -> None:
    result = rig.run(SHOW, [PROC, CGROUP], namespaces=(*ISOLATED, "cgroup"))
    found = result.mounts["/sys/fs/cgroup"]
    assert found.kind == "cgroup2"
    assert found.options >= {"ro", "nosuid", "noexec", "nodev"}
    # an instance that others share must not become read-only
    assert "ro" not in found.super_options


@pytest.mark.parametrize("read_only", [True, False])
def test_version_2_in_a_user_namespace_shows_its_own(
    rig: Rig, tmp: Path, version2: CgroupView, read_only: bool
) -> None:
    rig.hand_over()
    mount = {**CGROUP, "options": ["ro"] if read_only else ["rw"]}
    result = rig.run(f"{SHOW}; mkdir /sys/fs/cgroup/x", [PROC, mount], userns=True)
    found = result.mounts["/sys/fs/cgroup"]
    assert found.root == f"/{tmp.name}"
    assert "ro" in found.options or not read_only
    assert found.options >= {"nosuid", "noexec", "nodev"}


def test_without_a_cgroup_there_is_nothing_to_see(rig: Rig) -> None:
    result = rig.run(f"{SHOW}; ls /sys/fs/cgroup; mkdir /sys/fs/cgroup/x", [PROC, CGROUP])
    assert result.mounts["/sys/fs/cgroup"].kind == "tmpfs"
    assert result.mounts["/sys/fs/cgroup"].options >= {"ro"}
    assert "Read-only file system" in result.lines[-1]


def test_an_option_that_cgroup2_does_not_know(rig: Rig, version2: CgroupView) -> None:
    with pytest.raises(SyscallError, match="nonsense"):
        rig.run("true", [PROC, {**CGROUP, "options": ["nonsense"]}])
