"""Runs a rootfs program for real: a stage, its fork, the mounts, and a busybox shell at the end.

Cgroups, hooks, credentials and the rest of a container are left out.
"""

import os
import select
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kit.rootfs import busybox

from kaa.caller import Caller
from kaa.compile import devices, masks, mounts, rootfs, staging
from kaa.compile.inputs import NAMESPACES, CgroupView, Inputs
from kaa.compile.root import Root
from kaa.errors import SyscallError
from kaa.program.init import Failure, Init
from kaa.program.program import Program, Slot
from kaa.program.wire import initial_progress

PROC = {"destination": "/proc", "type": "proc", "source": "proc"}
DEV = {
    "destination": "/dev",
    "type": "tmpfs",
    "source": "tmpfs",
    "options": ["nosuid", "strictatime", "mode=755", "size=65536k"],
}
PTS = {
    "destination": "/dev/pts",
    "type": "devpts",
    "source": "devpts",
    "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"],
}
SYS = {
    "destination": "/sys",
    "type": "sysfs",
    "source": "sysfs",
    "options": ["nosuid", "noexec", "nodev", "ro"],
}
USERNS_BASE = 100000
ISOLATED = ("mount", "pid", "uts", "ipc")


def bind(source: "Path | str", destination: str, *options: str) -> dict[str, Any]:
    """An entry of `mounts` that binds."""
    return {"destination": destination, "source": str(source), "options": list(options or ["bind"])}


def tmpfs(destination: str, *options: str) -> dict[str, Any]:
    """An entry of `mounts` for a tmpfs."""
    return {"destination": destination, "type": "tmpfs", "options": list(options)}


@dataclass
class Mounted:
    """One line of the container's mountinfo."""

    point: str
    root: str
    options: set[str]
    optional: str
    kind: str
    source: str
    super_options: set[str]


@dataclass
class Result:
    """What the shell wrote."""

    out: str
    ops: int
    program: Program = field(repr=False)

    @property
    def lines(self) -> list[str]:
        """The output's lines."""
        return self.out.splitlines()

    @property
    def mounts(self) -> dict[str, Mounted]:
        """Mount point to the topmost mount, from the lines of mountinfo in the output."""
        found: dict[str, Mounted] = {}
        for line in self.lines:
            parts = line.split(" ")
            if len(parts) > 9 and "-" in parts and parts[0].isdigit():
                dash = parts.index("-")
                found[parts[4]] = Mounted(
                    parts[4],
                    parts[3],
                    set(parts[5].split(",")),
                    " ".join(parts[6:dash]),
                    parts[dash + 1],
                    parts[dash + 2],
                    set(parts[dash + 3].split(",")),
                )
        return found


