"""The mounts of config.json: each type, each option, as the kernel reports them."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from kit import config, probe
from kit.container import Container, mount_at

# option → what mountinfo says of it, for the mount itself
MOUNT_OPTIONS = [
    ("ro", "ro"),
    ("nosuid", "nosuid"),
    ("nodev", "nodev"),
    ("noexec", "noexec"),
    ("noatime", "noatime"),
    ("nodiratime", "nodiratime"),
    ("relatime", "relatime"),
    ("nosymfollow", "nosymfollow"),
]
CLEARING = [("rw", "ro"), ("suid", "nosuid"), ("dev", "nodev"), ("exec", "noexec")]


def mounted(container: Container, target: str) -> dict[str, object]:
    """The mount at `target` as the container's process sees it."""
    return mount_at(probe.run(container).mounts, target)


@pytest.fixture
def source(tmp: Path) -> Path:
    """A directory to bind, with a file and a directory in it."""
    found = tmp / "source"
    (found / "sub").mkdir(parents=True)
    (found / "file").write_text("of the source")
    (found / "sub/file").write_text("of the source's sub")
    return found


@pytest.mark.parametrize(("option", "shown"), MOUNT_OPTIONS)
@pytest.mark.parametrize("kind", ["tmpfs", "bind"])
def test_an_option(container: Container, source: Path, kind: str, option: str, shown: str) -> None:
    if option == "nosymfollow" and not container.runtime.is_kaa:
        pytest.skip("nosymfollow came with runc 1.2")
    if kind == "tmpfs":
        container.mounts.append(config.tmpfs("/m", option))
    else:
        container.mounts.append(config.bind(source, "/m", option))
    options = mounted(container, "/m")["options"]
    assert isinstance(options, set)
    assert shown in options


@pytest.mark.parametrize(("option", "cleared"), CLEARING)
def test_an_option_that_clears(container: Container, option: str, cleared: str) -> None:
    container.mounts.append(config.tmpfs("/m", cleared, option))
    options = mounted(container, "/m")["options"]
    assert isinstance(options, set)
    assert cleared not in options


def test_atime_options_exclude_each_other(container: Container) -> None:
    container.mounts.append(config.tmpfs("/m", "strictatime"))
    options = mounted(container, "/m")["options"]
    assert isinstance(options, set)
    assert not {"relatime", "noatime"} & options


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        (["size=64k", "mode=1770", "nr_inodes=100"], {"size=64k", "mode=1770", "nr_inodes=100"}),
        (["uid=5", "gid=6"], {"uid=5", "gid=6"}),
    ],
)
def test_tmpfs_data(container: Container, options: list[str], shown: set[str]) -> None:
    container.mounts.append(config.tmpfs("/m", *options))
    found = mounted(container, "/m")
    superblock = found["super"]
    assert isinstance(superblock, set)
    assert shown <= superblock
    assert found["type"] == "tmpfs"


def test_a_tmpfs_has_the_mode_it_is_given(container: Container) -> None:
    container.mounts.append(config.tmpfs("/m", "mode=0751"))
    assert container.script("stat -c %a /m").run().ok().out == "751\n"


@pytest.mark.kaa_only("runc 1.1 reports nothing useful")
def test_an_unknown_option_is_named(container: Container) -> None:
    container.mounts.append(config.tmpfs("/m", "no_such_option=1"))
    result = container.run().failed("no_such_option")
    assert "/m" in result.err or "mounts" in result.err


def test_a_bind_of_a_directory(container: Container, source: Path) -> None:
    container.mounts.append(config.bind(source, "/deep/er/vol"))
    container.script("cat /deep/er/vol/file /deep/er/vol/sub/file; echo w > /deep/er/vol/new")
    assert container.run().ok().out == "of the sourceof the source's sub"
    assert (source / "new").read_text() == "w\n"


def test_a_bind_of_a_file(container: Container, source: Path) -> None:
    container.mounts.append(config.bind(source / "file", "/etc/made/file", "ro"))
    result = container.script("cat /etc/made/file; echo w > /etc/made/file").run()
    assert result.out == "of the source"
    assert "read-only" in result.err.lower()
    assert (source / "file").read_text() == "of the source"


def test_a_relative_source_is_below_the_bundle(container: Container) -> None:
    (container.bundle / "data").mkdir()
    (container.bundle / "data/file").write_text("relative")
    container.mounts.append(config.bind("data", "/vol"))
    assert container.script("cat /vol/file").run().ok().out == "relative"


