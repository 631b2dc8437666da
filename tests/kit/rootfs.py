"""Root file systems for the containers of the tests."""

import hashlib
import os
import shutil
import subprocess
from functools import cache
from pathlib import Path

from . import hostns
from .build import CACHE, Lock

USERS = """\
root:x:0:0:root:/root:/bin/sh
daemon:x:1:1::/usr/sbin:/bin/false
user:x:1000:1000::/home/user:/bin/sh
"""
GROUPS = "root:x:0:\ndaemon:x:1:\nusers:x:100:user\nuser:x:1000:\n"

DIRECTORIES = ("bin", "dev", "etc", "home/user", "proc", "root", "sys", "tmp", "usr/bin", "var/tmp")

DEBIAN_PACKAGES = "python3-minimal,redis-server,redis-tools,procps,iproute2"


def busybox(target: Path) -> Path:
    """A minimal root at `target`: busybox, its applets, passwd and group, empty mount points.

    Everything is a fresh copy, so that a hostile container harms only its own test.
    """
    for name in DIRECTORIES:
        (target / name).mkdir(parents=True, exist_ok=True)
    (target / "tmp").chmod(0o1777)
    target.chmod(0o755)
    shutil.copy(shutil.which("busybox") or "/bin/busybox", target / "bin/busybox")
    (target / "bin/busybox").chmod(0o755)
    for applet in _applets():
        (target / "bin" / applet).symlink_to("busybox")
    (target / "etc/passwd").write_text(USERS)
    (target / "etc/group").write_text(GROUPS)
    os.chown(target / "home/user", 1000, 1000)
    return target


@cache
def _applets() -> list[str]:
    listed = subprocess.run(["busybox", "--list"], capture_output=True, text=True, check=True)
    return [applet for applet in listed.stdout.split() if applet != "busybox"]


def debian() -> Path:
    """A debootstrap'ed Debian 12 with `DEBIAN_PACKAGES`, in the cache: to be used read-only.

    Use it as the lower layer of an overlay. Made once for each list of packages.
    """
    digest = hashlib.sha256(DEBIAN_PACKAGES.encode()).hexdigest()[:12]
    target = CACHE / f"debian-{digest}"
    with Lock("debian"):
        if not target.exists():
            fresh = CACHE / f"debian-{digest}.{os.getpid()}"
            shutil.rmtree(fresh, ignore_errors=True)
            include = f"--include={DEBIAN_PACKAGES}"
            made = subprocess.run(
                hostns.with_network(
                    ["debootstrap", "--variant=minbase", include, "bookworm", str(fresh)]
                ),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
            )
            if made.returncode:
                shutil.rmtree(fresh, ignore_errors=True)
                raise RuntimeError(f"debootstrap failed:\n{made.stdout[-4000:]}")
            fresh.rename(target)
    return target


class Overlay:
    """A throw-away writable view of `lower`, mounted at `root`; the layers are in `directory`."""

    def __init__(self, lower: Path, directory: Path, root: Path) -> None:
        self.root = root
        for path in (directory / "upper", directory / "work", root):
            path.mkdir(parents=True)
        options = f"lowerdir={lower},upperdir={directory}/upper,workdir={directory}/work"
        subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, str(root)], check=True)

    def close(self) -> None:
        subprocess.run(["umount", str(self.root)], check=True)
