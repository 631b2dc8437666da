"""What root inside a user namespace must not undo."""

import os
import subprocess
from pathlib import Path

import pytest
from kit import config
from kit.container import Container

ALL = ["CAP_SYS_ADMIN", "CAP_DAC_OVERRIDE", "CAP_CHOWN", "CAP_SYS_CHROOT"]


def _privileged(container: Container) -> None:
    """Root with every capability that mounts need, over the new user namespace only."""
    config.add_user_namespace(container.config)
    os.chown(container.rootfs, 200000, 200000)
    container.process["capabilities"] = dict.fromkeys(("bounding", "effective", "permitted"), ALL)
    container.process["noNewPrivileges"] = False


@pytest.mark.kaa_only("runc 1.1 sets the flags inside, where they can be cleared")
def test_a_read_only_bind_stays_read_only(container: Container, tmp: Path) -> None:
    """Its flags are locked: the mount came from a more privileged mount namespace."""
    source = tmp / "source"
    source.mkdir()
    (source / "file").write_text("kept")
    os.chown(source / "file", 200000, 200000)
    _privileged(container)
    container.mounts.append(config.bind(source, "/vol", "ro", "nosuid", "nodev"))
    container.script(
        "mount -o remount,bind,rw /vol; echo changed > /vol/file; "
        "mount -o remount,bind,ro,suid /vol && echo cleared; true"
    )
    result = container.run()
    assert (source / "file").read_text() == "kept"
    assert "cleared" not in result.out


def test_a_mount_below_a_bind_stays_covered(container: Container, tmp: Path) -> None:
    source = tmp / "source"
    (source / "sub").mkdir(parents=True)
    (source / "sub/secret").write_text("hidden by the mount")
    subprocess.run(["mount", "-t", "tmpfs", "cover", str(source / "sub")], check=True)
    try:
        _privileged(container)
        container.mounts.append(config.bind(source, "/vol", "ro"))
        container.script("umount /vol/sub; umount -l /vol/sub; ls /vol/sub")
        assert "secret" not in container.run().out
    finally:
        subprocess.run(["umount", str(source / "sub")], check=True)


def test_a_source_below_a_private_directory(container: Container, tmp: Path) -> None:
    """The host's root opens it; mapped root could not walk to it."""
    private = tmp / "private"
    (private / "source").mkdir(parents=True)
    (private / "source/file").write_text("there")
    private.chmod(0o700)
    _privileged(container)
    container.mounts.append(config.bind(private / "source", "/vol", "ro"))
    assert container.script("cat /vol/file").run().ok().out == "there"
