"""The end of a rootfs program: what is read-only, and what is left of the host."""

import os
import subprocess
from pathlib import Path

import pytest

from kaa.compile.root import Root
from kaa.errors import ConfigError
from kaa.program.program import Program

from .rig import DEV, PROC, PTS, Rig, bind, tmpfs

SHOW = "cat /proc/self/mountinfo"


def test_nothing_of_the_host_is_left(rig: Rig) -> None:
    result = rig.run(f"{SHOW}; pwd; ls /", [PROC, DEV, PTS])
    assert set(result.mounts) == {"/", "/proc", "/dev", "/dev/pts"}
    assert "/" in result.lines
    assert "root" in result.lines


def test_read_only_root(rig: Rig) -> None:
    result = rig.run(
        f"pwd; touch /x || echo refused; touch /tmp/x && echo writable; ls -d /work/here; {SHOW}",
        [PROC, tmpfs("/tmp")],
        read_only=True,
        cwd="/work/here",
    )
    assert result.out.count("refused") == 1
    assert "writable" in result.lines
    assert "/work/here" in result.lines
    assert "ro" in result.mounts["/"].options


def test_read_only_comes_after_what_hooks_do(rig: Rig) -> None:
    def hook(p: Program, root: Root) -> None:
        p.mkdirat(root.fd, "by-hook", 0o755)
        p.mkdirat(root.fd, "t/by-hook", 0o755)

    result = rig.run(
        "ls -d /by-hook /t/by-hook; touch /t/x || echo refused",
        [tmpfs("/t", "ro"), tmpfs("/t/sub")],
        read_only=True,
        before_leave=hook,
    )
    assert result.lines[:2] == ["/by-hook", "/t/by-hook"]
    assert result.lines[-1] == "refused"


def test_flags_of_the_rootfs_mount_are_kept(rig: Rig) -> None:
    subprocess.run(["mount", "--bind", rig.root, rig.root], check=True)
    subprocess.run(["mount", "-o", "remount,bind,nosuid,nodev", rig.root], check=True)
    try:
        found = rig.run(SHOW, [PROC], read_only=True).mounts["/"]
    finally:
        subprocess.run(["umount", rig.root], check=True)
    assert found.options >= {"ro", "nosuid", "nodev"}


def test_rootfs_with_mounts_below_it(rig: Rig) -> None:
    (rig.root / "sub").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "t", rig.root / "sub"], check=True)
    try:
        assert "/sub" in rig.run(SHOW, [PROC]).mounts
        assert os.path.ismount(rig.root / "sub")
    finally:
        subprocess.run(["umount", rig.root / "sub"], check=True)


def test_no_pivot(rig: Rig) -> None:
    host = Path("/proc/self/mountinfo").read_text()
    escape = "mkdir /esc; chroot /esc /bin/true; cat /proc/1/root/etc/passwd | head -1"
    result = rig.run(f"ls /; {escape}", [PROC, DEV], no_pivot=True)
    assert "bin" in result.lines
    assert any(line.startswith("root:") for line in result.lines)
    assert Path("/proc/self/mountinfo").read_text() == host
    with pytest.raises(ConfigError, match="pivot") as caught:
        rig.run("true", [], no_pivot=True, rootfsPropagation="rprivate")
    assert caught.value.pointer == "/linux/rootfsPropagation"


@pytest.mark.parametrize("no_pivot", [False, True])
@pytest.mark.parametrize("userns", [False, True])
def test_no_way_up(rig: Rig, tmp: Path, no_pivot: bool, userns: bool) -> None:
    """The classic: chroot below while the working directory stays above, then climb."""
    (tmp / "marker").touch()
    if userns:
        rig.hand_over()

    def climb(p: Program) -> None:
        p.mkdirat(-100, "/below", 0o755)
        p.chroot("/below")
        for _ in range(20):
            p.chdir("..")
        p.chroot(".")

    result = rig.run(
        f"ls -d {tmp}/marker /bin/busybox",
        [PROC, DEV],
        after_leave=climb,
        no_pivot=no_pivot,
        userns=userns,
    )
    assert "/bin/busybox" in result.lines
    assert f"{tmp}/marker" not in result.lines


def test_no_pivot_proves_no_full_proc(rig: Rig) -> None:
    """A user namespace made inside may mount a new procfs only if a full one is to be seen."""
    script = "unshare -U -r -m -p -f mount -t proc p /tmp && echo fresh; echo end"
    for full_mounts, expected in (((), ["fresh", "end"]), (("/proc", "/sys"), ["end"])):
        rig.full_mounts = full_mounts
        result = rig.run(script, [PROC, DEV], no_pivot=True, maskedPaths=["/proc/sys"])
        assert [line for line in result.lines if line in ("fresh", "end")] == expected


def test_no_pivot_in_a_user_namespace(rig: Rig) -> None:
    rig.hand_over()
    assert "bin" in rig.run("ls /", [PROC, DEV], userns=True, no_pivot=True).lines


def test_without_a_mount_namespace(rig: Rig) -> None:
    host = Path("/proc/self/mountinfo").read_text()
    result = rig.run("ls -d /bin/busybox; pwd; ls /dev/null", [], namespaces=("pid",))
    assert result.lines[0] == "/bin/busybox"
    assert Path("/proc/self/mountinfo").read_text() == host
    with pytest.raises(ConfigError) as caught:
        rig.run("true", [], namespaces=("pid",), read_only=True)
    assert caught.value.pointer == "/root/readonly"


def test_binds_without_a_mount_namespace_are_the_hosts_own(rig: Rig, tmp: Path) -> None:
    (tmp / "volume").mkdir()
    try:
        rig.run("ls /v", [bind(tmp / "volume", "/v", "rbind")], namespaces=("pid",))
        lines = Path("/proc/self/mountinfo").read_text().splitlines()
        (found,) = [line for line in lines if f" {rig.root}/v " in line]
        # a mount below the source must not show here
        subprocess.run(["mount", "-t", "tmpfs", "t", rig.root / "v"], check=True)
        assert not os.path.ismount(tmp / "volume")
    finally:
        while f" {rig.root}/v " in Path("/proc/self/mountinfo").read_text():
            subprocess.run(["umount", rig.root / "v"], check=True)
    assert "/volume" in found


def test_a_thousand_binds(rig: Rig, tmp: Path) -> None:
    (tmp / "source").mkdir()
    mounts = [bind(tmp / "source", f"/m/{i}", "rbind", "rprivate", "ro") for i in range(1000)]
    bare = rig.run("true", [PROC])
    result = rig.run(SHOW, [PROC, *mounts])
    assert len([m for m in result.mounts if m.startswith("/m/")]) == 1000
    # 6 to bind, 3 because there is a procfs, 2 for the options
    assert (result.ops - bare.ops) / 1000 <= 11
    assert (rig.run("true", [bind(tmp, "/m")]).ops - rig.run("true", []).ops) <= 8
    assert len(rig.run(SHOW, [PROC, *(tmpfs(f"/t/{i}") for i in range(300))]).mounts) == 302
