"""maskedPaths and readonlyPaths."""

import os
import stat
from pathlib import Path

import pytest
from kit.hostcanary import HostCanary

from kaa.errors import ConfigError

from .rig import DEV, PROC, SYS, Rig, bind, tmpfs

SHOW = "cat /proc/self/mountinfo"


@pytest.mark.parametrize("userns", [False, True])
def test_masked(rig: Rig, userns: bool) -> None:
    (rig.root / "secret").mkdir()
    (rig.root / "secret/f").write_text("hidden")
    (rig.root / "file").write_text("hidden")
    (rig.root / "link").symlink_to("/file2")
    (rig.root / "file2").write_text("hidden")
    if userns:
        rig.hand_over()
    null = os.stat("/dev/null")
    result = rig.run(
        "cat /file /link /file2 /secret/f /proc/version; ls /secret; ls /; touch /secret/x;"
        "chmod 777 /file; chown 5 /file; echo x > /file; rm /file; rm -r /secret; echo end;" + SHOW,
        [PROC, DEV],
        userns=userns,
        maskedPaths=[
            "/file", "/secret", "/link", "/proc/version", "/gone", "/file/below", "/secret/",
        ],
    )  # fmt: skip
    assert "hidden" not in result.out
    for name in ("/file", "/file2", "/secret", "/proc/version"):
        assert "ro" in result.mounts[name].options
    assert (rig.root / "file").read_text() == "hidden"
    assert (rig.root / "secret/f").read_text() == "hidden"
    assert os.stat("/dev/null")[:6] == null[:6]
    # the root is no longer covered by what the masks were made of
    assert "bin" in result.lines
    assert len([line for line in result.lines if " - " in line]) == len(result.mounts)


def test_the_images_dev_null_is_not_used(rig: Rig, canary: HostCanary, tmp: Path) -> None:
    target = tmp / "canary/target"
    for make in (
        lambda path: path.symlink_to("/proc/sys/kernel/core_pattern"),
        lambda path: path.write_text("regular"),
        lambda path: path.symlink_to(target),
        lambda path: os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 5)),
        lambda path: None,
    ):
        dev = tmp / "fakedev"
        dev.mkdir()
        make(dev / "null")
        result = rig.run(
            f"stat -c %t:%T /proc/uptime; {SHOW}",
            [PROC, bind(dev, "/dev", "rbind")],
            maskedPaths=["/proc/uptime"],
        )
        assert result.lines[0] == "1:3"
        assert "core_pattern" not in result.mounts["/proc/uptime"].root
        if os.path.lexists(dev / "null"):
            (dev / "null").unlink()
        dev.rmdir()


def test_read_only(rig: Rig) -> None:
    (rig.root / "d/sub").mkdir(parents=True)
    (rig.root / "f").touch()
    result = rig.run(
        f"{SHOW}; touch /d/x || echo refused; echo x > /f || echo refused; "
        "touch /d/sub/x && echo submount; echo 1 > /proc/sys/kernel/printk || echo refused",
        [PROC, SYS, bind("/etc", "/flags", "bind", "nosuid", "nodev", "noexec"), tmpfs("/d/sub")],
        readonlyPaths=["/d", "/f", "/proc/sys", "/flags", "/gone", "/f/below", "/d/"],
    )
    assert result.out.count("refused") == 3
    assert "submount" in result.lines
    assert result.mounts["/flags"].options >= {"ro", "nosuid", "nodev", "noexec"}
    lines = [line for line in result.lines if " /d " in line]
    assert len(lines) == 1


def test_hundreds_are_cheap(rig: Rig) -> None:
    many = rig.root / "many"
    many.mkdir()
    for number in range(300):
        (many / f"d{number}").mkdir()
        (many / f"f{number}").touch()
    masked = [f"/many/{kind}{number}" for number in range(300) for kind in "df"]
    bare = rig.run("true", [PROC])
    result = rig.run(f"{SHOW}; cat /dev/null", [PROC], maskedPaths=masked)
    assert {path for path in result.mounts if path.startswith("/many/")} == set(masked)
    assert (result.ops - bare.ops) / len(masked) < 10


@pytest.mark.parametrize("name", ["maskedPaths", "readonlyPaths"])
def test_the_root_cannot_be_covered(rig: Rig, name: str) -> None:
    with pytest.raises(ConfigError) as caught:
        rig.run("true", [PROC], **{name: ["/x", "/x/.."]})  # type: ignore[arg-type]
    assert caught.value.pointer == f"/linux/{name}/1"


def test_without_a_mount_namespace(rig: Rig) -> None:
    from kaa.compile import masks
    from kaa.compile.root import Root
    from kaa.program.program import Program, Slot

    for name in ("maskedPaths", "readonlyPaths"):
        inputs = rig.inputs([], namespaces=("pid",))
        inputs.config["linux"][name] = ["/proc/version"]
        with pytest.raises(ConfigError) as caught:
            masks.mask(Program(), inputs, Root(Slot(0)))
        assert caught.value.pointer == f"/linux/{name}"
