"""What mounts tell each other across namespaces. These tests run below a shared "/"."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kaa.errors import ConfigError

from .rig import DEV, PROC, PTS, SYS, Mounted, Rig, bind, tmpfs

SHOW = "cat /proc/self/mountinfo"


def host_mounts() -> set[str]:
    """The mount points of the host as the tests see it."""
    return {line.split(" ")[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()}


@pytest.fixture
def volume(tmp: Path) -> Iterator[Path]:
    """A shared mount of the host with a directory in it."""
    path = tmp / "volume"
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "t", path], check=True)
    subprocess.run(["mount", "--make-shared", path], check=True)
    (path / "sub").mkdir()
    yield path
    subprocess.run(["umount", "-R", "-l", path], check=True)


def test_slash_is_shared() -> None:
    first = Path("/proc/self/mountinfo").read_text().splitlines()
    assert any(" / / " in line and "shared:" in line for line in first)


@pytest.mark.parametrize("propagation", ["", "rslave", "rprivate", "rshared", "runbindable"])
@pytest.mark.parametrize("userns", [False, True])
def test_nothing_reaches_the_host(rig: Rig, volume: Path, propagation: str, userns: bool) -> None:
    before = host_mounts()
    seen: list[set[str]] = []
    mounts: list[dict[str, Any]] = [PROC, DEV, PTS]
    mounts += [bind(volume, "/v", "rbind"), tmpfs("/v/sub"), bind("/etc", "/e")]
    if userns:
        rig.hand_over()
    else:
        mounts.append(SYS)
    result = rig.run(
        f"{SHOW}; echo ready; read x",
        mounts,
        userns=userns,
        rootfsPropagation=propagation,
        maskedPaths=["/proc/kcore", "/proc/acpi"],
        readonlyPaths=["/proc/sys"],
        meanwhile=lambda: seen.append(host_mounts()),
    )
    assert "/v/sub" in result.mounts
    assert seen[0] - before <= {str(rig.directory / "staging")} - before
    assert host_mounts() == before


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["rprivate"], ""),
        (["private"], ""),
        (["rslave"], "master:"),
        (["rshared"], "shared:"),
        (["unbindable"], "unbindable"),
        (["runbindable"], "unbindable"),
        (["slave", "shared"], "shared:"),
        (["shared", "private"], ""),
    ],
)
def test_options_in_order(rig: Rig, volume: Path, options: list[str], expected: str) -> None:
    found = rig.run(SHOW, [PROC, bind(volume, "/v", "rbind", *options)]).mounts["/v"]
    assert found.optional.startswith(expected) if expected else not found.optional


def test_a_slave_sees_what_the_host_mounts_later(rig: Rig, volume: Path) -> None:
    def mount() -> None:
        subprocess.run(["mount", "-t", "tmpfs", "t", volume / "sub"], check=True)

    mounts = [PROC, bind(volume, "/v", "rbind", "rslave"), bind(volume, "/p", "rbind", "rprivate")]
    result = rig.run(f"echo ready; read x; {SHOW}", mounts, meanwhile=mount)
    assert "/v/sub" in result.mounts
    assert "/p/sub" not in result.mounts


def test_a_shared_bind_reaches_the_host_if_the_config_says_so(rig: Rig, volume: Path) -> None:
    script = "mkdir /v/new; mount -t tmpfs t /v/new; echo ready; read x; umount /v/new"
    seen: list[set[str]] = []
    for mount in (volume, rig.directory):  # of a mount of its own, and of the host's "/"
        before = host_mounts()
        rig.run(
            script,
            [PROC, bind(mount, "/v", "rbind", "rshared")],
            rootfsPropagation="rshared",
            meanwhile=lambda: seen.append(host_mounts()),
        )
        assert seen.pop() - before == {f"{mount}/new"}
        assert host_mounts() == before
    (rig.directory / "new").rmdir()
    rig.run(
        script.removesuffix("; umount /v/new"),
        [PROC, bind(volume, "/v", "rbind", "rslave")],
        rootfsPropagation="rshared",
        meanwhile=lambda: seen.append(host_mounts()),
    )
    assert f"{volume}/new" not in seen.pop()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("", "master:"),
        ("slave", "master:"),
        ("private", ""),
        ("rprivate", ""),
        ("shared", "shared:"),
        ("rshared", "shared:"),
        ("unbindable", "unbindable"),
    ],
)
def test_rootfs_propagation(rig: Rig, name: str, expected: str) -> None:
    before = host_mounts()
    root: Mounted = rig.run(SHOW, [PROC], rootfsPropagation=name).mounts["/"]
    assert root.optional.startswith(expected) if expected else not root.optional
    assert host_mounts() == before


def test_shared_propagation_without_a_pivot_leaves_the_host_its_mounts(rig: Rig, tmp: Path) -> None:
    (tmp / "proc").mkdir()
    subprocess.run(["mount", "-t", "proc", "p", tmp / "proc"], check=True)
    rig.full_mounts = ("/proc", "/sys", str(tmp / "proc"))
    before = Path("/proc/self/mountinfo").read_text()
    try:
        rig.run("true", [PROC], no_pivot=True, rootfsPropagation="rshared")
        assert Path("/proc/self/mountinfo").read_text() == before
    finally:
        subprocess.run(["umount", tmp / "proc"], check=True)


def test_unknown_rootfs_propagation(rig: Rig) -> None:
    with pytest.raises(ConfigError, match="loud") as caught:
        rig.run("true", [], rootfsPropagation="loud")
    assert caught.value.pointer == "/linux/rootfsPropagation"