def test_a_missing_source(container: Container, nothing_is_left: Callable[[], None]) -> None:
    container.mounts.append(config.bind("/no/such/source", "/vol"))
    container.run().failed("/no/such/source")
    nothing_is_left()


@pytest.mark.parametrize("kind", ["bind", "rbind"])
def test_read_only_binds_are_read_only(container: Container, source: Path, kind: str) -> None:
    mount = config.bind(source, "/vol", "ro")
    mount["options"][0] = kind
    container.mounts.append(mount)
    result = container.script("echo x > /vol/file; echo x > /vol/new; rm /vol/file").run()
    assert result.err.lower().count("read-only") == 3
    assert (source / "file").read_text() == "of the source"


def test_bind_leaves_submounts_out_and_rbind_takes_them(container: Container, source: Path) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "sub", str(source / "sub")], check=True)
    try:
        (source / "sub/covered").touch()
        bind, rbind = config.bind(source, "/one"), config.bind(source, "/all")
        bind["options"] = ["bind"]
        container.mounts.extend([bind, rbind])
        shown = container.script("ls /one/sub /all/sub").run().ok().out
        assert shown.split() == ["/all/sub:", "covered", "/one/sub:", "file"]
    finally:
        subprocess.run(["umount", str(source / "sub")], check=True)


@pytest.mark.kaa_only("recursive options came with runc 1.2")
@pytest.mark.parametrize(
    ("option", "shown"),
    [("rro", "ro"), ("rnosuid", "nosuid"), ("rnodev", "nodev"), ("rnoexec", "noexec")],
)
def test_recursive_options_reach_submounts(
    container: Container, source: Path, option: str, shown: str
) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "sub", str(source / "sub")], check=True)
    try:
        container.mounts.append(config.bind(source, "/vol", option))
        found = probe.run(container).mounts
        assert shown in mount_at(found, "/vol")["options"]
        assert shown in mount_at(found, "/vol/sub")["options"]
    finally:
        subprocess.run(["umount", str(source / "sub")], check=True)


@pytest.mark.parametrize(
    ("option", "shown"),
    [
        ("rprivate", ""),
        ("private", ""),
        ("rslave", "master:"),
        ("slave", "master:"),
        ("rshared", "shared:"),
        ("shared", "shared:"),
        ("runbindable", "unbindable"),
        ("unbindable", "unbindable"),
    ],
)
def test_propagation_of_a_mount(
    container: Container, source: Path, option: str, shown: str
) -> None:
    """`source` is on a shared mount (see hostns), so that slave has a master."""
    container.linux["rootfsPropagation"] = "rslave"
    container.mounts.append(config.bind(source, "/vol", option))
    propagation = " ".join(mounted(container, "/vol")["propagation"])  # type: ignore[arg-type]
    assert shown in propagation if shown else propagation == ""


def test_a_mount_of_the_container_never_appears_on_the_host(
    container: Container, source: Path
) -> None:
    """`/` is shared; a tmpfs below a bind must not propagate to the host."""
    container.mounts.extend([config.bind(source, "/vol"), config.tmpfs("/vol/sub")])
    assert container.script("touch /vol/sub/x; ls /vol/sub").run().ok().out == "x\n"
    container.create().ok()
    assert str(source) not in Path("/proc/self/mountinfo").read_text()
    assert os.listdir(source / "sub") == ["file"]


def test_a_mount_of_the_host_reaches_a_slave(container: Container, source: Path) -> None:
    container.mounts.append(config.bind(source, "/vol", "rslave"))
    container.sleeping()
    subprocess.run(["mount", "-t", "tmpfs", "late", str(source / "sub")], check=True)
    try:
        assert any(m["target"] == "/vol/sub" for m in container.mountinfo())
    finally:
        subprocess.run(["umount", str(source / "sub")], check=True)


def test_a_mount_of_the_host_does_not_reach_a_private_one(
    container: Container, source: Path
) -> None:
    container.mounts.append(config.bind(source, "/vol", "rprivate"))
    container.sleeping()
    subprocess.run(["mount", "-t", "tmpfs", "late", str(source / "sub")], check=True)
    try:
        assert not any(m["target"] == "/vol/sub" for m in container.mountinfo())
    finally:
        subprocess.run(["umount", str(source / "sub")], check=True)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("private", ""),
        ("rprivate", ""),
        ("slave", "master:"),
        ("rslave", "master:"),
        ("unbindable", "unbindable"),
        ("shared", "shared:"),
    ],
)
def test_rootfs_propagation(container: Container, value: str, shown: str) -> None:
    if value in ("unbindable", "shared") and not container.runtime.is_kaa:
        pytest.skip(f"runc 1.1 cannot make the root {value}")
    container.linux["rootfsPropagation"] = value
    propagation = " ".join(mounted(container, "/")["propagation"])  # type: ignore[arg-type]
    assert shown in propagation if shown else propagation == ""


