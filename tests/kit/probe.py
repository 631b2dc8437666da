"""The probe: a static program in the container's root that says what it sees."""

import json
import shutil
from pathlib import Path
from typing import Any

from . import build
from .container import Container, mounts

PATH = "/inside_probe"
CAPABILITY_NUMBERS = {
    "CAP_CHOWN": 0,
    "CAP_DAC_OVERRIDE": 1,
    "CAP_KILL": 5,
    "CAP_SETUID": 7,
    "CAP_NET_BIND_SERVICE": 10,
    "CAP_NET_RAW": 13,
    "CAP_SYS_CHROOT": 18,
    "CAP_SYS_ADMIN": 21,
    "CAP_AUDIT_WRITE": 29,
}


def install(root: Path) -> None:
    """Put the probe into a root file system."""
    shutil.copy(build.program("inside_probe"), root / PATH[1:])
    (root / PATH[1:]).chmod(0o755)


class Report:
    """What the probe printed; `status` are the fields of /proc/self/status."""

    def __init__(self, text: str) -> None:
        self.all: dict[str, Any] = json.loads(text)
        status = self.all.get("status") or ""
        self.status = {
            name: value.strip()
            for name, _, value in (line.partition(":") for line in status.splitlines())
        }

    def __getitem__(self, name: str) -> Any:
        return self.all[name]

    @property
    def env(self) -> dict[str, str]:
        return dict(entry.split("=", 1) for entry in self.all["env"])

    @property
    def mounts(self) -> list[dict[str, Any]]:
        return mounts(self.all["mountinfo"])

    def capabilities(self, kind: str) -> set[str]:
        """`kind` is Inh, Prm, Eff, Bnd or Amb; numbers without a name here stay numbers."""
        mask = int(self.status[f"Cap{kind}"], 16)
        names = {number: name for name, number in CAPABILITY_NUMBERS.items()}
        return {names.get(bit, str(bit)) for bit in range(64) if mask >> bit & 1}


def run(container: Container, *options: object, **more: Any) -> Report:
    """Let the probe be the container's process, and wait for its report."""
    install(container.rootfs)
    container.process["args"] = [PATH]
    return Report(container.run(*options, **more).ok().out)


def exec(container: Container, *options: object, **more: Any) -> Report:
    """Let the probe enter a running container with `exec`."""
    install(container.rootfs)
    return Report(container.exec(*options, "--", PATH, **more).ok().out)


def writable(container: Container, *directories: str) -> list[str]:
    """Run the probe as the container's process: which files there can it open for writing?"""
    install(container.rootfs)
    container.process["args"] = [PATH, *directories]
    found: list[str] = json.loads(container.run().ok().out)["writable"]
    return found
