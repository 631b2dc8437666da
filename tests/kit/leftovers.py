"""What a test must not leave behind on the machine."""

import gc
import os
import socket
import subprocess
import time
from pathlib import Path

from . import processes
from .container import CGROUPS

MARK = f"kt{os.getpid():x}-"
"""In every id, and so in every cgroup and state directory, of this run of pytest."""

STATE = (Path("/run/kaa"), Path("/run/runc"), Path("/run/crun"), Path("/run/netns"))
SETTINGS = (
    "/proc/sys/kernel/core_pattern",
    "/proc/sys/kernel/hostname",
    "/proc/sys/kernel/domainname",
    "/proc/sys/kernel/sysrq",
    "/proc/sys/net/ipv4/ip_forward",
    "/proc/sys/kernel/shmmax",
)


class Snapshot:
    """The host as it is now: everything that a container could leave something in."""

    def __init__(self) -> None:
        self.parts: dict[str, set[str]] = {
            "process": {text for pid in processes.ours() if (text := processes.describe(pid))},
            "cgroup": _cgroups(),
            "mount": set(Path("/proc/self/mountinfo").read_text().splitlines()),
            "link": {name for _, name in socket.if_nameindex()},
            "state": {str(path) for top in STATE if top.is_dir() for path in top.glob(f"*{MARK}*")},
            "descriptor": _descriptors(),
            "setting": {f"{path} = {_text(path)}" for path in SETTINGS},
            "device": {_device("/dev/null"), _device("/dev/zero"), _device("/dev/tty")},
        }

    def added(self, before: "Snapshot") -> list[str]:
        """What is here now and was not before."""
        return [
            f"{kind}: {item}"
            for kind, items in self.parts.items()
            for item in sorted(items - before.parts[kind])
        ]


def since(before: Snapshot, seconds: float = 3.0) -> list[str]:
    """What is left since `before`; waits a little for what is about to end."""
    end = time.monotonic() + seconds
    while True:
        left = Snapshot().added(before)
        if not left or time.monotonic() > end:
            return left
        gc.collect()
        time.sleep(0.05)


def sweep(before: Snapshot) -> None:
    """Remove what a failed test left, so that it fails alone."""
    known = before.parts["process"]
    processes.end([pid for pid in processes.ours() if processes.describe(pid) not in known])
    for path in sorted(_cgroups(), key=len, reverse=True):
        try:
            os.rmdir(path)
        except OSError:
            continue
    old = {line.split(" ")[0] for line in before.parts["mount"]}
    for line in reversed(Path("/proc/self/mountinfo").read_text().splitlines()):
        if line.split(" ")[0] not in old:
            subprocess.run(["umount", "-l", line.split(" ")[4]], capture_output=True, check=False)


def _cgroups() -> set[str]:
    """Cgroups of any hierarchy whose path has the mark (the tests' ids do).

    Not os.walk(): others make trees that are deeper than its recursion.
    """
    found = set()
    left = [str(CGROUPS)]
    while left:
        try:
            with os.scandir(left.pop()) as entries:
                below = [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
        except OSError:
            continue  # somebody else's: gone meanwhile, or with too long a path
        left += below
        found |= {path for path in below if MARK in path}
    return found


def _descriptors() -> set[str]:
    found = set()
    for name in os.listdir("/proc/self/fd"):
        try:
            found.add(f"{name} -> {os.readlink(f'/proc/self/fd/{name}')}")
        except FileNotFoundError:
            continue  # the one that listed the directory
    return found


def _text(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except FileNotFoundError:
        return "(absent)"


def _device(path: str) -> str:
    found = os.stat(path)
    return f"{path} {found.st_mode:o} {found.st_uid}:{found.st_gid} {found.st_rdev:x}"
