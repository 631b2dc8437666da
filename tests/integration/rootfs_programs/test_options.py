"""Mount options, as the kernel shows them to the container."""

import subprocess
from pathlib import Path

import pytest

from kaa.errors import ConfigError, SyscallError

from .rig import PROC, SYS, Rig, bind, tmpfs

SHOW = "cat /proc/self/mountinfo"


@pytest.mark.parametrize(
    ("options", "present", "absent"),
    [
        ([], {"rw", "relatime"}, {"nosuid", "nodev", "noexec"}),
        (["defaults"], {"rw", "relatime"}, {"noatime"}),
        (["nosuid", "nodev", "noexec"], {"nosuid", "nodev", "noexec"}, set()),
        (["nosuid", "suid"], set(), {"nosuid"}),
        (["ro"], {"ro"}, {"rw"}),
        (["ro", "rw"], {"rw"}, {"ro"}),
        (["noatime"], {"noatime"}, {"relatime"}),
        (["noatime", "atime"], {"relatime"}, {"noatime"}),
        (["noatime", "relatime"], {"relatime"}, {"noatime"}),
        (["strictatime"], set(), {"relatime", "noatime"}),
        (["strictatime", "nostrictatime"], {"relatime"}, set()),
        (["relatime", "norelatime"], {"relatime"}, set()),
        (["nodiratime"], {"nodiratime"}, set()),
        (["nosymfollow"], {"nosymfollow"}, set()),
        (["rnosuid", "rro", "rnoatime"], {"nosuid", "ro", "noatime"}, set()),
    ],
)
@pytest.mark.parametrize("kind", ["bind", "tmpfs"])
def test_attributes(
    rig: Rig, kind: str, options: list[str], present: set[str], absent: set[str]
) -> None:
    mount = bind("/etc", "/x", "bind", *options) if kind == "bind" else tmpfs("/x", *options)
    found = rig.run(SHOW, [PROC, mount]).mounts["/x"].options
    assert present <= found
    assert not absent & found


@pytest.mark.parametrize(
    "options", [["sync", "dirsync"], ["lazytime"], ["silent"], ["iversion"], ["loud", "noiversion"]]
)
def test_options_of_the_filesystem(rig: Rig, options: list[str]) -> None:
    found = rig.run(SHOW, [PROC, tmpfs("/x", "size=1m", "nosuid", *options)]).mounts["/x"]
    assert found.kind == "tmpfs"
    assert found.options >= {"nosuid"}
    assert found.super_options >= {"size=1024k"} | ({*options} & {"sync", "dirsync", "lazytime"})


def test_tmpfs_data(rig: Rig) -> None:
    mount = tmpfs("/x", "size=64k,nr_inodes=50", "mode=1711", "uid=7", "gid=8")
    result = rig.run(f"{SHOW}; stat -c '%a %u %g' /x", [PROC, mount])
    assert result.mounts["/x"].super_options >= {"size=64k", "nr_inodes=50"}
    assert result.lines[-1] == "1711 7 8"


def test_unknown_option_is_named_by_the_kernel(rig: Rig) -> None:
    with pytest.raises(SyscallError, match="Unknown parameter 'colour'") as caught:
        rig.run("true", [PROC, tmpfs("/x", "colour=red")])
    assert caught.value.pointer == "/mounts/1"
    assert not (rig.root / "x").exists()


def test_clearing_options_clear_what_the_source_has(rig: Rig, tmp: Path) -> None:
    strict = tmp / "strict"
    strict.mkdir()
    options = "ro,nosuid,nodev,noexec,noatime"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "t", strict], check=True)
    try:
        result = rig.run(
            SHOW,
            [
                PROC,
                bind(strict, "/kept", "bind"),
                bind(strict, "/loose", "bind", "rw", "suid", "dev", "exec", "atime"),
            ],
        )
    finally:
        subprocess.run(["umount", strict], check=True)
    assert result.mounts["/kept"].options >= {"ro", "nosuid", "nodev", "noexec", "noatime"}
    assert result.mounts["/loose"].options == {"rw", "relatime"}


def test_recursive_attributes_reach_submounts(rig: Rig, tmp: Path) -> None:
    (tmp / "top/sub").mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "t", tmp / "top/sub"], check=True)
    try:
        result = rig.run(
            f"{SHOW}; touch /deep/sub/x; touch /flat/sub/x && echo wrote",
            [
                PROC,
                bind(tmp / "top", "/deep", "rbind", "rro"),
                bind(tmp / "top", "/flat", "rbind", "ro"),
            ],
        )
    finally:
        subprocess.run(["umount", tmp / "top/sub"], check=True)
    assert "ro" in result.mounts["/deep/sub"].options
    assert "ro" in result.mounts["/flat"].options
    assert "rw" in result.mounts["/flat/sub"].options
    assert "touch: /deep/sub/x: Read-only file system" in result.out
    assert "wrote" in result.out