def test_proc(container: Container) -> None:
    container.script("stat -f -c %t /proc; ls /proc | grep -c '^[0-9]'")
    magic, processes = container.run().ok().out.split()
    assert magic == "9fa0"
    assert int(processes) <= 4


def test_mqueue_and_devpts_and_sysfs(container: Container) -> None:
    found = {m["target"]: m for m in probe.run(container).mounts}
    assert found["/dev/mqueue"]["type"] == "mqueue"
    assert found["/sys"]["type"] == "sysfs"
    assert "ro" in found["/sys"]["options"]
    pts = found["/dev/pts"]
    assert pts["type"] == "devpts"
    assert {"gid=5", "mode=620", "ptmxmode=666"} <= pts["super"]
    assert {"nosuid", "noexec"} <= pts["options"]


def test_overlay(container: Container, tmp: Path) -> None:
    for name in ("lower1", "lower2", "upper", "work"):
        (tmp / name).mkdir()
    (tmp / "lower1/one").touch()
    (tmp / "lower2/two").touch()
    container.mounts.append(
        {
            "destination": "/over",
            "type": "overlay",
            "source": "overlay",
            "options": [
                f"lowerdir={tmp}/lower1:{tmp}/lower2",
                f"upperdir={tmp}/upper",
                f"workdir={tmp}/work",
            ],
        }
    )
    shown = container.script("ls /over; echo x > /over/three").run().ok().out
    assert shown.split() == ["one", "two"]
    assert (tmp / "upper/three").read_text() == "x\n"


def test_an_overlay_with_very_many_layers(container: Container, tmp: Path) -> None:
    """fsconfig(2) takes no value of 256 bytes; the mount must work all the same."""
    names = [f"a-layer-with-quite-a-long-name-{number:02}" for number in range(12)]
    for name in names:
        (tmp / name).mkdir()
        (tmp / name / name[-2:]).touch()
    layers = ":".join(f"{tmp}/{name}" for name in names)
    container.mounts.append(
        {
            "destination": "/over",
            "type": "overlay",
            "source": "overlay",
            "options": [f"lowerdir={layers}", "ro"],
        }
    )
    shown = container.script("ls /over").run().ok().out
    assert shown.split() == [f"{number:02}" for number in range(12)]


@pytest.mark.parametrize("namespace", [True, False])
@pytest.mark.parametrize("option", ["ro", "rw"])
def test_cgroup(container: Container, namespace: bool, option: str) -> None:
    if namespace:
        config.set_namespace(container.config, "cgroup")
    container.mounts.append(
        {
            "destination": "/sys/fs/cgroup",
            "type": "cgroup",
            "source": "cgroup",
            "options": ["nosuid", "noexec", "nodev", "relatime", option],
        }
    )
    container.script(
        "cd /sys/fs/cgroup; d=$(test -d pids && echo pids || echo .); cat $d/cgroup.procs; "
        "echo max > $d/pids.max && echo wrote; true"
    )
    result = container.run().ok()
    assert "1" in result.out.split(), "its own process is not in the cgroup it sees"
    assert ("wrote" in result.out) == (option == "rw"), result.err


def test_tmpcopyup(container: Container) -> None:
    (container.rootfs / "data/sub").mkdir(parents=True)
    (container.rootfs / "data/sub/file").write_text("copied up")
    (container.rootfs / "data/sub/file").chmod(0o640)
    container.mounts.append(config.tmpfs("/data", "tmpcopyup"))
    container.script("cat /data/sub/file; stat -c %a /data/sub/file; echo x > /data/new")
    assert container.run().ok().out == "copied up640\n"
    assert os.listdir(container.rootfs / "data") == ["sub"]


def test_order_of_mounts_is_the_configs(container: Container) -> None:
    """What is mounted later lies on top, and below what was mounted before."""
    sizes = {"size=64k": "/a", "size=128k": "/a/b/c", "size=256k": "/a/b/c"}
    container.mounts.extend(config.tmpfs(target, size) for size, target in sizes.items())
    found = [m for m in probe.run(container).mounts if m["target"].startswith("/a")]
    assert [m["target"] for m in found] == ["/a", "/a/b/c", "/a/b/c"]
    for size, mount in zip(sizes, found, strict=True):
        assert size in mount["super"]
