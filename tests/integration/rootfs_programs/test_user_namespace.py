"""With a user namespace: trees go through the stage, and stay locked."""

import os
import subprocess
from pathlib import Path

import pytest

from kaa.errors import SyscallError
from kaa.program.init import Init
from kaa.program.program import Program, Slot

from .rig import DEV, PROC, PTS, USERNS_BASE, Rig, bind, tmpfs

SHOW = "cat /proc/self/mountinfo"


@pytest.fixture
def mapped(rig: Rig) -> Rig:
    """A rig whose root belongs to the container's root."""
    rig.hand_over()
    return rig


def test_a_whole_container(mapped: Rig) -> None:
    result = mapped.run(
        f"id -u; {SHOW}; ls -l /dev; touch /new",
        [PROC, DEV, PTS, tmpfs("/tmp"), bind("/etc", "/e", "rbind", "ro")],
        userns=True,
        namespaces=("mount", "pid", "uts", "ipc", "network"),
        maskedPaths=["/proc/kcore", "/proc/acpi"],
        readonlyPaths=["/proc/sys"],
    )
    assert result.lines[0] == "0"
    assert result.mounts["/dev/null"].options >= {"nosuid", "noexec"}
    assert result.mounts["/proc/acpi"].kind == "tmpfs"
    assert "ro" in result.mounts["/proc/sys"].options
    assert not [m for m in result.mounts if "staging" in m]
    assert (mapped.root / "new").stat().st_uid == USERNS_BASE


def test_what_the_host_mounts_is_locked(mapped: Rig, tmp: Path) -> None:
    volume, covered = tmp / "vol", tmp / "vol/covered"
    covered.mkdir(parents=True)
    (covered / "secret").write_text("hidden")
    (volume / "file").write_text("host")
    (volume / "file").chmod(0o666)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=777,ro,nosuid", "t", covered], check=True)
    try:
        result = mapped.run(
            "for o in rw,nosuid,nodev ro,suid,nodev ro,nosuid,dev; do"
            "  mount -o remount,bind,$o /v && echo cleared $o; done;"
            "for o in rw,nosuid ro,suid; do"
            "  mount -o remount,bind,$o /v/covered && echo cleared $o; done;"
            "echo x > /v/file && echo wrote; echo x > /v/covered/x && echo wrote;"
            "umount /v/covered && echo uncovered; umount -l /v/covered && echo uncovered;"
            "mkdir /tmp/x; mount --bind /v /tmp/x; cat /tmp/x/covered/secret;"
            "mount -o remount,bind,ro,nosuid,nodev,noexec /v && echo stricter; umount /v; echo end",
            [PROC, tmpfs("/tmp"), bind(volume, "/v", "rbind", "ro", "nosuid", "nodev")],
            userns=True,
        )
    finally:
        subprocess.run(["umount", covered], check=True)
    assert result.lines[-1] == "end"
    assert "stricter" in result.lines  # so that the refusals above are not for another reason
    for word in ("cleared", "wrote", "uncovered", "hidden"):
        assert word not in result.out
    assert (volume / "file").read_text() == "host"


def test_a_locked_flag_cannot_be_cleared_by_the_config(mapped: Rig, tmp: Path) -> None:
    (tmp / "vol").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "t", tmp / "vol"], check=True)
    mounts = [PROC, bind(tmp / "vol", "/v", "rbind", "rw")]
    try:
        with pytest.raises(SyscallError, match="clear ro") as caught:
            mapped.run("true", mounts, userns=True, staged=False)
        # the stage is the host's root, which may
        assert "rw" in mapped.run(SHOW, mounts, userns=True).mounts["/v"].options
    finally:
        subprocess.run(["umount", tmp / "vol"], check=True)
    assert caught.value.pointer == "/mounts/1/options"
    assert "locked" in str(caught.value)


def test_without_a_stage_binds_must_be_recursive(mapped: Rig, tmp: Path) -> None:
    (tmp / "vol/sub").mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "t", tmp / "vol/sub"], check=True)
    try:
        with pytest.raises(SyscallError, match="use rbind") as caught:
            mapped.run("true", [bind(tmp / "vol", "/v", "bind")], userns=True, staged=False)
        mounts = [PROC, bind(tmp / "vol", "/v", "rbind")]
        assert "/v/sub" in mapped.run(SHOW, mounts, userns=True, staged=False).mounts
    finally:
        subprocess.run(["umount", tmp / "vol/sub"], check=True)
    assert caught.value.pointer == "/mounts/0/source"


def test_sources_below_forbidden_directories(mapped: Rig, tmp: Path) -> None:
    (tmp / "private/vol").mkdir(parents=True)
    (tmp / "private/vol/f").touch()
    (tmp / "private/file").write_text("text\n")
    (tmp / "private/file").chmod(0o644)
    (tmp / "private").chmod(0o700)
    result = mapped.run(
        "ls /v; cat /f",
        [bind(tmp / "private/vol", "/v"), bind(tmp / "private/file", "/f"), tmpfs("/t")],
        userns=True,
    )
    assert result.lines == ["f", "text"]


def user_namespace(init: Init, base: int) -> Slot:
    """A user namespace that maps 0 to `base`, opened in the stage."""
    child = os.fork()
    if child == 0:
        os.execvp("unshare", ["unshare", "-U", "sleep", "30"])
    try:
        while os.readlink(f"/proc/{child}/ns/user") == os.readlink("/proc/self/ns/user"):
            os.sched_yield()
        for name in ("uid_map", "gid_map"):
            Path(f"/proc/{child}/{name}").write_text(f"0 {base} 65536\n")
        p = Program(init.slots)
        slot: Slot = p.openat(-100, f"/proc/{child}/ns/user", os.O_RDONLY | os.O_CLOEXEC, 0)
        init.run(p)
        return slot
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)


@pytest.mark.parametrize("userns", [False, True])
@pytest.mark.parametrize("how", ["option", "mappings"])
def test_id_mapped_bind(mapped: Rig, tmp: Path, userns: bool, how: str) -> None:
    (tmp / "vol/sub").mkdir(parents=True)
    os.chown(tmp / "vol", 7, 7)
    # idmapped: what 0+n is on disk is base+n to the host, so n within the container's own map
    base = USERNS_BASE if userns else 5000
    mount = bind(tmp / "vol", "/v", "rbind", *(["ridmap"] if how == "option" else []))
    if how == "mappings":
        mount |= {"uidMappings": [{}], "gidMappings": [{}]}
    result = mapped.run(
        "stat -c %u /v /v/sub",
        [mount],
        userns=userns,
        userns_of=lambda init: (lambda slot: lambda _: slot)(user_namespace(init, base)),
    )
    assert result.lines == (["7", "0"] if userns else ["5007", "5000"])


def test_sysfs_without_a_network_namespace_is_the_hosts(mapped: Rig) -> None:
    sysfs = {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "ro"]}
    result = mapped.run(f"{SHOW}; mkdir /sys/kernel/x", [PROC, sysfs], userns=True)
    assert result.mounts["/sys"].options >= {"ro", "nosuid"}
    below = [m for path, m in result.mounts.items() if path.startswith("/sys/")]
    assert below
    assert all("ro" in m.options for m in below)


def test_sysfs_with_a_network_namespace_is_its_own(mapped: Rig) -> None:
    sysfs = {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["ro"]}
    namespaces = ("mount", "pid", "network")
    result = mapped.run(
        f"{SHOW}; ls /sys/class/net", [PROC, sysfs], userns=True, namespaces=namespaces
    )
    assert not [m for m in result.mounts if m.startswith("/sys/")]
    assert result.lines[-1] == "lo"
