"""One container of a test: a bundle, an id, and the commands on it."""

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from . import config, rootfs
from .runtime import Result, Runtime

CGROUPS = Path("/sys/fs/cgroup")


class Container:
    """A bundle in a temporary directory and the runtime's commands for it.

    `config` is the document; every command that reads it writes it to the bundle first.
    """

    def __init__(self, runtime: Runtime, bundle: Path, id: str, root: Path | None = None) -> None:
        self.runtime = runtime
        self.bundle = bundle
        self.id = id
        self.config = config.default()
        bundle.mkdir(parents=True, exist_ok=True)
        bundle.chmod(0o755)
        if root is None:
            self.rootfs = rootfs.busybox(bundle / "rootfs")
        else:
            self.rootfs = root
            self.config["root"]["path"] = str(root)

    # The document

    @property
    def process(self) -> config.Config:
        found: config.Config = self.config["process"]
        return found

    @property
    def linux(self) -> config.Config:
        found: config.Config = self.config["linux"]
        return found

    @property
    def mounts(self) -> list[config.Config]:
        found: list[config.Config] = self.config["mounts"]
        return found

    def script(self, text: str) -> "Container":
        """Let the container's process be a shell with this script."""
        self.process["args"] = ["sh", "-c", text]
        return self

    def write(self) -> None:
        (self.bundle / "config.json").write_text(json.dumps(self.config, indent=1))

    # The commands

    def run(self, *options: object, **more: Any) -> Result:
        self.write()
        return self.runtime("run", "--bundle", self.bundle, *options, self.id, **more)

    def create(self, *options: object, **more: Any) -> Result:
        self.write()
        return self.runtime("create", "--bundle", self.bundle, *options, self.id, **more)

    def start(self) -> Result:
        return self.runtime("start", self.id)

    def up(self, *options: object, **more: Any) -> "Container":
        """Create and start it, in the background; its output goes to `output`."""
        more.setdefault("timeout", 40.0)
        self.create(*options, **more).ok()
        self.start().ok()
        return self

    def sleeping(self) -> "Container":
        """Up, doing nothing until it is killed."""
        self.process["args"] = ["sleep", "1000"]
        return self.up()

    def exec(self, *args: object, **more: Any) -> Result:
        """`exec`; options of the command go before "--" when there are any."""
        words = list(args)
        if "--" in words:
            cut = words.index("--")
            options, command = words[:cut], words[cut + 1 :]
        else:
            options, command = [], words
        return self.runtime("exec", *options, self.id, *command, **more)

    def kill(self, *args: object) -> Result:
        return self.runtime("kill", self.id, *args)

    def delete(self, *options: object) -> Result:
        return self.runtime("delete", *options, self.id)

    def state(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.runtime("state", self.id).ok().out)
        return found

    @property
    def status(self) -> str:
        return str(self.state()["status"])

    @property
    def pid(self) -> int:
        return int(self.state()["pid"])

    def wait(self, status: str, seconds: float = 10.0) -> None:
        """Until it has that status."""
        wait_for(lambda: self.status == status, f"{self.id} to be {status}", seconds)

    def stop(self) -> None:
        """Kill it and wait until it is stopped."""
        self.kill("KILL").ok()
        self.wait("stopped")

    # What the kernel knows

    def cgroup(self, controller: str) -> Path:
        """The directory of its cgroup, in the hierarchy of `controller` or the only one."""
        return cgroup_of(self.pid, controller)

    def inside(self, path: str) -> str:
        """The text of a file as its first process sees the file system."""
        return Path(f"/proc/{self.pid}/root{path}").read_text()

    def mountinfo(self) -> list[dict[str, Any]]:
        """Its mounts, as its first process sees them."""
        return mounts(Path(f"/proc/{self.pid}/mountinfo").read_text())

    def close(self) -> None:
        """Remove container and bundle, whatever state they are in."""
        try:
            self.runtime("delete", "--force", self.id)
        finally:
            shutil.rmtree(self.bundle, ignore_errors=True)


def wait_for(condition: Callable[[], bool], what: str, seconds: float = 10.0) -> None:
    """Poll until the condition holds; fail after `seconds`."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"waited {seconds} s for {what}"
        time.sleep(0.02)


def cgroup_of(pid: int, controller: str) -> Path:
    """Where `pid` is in the hierarchy of `controller`, below /sys/fs/cgroup."""
    unified = None
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        number, controllers, path = line.split(":", 2)
        if controller in controllers.split(","):
            for name in (controllers, controller):
                if (CGROUPS / name).is_dir():
                    return CGROUPS / name / path.lstrip("/")
        if number == "0":
            unified = path.lstrip("/")
    assert unified is not None, f"no hierarchy has {controller}"
    return CGROUPS / unified


def mounts(text: str) -> list[dict[str, Any]]:
    """The lines of a mountinfo file, in parts (proc_pid_mountinfo(5))."""
    found = []
    for line in text.splitlines():
        left, _, right = line.partition(" - ")
        fields = left.split(" ")
        kind, source, superblock = [*right.split(" ", 2), "", ""][:3]
        found.append(
            {
                "id": int(fields[0]),
                "root": _unescape(fields[3]),
                "target": _unescape(fields[4]),
                "options": set(fields[5].split(",")),
                "propagation": fields[6:],
                "type": kind,
                "source": source,
                "super": set(superblock.split(",")),
            }
        )
    return found


def mount_at(found: list[dict[str, Any]], target: str) -> dict[str, Any]:
    """The last mount at `target`."""
    here = [mount for mount in found if mount["target"] == target]
    assert here, f"nothing is mounted at {target}"
    return here[-1]


def _unescape(text: str) -> str:
    for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(code, character)
    return text


def inode(path: str | Path) -> int:
    """The inode of what a path leads to: two namespaces are one if it is equal."""
    return os.stat(path).st_ino
