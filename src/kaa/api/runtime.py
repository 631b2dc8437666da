"""The library's `Runtime`: where containers are recorded, and how they are made and found."""

import logging
import os
from collections.abc import Callable
from typing import Any

from kaa import codec
from kaa.api.child import Child, find
from kaa.api.config import Config
from kaa.api.container import Container
from kaa.api.launching import bring_up, caller
from kaa.api.process import Process, Text
from kaa.api.stdio import DEVNULL, Stdio, Stream
from kaa.container import record as records
from kaa.container import runtime as inner
from kaa.container.proc import stat
from kaa.container.state import list_all
from kaa.errors import ConfigError
from kaa.spec.load import parse

Path = str | os.PathLike[str]

_STATE_ROOT = "/run/kaa"
_log = logging.getLogger("kaa")


class Runtime:
    """The containers below `root`, a directory that `kaa --root` may share.

    Without a `root` it is the command's: /run/kaa, or kaa in $XDG_RUNTIME_DIR
    for whoever is not root. `cgroups` False makes none; `systemd_cgroup` has
    systemd make them; `rootless` says whether to live without those that we may
    not make (None: find out). `warn` is told what is worth saying and no
    reason to stop; otherwise the logger "kaa" is.

    It holds no state of its own, and may be used from any thread.
    """

    def __init__(
        self,
        root: Path | None = None,
        *,
        systemd_cgroup: bool = False,
        rootless: bool | None = None,
        cgroups: bool = True,
        warn: Callable[[str], None] | None = None,
    ) -> None:
        self.root = os.path.abspath(root) if root is not None else _default_root()
        if self.root == "/":
            raise ConfigError("the root of the state must not be /")
        self._options: dict[str, Any] = {
            "systemd_cgroup": systemd_cgroup,
            "rootless": rootless,
            "no_cgroup": not cgroups,
            "warn": warn or _log.warning,
        }

    def inner(self, stdio: tuple[int, int, int] | None = None) -> inner.Runtime:
        """What the operations of `kaa.container` are called with."""
        return inner.Runtime(self.root, caller(stdio), **self._options)

    def create(
        self,
        id: str,
        config: Config | None = None,
        *,
        bundle: Path | None = None,
        stdin: Stream = DEVNULL,
        stdout: Stream = None,
        stderr: Stream = None,
        text: bool = False,
        encoding: str | None = None,
        errors: str | None = None,
    ) -> Container:
        """Make a container, whose process waits for `Container.start`.

        The configuration is `config`, or the config.json in `bundle`; with
        both, `bundle` is what relative paths in `config` begin at (otherwise
        the working directory is). The streams are as for `Popen`; with a
        terminal, `Container.take_terminal` has its master instead.

        Raises ConfigError, ContainerExists, SyscallError, HookError,
        CgroupError: nothing is left then.
        """
        base = os.path.abspath(bundle if bundle is not None else os.getcwd())
        if config is None:
            if bundle is None:
                raise TypeError("create() needs a config or a bundle")
            config = Config.load(base)
        document = parse(codec.dumps(config.document))
        stdio = Stdio(stdin, stdout, stderr)
        try:
            launched = bring_up(self.inner(stdio.theirs), id, document, bundle=base, gate=True)
        except BaseException:
            stdio.close()
            raise
        stdio.close_theirs()
        process = Process(config.args, launched.child, stdio, text=Text(text, encoding, errors))
        return Container(self, id, launched.child, process, launched.terminal)

    def load(self, id: str) -> Container:
        """A container that exists, whoever made it. Raises ContainerNotFound."""
        record = records.load(self.root, id)
        return Container(self, id, _child(record["pid"], record["start_time"]))

    def list(self) -> "list[Container]":
        """All containers, by id. One that cannot be read is left out, with a warning."""
        return [self.load(entry["id"]) for entry in list_all(self.inner())]

    def __repr__(self) -> str:
        return f"<kaa.Runtime {self.root}>"


def _child(pid: int, start_time: int) -> Child | None:
    known = find(pid, start_time)
    if known is not None:
        return known
    if pid <= 0:
        return None
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return None
    process = stat(pid)
    if process is None or process.start_time != start_time:
        os.close(pidfd)
        return None
    return Child(pid, pidfd, ours=False)


def _default_root() -> str:
    own = os.environ.get("XDG_RUNTIME_DIR")
    if own and os.geteuid() != 0:
        return f"{os.path.abspath(own)}/kaa"
    return _STATE_ROOT