class Rig:
    """A bundle with a busybox root, and ways to run a shell in it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.root = busybox(directory / "rootfs")
        self.cgroup: CgroupView | None = None
        self.full_mounts: tuple[str, ...] = ("/proc", "/sys")

    def hand_over(self) -> None:
        """Give the root to the root of the user namespace."""
        for path in (self.root, *self.root.rglob("*")):
            os.chown(path, USERNS_BASE, USERNS_BASE, follow_symlinks=False)

    def inputs(
        self,
        mounted: list[dict[str, Any]],
        *,
        userns: bool = False,
        staged: bool = True,
        namespaces: tuple[str, ...] = ISOLATED,
        read_only: bool = False,
        no_pivot: bool = False,
        cwd: str = "/",
        **linux: Any,
    ) -> Inputs:
        """The inputs for a config with these mounts."""
        kinds = {}
        for index, mount in enumerate(mounted):
            if {"bind", "rbind"} & set(mount.get("options") or ()) and "source" in mount:
                path = self.directory / mount["source"]
                kinds[index] = "dir" if path.is_dir() else "file" if path.exists() else ""
        config = {
            "root": {"path": "rootfs", "readonly": read_only},
            "process": {"cwd": cwd},
            "mounts": mounted,
            "linux": linux,
        }
        wanted = dict.fromkeys((*namespaces, "user") if userns else namespaces, "")
        return Inputs(
            config,
            bundle=str(self.directory),
            rootfs=str(self.root),
            namespaces=wanted,
            staged=userns and staged,
            staging=str(self.directory / "staging"),
            source_kinds=kinds,
            cgroup=self.cgroup,
            no_pivot=no_pivot,
        )

    def run(
        self,
        script: str,
        mounted: "list[dict[str, Any]] | None" = None,
        *,
        before_leave: "Callable[[Program, Root], None] | None" = None,
        after_leave: "Callable[[Program], None] | None" = None,
        meanwhile: "Callable[[], None] | None" = None,
        userns_of: "Callable[[Init], Callable[[int], Slot | None]] | None" = None,
        **how: Any,
    ) -> Result:
        """Run the shell script in a container with these mounts; a refused call is a SyscallError.

        `meanwhile` is called, on the host, once the script has written a line
        "ready"; a line is then given to the script's stdin.
        """
        inputs = self.inputs(mounted or [], **how)
        run = Run(self, inputs, script)
        run.before_leave, run.after_leave = before_leave, after_leave
        return run.go(meanwhile, userns_of)


class Run:
    """One container."""

    def __init__(self, rig: Rig, inputs: Inputs, script: str) -> None:
        self.rig = rig
        self.inputs = inputs
        self.script = script
        self.before_leave: Callable[[Program, Root], None] | None = None
        self.after_leave: Callable[[Program], None] | None = None
        self.stdin, self.to_stdin = os.pipe2(os.O_CLOEXEC)
        self.from_stdout, self.stdout = os.pipe2(os.O_CLOEXEC)
        caller = Caller(
            cwd="/",
            environ={},
            euid=0,
            egid=0,
            pid=os.getpid(),
            stdio=(self.stdin, self.stdout, self.stdout),
        )
        self.progress = os.memfd_create("progress")
        os.write(self.progress, initial_progress())
        self.init = Init.spawn(caller, self.progress)

    def go(
        self,
        meanwhile: "Callable[[], None] | None",
        userns_of: "Callable[[Init], Callable[[int], Slot | None]] | None",
    ) -> Result:
        """Up, through, and gone."""
        try:
            find = userns_of(self.init) if userns_of else None
            self._stage(find)
            program = self._program(find)
            os.close(self.stdout)
            self.stdout = -1
            self._execute(program)
            out = self._read(meanwhile)
        finally:
            self.init.kill()
            for fd in (self.stdin, self.to_stdin, self.from_stdout, self.stdout, self.progress):
                if fd >= 0:
                    os.close(fd)
            if self.inputs.staged and Path(self.inputs.staging).exists():
                os.rmdir(self.inputs.staging)
        return Result(out, len(program.ops), program)

    def _stage(self, find: "Callable[[int], Slot | None] | None") -> None:
        inputs, init = self.inputs, self.init
        p = Program(init.slots)
        if inputs.staged:
            os.mkdir(inputs.staging, 0o711)
            staging.stage(p, inputs, find)
        if "user" in inputs.namespaces:
            p.unshare(NAMESPACES["user"])
            init.run(p)
            for name in ("uid_map", "gid_map"):
                Path(f"/proc/{init.pid}/{name}").write_text(f"0 {USERNS_BASE} 65536\n")
            p = Program(init.slots)
            p.setresgid(0, 0, 0)
            p.setresuid(0, 0, 0)
        flags = sum(NAMESPACES[n] for n in inputs.namespaces if n not in ("user", "cgroup"))
        p.unshare(flags)
        init.send_fork(p)
        init.receive_fork(p)

    def _program(self, find: "Callable[[int], Slot | None] | None") -> Program:
        inputs = self.inputs
        p = Program(self.init.slots)
        if "cgroup" in inputs.namespaces:
            p.unshare(NAMESPACES["cgroup"])
        root = rootfs.enter(p, inputs)
        mounts.mount_all(p, inputs, root, find)
        devices.make_devices(p, inputs, root)
        if self.before_leave:
            self.before_leave(p, root)
        if "mount" in inputs.namespaces:
            masks.mask(p, inputs, root)
        rootfs.leave(p, inputs, root, self.rig.full_mounts)
        if self.after_leave:
            self.after_leave(p)
        p.at("/process/args", "execute the shell")
        p.execve("/bin/busybox", ["sh", "-c", self.script], ["PATH=/bin"])
        return p

    def _execute(self, program: Program) -> None:
        self.init.send(program)
        if not self.init.socket.recv(1, socket.MSG_PEEK):
            return  # end of file: it has become the shell
        try:
            self.init.receive(program)
        except Failure as failure:
            raise self.init.explain(failure) from None
        raise AssertionError("execve has returned")

    def _read(self, meanwhile: "Callable[[], None] | None") -> str:
        out = b""
        end = time.monotonic() + 60
        while time.monotonic() < end:
            if not select.select([self.from_stdout], [], [], 1)[0]:
                continue
            piece = os.read(self.from_stdout, 1 << 16)
            if not piece:
                return out.decode()
            out += piece
            if meanwhile and b"ready\n" in out:
                meanwhile()
                os.write(self.to_stdin, b"\n")
                meanwhile = None
        raise TimeoutError(out.decode())


__all__ = ["DEV", "PROC", "PTS", "SYS", "Result", "Rig", "SyscallError", "bind", "tmpfs"]