def test_bind_leaves_submounts_out_and_rbind_takes_them(rig: Rig, tmp: Path) -> None:
    (tmp / "top/sub").mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "t", tmp / "top/sub"], check=True)
    try:
        found = rig.run(SHOW, [PROC, bind(tmp / "top", "/one"), bind(tmp / "top", "/all", "rbind")])
    finally:
        subprocess.run(["umount", tmp / "top/sub"], check=True)
    assert "/one/sub" not in found.mounts
    assert "/all/sub" in found.mounts


def test_remount_changes_the_mount_and_its_filesystem(rig: Rig) -> None:
    result = rig.run(
        SHOW,
        [
            PROC,
            tmpfs("/x", "size=1m"),
            {"destination": "/x", "options": ["remount", "nosuid", "size=2m"]},
            tmpfs("/y"),
            {"destination": "/y", "options": ["remount", "bind", "ro", "noexec"]},
        ],
    )
    assert result.mounts["/x"].options >= {"nosuid", "rw"}
    assert result.mounts["/x"].super_options >= {"size=2048k"}
    assert result.mounts["/y"].options >= {"ro", "noexec"}


def test_overlay_with_a_long_option(rig: Rig, tmp: Path) -> None:
    layers = [tmp / f"layer{i}{'x' * 90}" for i in range(6)]
    for number, layer in enumerate(layers):
        layer.mkdir()
        (layer / f"f{number}").touch()
    for name in ("upper", "work"):
        (tmp / name).mkdir()
    lower = "lowerdir=" + ":".join(map(str, layers))
    mount = {
        "destination": "/x",
        "type": "overlay",
        "source": "overlay",
        "options": [lower, f"upperdir={tmp}/upper", f"workdir={tmp}/work", "nodev", "rprivate"],
    }
    result = rig.run(f"ls /x; {SHOW}", [PROC, mount])
    assert result.lines[:6] == [f"f{i}" for i in range(6)]
    assert result.mounts["/x"].kind == "overlay"
    assert "nodev" in result.mounts["/x"].options
    assert result.mounts["/x"].optional == ""


def test_proc_and_devpts_and_mqueue_options(rig: Rig) -> None:
    proc = {**PROC, "options": ["nosuid", "noexec", "hidepid=2", "subset=pid", "ro"]}
    mqueue = {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": ["ro"]}
    result = rig.run(f"{SHOW}; ls /proc", [proc, mqueue, SYS])
    assert result.mounts["/proc"].super_options >= {"hidepid=invisible", "subset=pid"}
    assert result.mounts["/proc"].options >= {"ro", "nosuid", "noexec"}
    assert result.mounts["/dev/mqueue"].options >= {"ro"}
    # another container in the same namespaces may have it writable
    assert result.mounts["/dev/mqueue"].super_options == {"rw"}
    assert result.mounts["/sys"].super_options == {"rw"}
    assert "cpuinfo" not in result.lines


@pytest.mark.parametrize(
    ("mount", "words"),
    [
        (bind("/etc", "/x", "bind", "size=1m"), "size=1m"),
        (tmpfs("/x", "idmap"), "only bind mounts"),
        ({"destination": "/x", "type": "bind", "source": "/etc"}, "bind or rbind"),
        ({"destination": "/x", "source": "/etc"}, "needs a type"),
        ({"destination": "/x", "type": "proc", "options": ["tmpcopyup"]}, "tmpcopyup"),
        (tmpfs("/x", "size=1\0m"), "null byte"),
        (tmpfs("/x\0y"), "null byte"),
        (bind("/et\0c", "/x"), "null byte"),
        (bind("", "/x"), "source"),
        (bind("/etc", "/x", "bind", "idmap"), "uidMappings"),
        ({**bind("/etc", "/x"), "uidMappings": [{}]}, "pairs"),
        (tmpfs("/proc"), "type proc"),
        (tmpfs("/proc/sys/kernel"), "inside /proc"),
        (bind("/etc", "/./proc//1/../self"), "inside /proc"),
        (tmpfs("/x", "silent", "mpol=" + "x" * 5000), "page"),
    ],
)
def test_nonsense_is_refused(rig: Rig, mount: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        rig.run("true", [PROC, mount])
    assert (caught.value.pointer or "").startswith("/mounts/1")
