"""Containers whose init is a child of this process, and stays one."""

import os
import stat
from fcntl import F_DUPFD_CLOEXEC, fcntl
from functools import cache
from typing import Any

from kaa.api.child import Child, remember
from kaa.api.stdio import is_open
from kaa.caller import Caller
from kaa.compile.mount_api import (
    AT_FDCWD,
    MOVE_FROM_FD,
    NODEV,
    NOSUID,
    SLAVE,
    change_root,
    new_mount,
)
from kaa.container import record as records
from kaa.container.launch import Launch
from kaa.container.runtime import Runtime
from kaa.container.start import run_poststart
from kaa.errors import ConfigError, KaaError, strerror
from kaa.program.program import Program

_CLONE_NEWNS = 0x20000
# what systemd says with these is for this process, not for what it happens to start
_NOT_PASSED_ON = ("LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "NOTIFY_SOCKET")


def caller(stdio: tuple[int, int, int] | None = None) -> Caller:
    """This process, with `stdio` for the process of a container; our own if that is None."""
    found = Caller.of_this_process()
    for name in _NOT_PASSED_ON:
        found.environ.pop(name, None)
    zero, one, two = (fd if is_open(fd) else _null() for fd in (0, 1, 2))
    found.stdio = stdio or (zero, one, two)
    return found


@cache
def _null() -> int:
    """For a daemon that has closed a standard stream, whose number may be anything soon."""
    fd = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    try:
        return fcntl(fd, F_DUPFD_CLOEXEC, 3)
    finally:
        os.close(fd)


def scratch_root(root: str) -> str:
    """The path of the throw-away root of every container: each sees its own there."""
    return f"{root}/.cache/scratch/root"


class ScratchLaunch(Launch):
    """A container whose root is a layer in memory over the host directory `lower`.

    The layer is mounted by the stage, in a mount namespace of its own: it ends
    with the container, and the host never sees it.
    """

    def __init__(
        self, runtime: Runtime, id: str, config: dict[str, Any], *, bundle: str, lower: str
    ) -> None:
        if runtime.caller.euid != 0:
            raise KaaError(
                "a throw-away root needs root", hint="give a rootfs and throw_away=False"
            )
        _check_directory(lower)
        self._lower = lower
        self._scratch = scratch_root(runtime.root).rpartition("/")[0]
        os.makedirs(scratch_root(runtime.root), mode=0o700, exist_ok=True)
        super().__init__(runtime, id, config, bundle=bundle)

    def _run_stage(self, gate: bool) -> None:
        self.init.run(self._layer(Program(self.init.slots)))
        super()._run_stage(gate)

    def _layer(self, p: Program) -> Program:
        scratch = self._scratch
        p.at("/root/path", "make a mount namespace for the throw-away root")
        p.unshare(_CLONE_NEWNS)
        change_root(p, SLAVE)
        p.at("/root/path", f"open the lower layer {self._lower}")
        p.chdir(self._lower)
        p.at("/root/path", f"mount the memory of the throw-away root on {scratch}")
        memory = new_mount(p, "tmpfs", [("mode", "700")], NOSUID | NODEV)
        p.move_mount(memory, "", AT_FDCWD, scratch, MOVE_FROM_FD)
        for name in ("upper", "work", "root"):
            p.mkdirat(memory, name, 0o755)
        p.close(memory)
        p.at("/root/path", f"mount a layer over {self._lower}")
        layers: list[tuple[str, str | None]] = [
            ("lowerdir", "."),
            ("upperdir", f"{scratch}/upper"),
            ("workdir", f"{scratch}/work"),
        ]
        root = new_mount(p, "overlay", layers, NOSUID | NODEV)
        p.move_mount(root, "", AT_FDCWD, f"{scratch}/root", MOVE_FROM_FD)
        p.close(root)
        p.chdir("/")
        return p


def _check_directory(path: str) -> None:
    try:
        mode = os.lstat(path).st_mode
    except OSError as error:
        raise ConfigError(
            f"invalid rootfs: {path}: {strerror(error.errno or 0)}",
            pointer="/root/path",
            path=path,
            errno=error.errno,
        ) from None
    if not stat.S_ISDIR(mode):
        raise ConfigError(
            f"invalid rootfs: {path} is not a directory, or a symlink",
            pointer="/root/path",
            path=path,
        )


class Launched:
    """What came of it: the init as a `child`, the terminal's master or -1, and how to find it."""

    def __init__(self, launch: Launch) -> None:
        self.child = Child(launch.init.pid, fcntl(launch.init.pidfd, F_DUPFD_CLOEXEC, 3))
        self.terminal = launch.take_master()
        self.launch = launch
        remember(self.child, launch.record["start_time"])


def bring_up(
    runtime: Runtime,
    id: str,
    config: dict[str, Any],
    *,
    bundle: str,
    lower: str = "",
    gate: bool,
) -> Launched:
    """Create the container, and unless `gate` start it too; nothing is left if that fails.

    `lower` is the host directory under a throw-away root, if it is to have one.
    """
    with records.Lock(runtime.root, id) as lock:
        launch = (
            ScratchLaunch(runtime, id, config, bundle=bundle, lower=lower)
            if lower
            else Launch(runtime, id, config, bundle=bundle)
        )
        try:
            launch.set_up(gate=gate)
            launch.announce("", "")
            if gate:
                launch.init.release()
            else:
                launch.go()
                run_poststart(runtime, launch.config, launch.record)
            launched = Launched(launch)
        except BaseException:
            launch.undo()
            lock.forget()
            raise
        launch.close()
    return launched
