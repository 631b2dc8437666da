"""An ordinary user for the tests: uid and gid 4321, with 65536 subordinate ids.

Nobody is added to the machine: /etc/passwd, /etc/subuid and /etc/subgid are
covered in the tests' own mount namespace (kit.hostns).
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kit import config
from kit.container import Container
from kit.runtime import ENVIRONMENT, Result, Runtime

UID = 4321
FIRST, COUNT = 500000, 65536


class Covers:
    """The three files, with the user in them."""

    def __init__(self, directory: Path) -> None:
        directory.chmod(0o755)
        self._covered: list[str] = []
        for name, line in (
            ("passwd", f"kaatest:x:{UID}:{UID}::{directory}:/bin/sh\n"),
            ("subuid", f"kaatest:{FIRST}:{COUNT}\n"),
            ("subgid", f"kaatest:{FIRST}:{COUNT}\n"),
        ):
            original = Path(f"/etc/{name}")
            text = original.read_text() if name == "passwd" else ""
            (directory / name).write_text(text + line)
            subprocess.run(["mount", "--bind", str(directory / name), str(original)], check=True)
            self._covered.append(str(original))

    def close(self) -> None:
        for path in reversed(self._covered):
            subprocess.run(["umount", path], check=True)


class UserRuntime(Runtime):
    """The runtime, called by the user (no --root: it is in XDG_RUNTIME_DIR)."""

    def __init__(self, runtime_dir: Path, prefix: "tuple[str, ...]" = ()) -> None:
        super().__init__(runtime_dir / "kaa")
        if self.command[0] == sys.executable:
            # which may lie in root's home
            self.command[0] = shutil.which("python3", path="/usr/local/bin:/usr/bin") or "python3"
        self.runtime_dir = runtime_dir
        self.inner = prefix

    def argv(self, *args: object) -> list[str]:
        words = [*self.inner, *self.command]
        if not self.is_kaa:
            words += ["--root", str(self.root)]
        return [*words, *map(str, args)]

    def environment(self, more: "Mapping[str, str] | None" = None) -> dict[str, str]:
        return {**ENVIRONMENT, "XDG_RUNTIME_DIR": str(self.runtime_dir), **(more or {})}

    def __call__(self, *args: object, **more: Any) -> Result:
        more["env"] = self.environment(more.get("env"))
        more.setdefault("user", UID)
        more.setdefault("group", UID)
        more.setdefault("extra_groups", [])
        return super().__call__(*args, **more)

    def popen(self, *args: object, **more: Any) -> "subprocess.Popen[Any]":
        identity: dict[str, Any] = {"user": UID, "group": UID, "extra_groups": []}
        return subprocess.Popen(self.argv(*args), env=self.environment(), **identity, **more)


def container(runtime: UserRuntime, bundle: Path, id: str) -> Container:
    """A rootless container with the document that `spec --rootless` writes, made fit for tests."""
    found = Container(runtime, bundle, id)
    rootless(found.config)
    subprocess.run(["chown", "-R", f"{UID}:{UID}", str(bundle)], check=True)
    return found


def rootless(document: config.Config) -> None:
    """What root's default document needs to be an ordinary user's: ids, /sys, no limits."""
    config.drop_namespace(document, "network")
    document["linux"]["namespaces"].append({"type": "user"})
    single_id(document)
    document["linux"].pop("resources")
    for mount in document["mounts"]:
        if mount["destination"] == "/dev/pts":
            mount["options"].remove("gid=5")
    document["mounts"] = [m for m in document["mounts"] if m["destination"] != "/sys"]
    document["mounts"].append(config.bind("/sys", "/sys", "nosuid", "noexec", "nodev", "ro"))


def single_id(document: config.Config) -> None:
    for key in ("uidMappings", "gidMappings"):
        document["linux"][key] = [{"containerID": 0, "hostID": UID, "size": 1}]


def many_ids(document: config.Config) -> None:
    for key in ("uidMappings", "gidMappings"):
        document["linux"][key] = [
            {"containerID": 0, "hostID": UID, "size": 1},
            {"containerID": 1, "hostID": FIRST, "size": COUNT},
        ]


def own(path: Path) -> Path:
    """A directory of the user's."""
    path.mkdir()
    os.chown(path, UID, UID)
    return path
