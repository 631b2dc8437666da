"""The library's `Container`: one container, and everything that can be done with it."""

import os
import signal as signals
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fcntl import F_DUPFD_CLOEXEC, fcntl
from typing import IO, TYPE_CHECKING, Any

from kaa.api.child import Child
from kaa.api.config import Config, limits, parse_user
from kaa.api.errors import TimeoutExpired
from kaa.api.process import Process, Text
from kaa.api.run import CompletedProcess, converse
from kaa.api.stdio import DEVNULL, PIPE, Stdio, Stream
from kaa.container import delete as delete_op
from kaa.container import events, ps
from kaa.container import exec as exec_op
from kaa.container import kill as kill_op
from kaa.container import pause as pause_op
from kaa.container import record as records
from kaa.container import start as start_op
from kaa.container import state as state_op
from kaa.container import update as update_op
from kaa.errors import ContainerNotFound, NotRunning
from kaa.spec.validate import validate_process, validate_resources

if TYPE_CHECKING:
    from kaa.api.runtime import Runtime

_KILL_S = 10.0


@dataclass(frozen=True)
class State:
    """A container's state (runtime.md, "State"), and where kaa keeps its root.

    `status` is creating, created, running, paused or stopped; `pid` is the
    host's, 0 once it has stopped; `created` is RFC 3339.
    """

    id: str
    status: str
    pid: int
    bundle: str
    rootfs: str
    created: str
    annotations: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Stats:
    """What a container uses: bytes, seconds of processor time, processes.

    A limit is 0 if there is none. `raw` is all there is, in the form of
    `kaa events --stats`.
    """

    memory: int
    memory_peak: int
    memory_limit: int
    cpu_s: float
    pids: int
    pids_limit: int
    raw: Mapping[str, Any]


class Container:
    """A container below `runtime.root`; `Runtime.create` and `Runtime.load` give these.

    Every method may be called from any thread, and raises ContainerNotFound
    once the container is gone. As a context manager it is deleted at the end of
    the block, killed if it has to be.
    """

    def __init__(
        self,
        runtime: "Runtime",
        id: str,
        child: Child | None,
        process: Process | None = None,
        terminal: int = -1,
    ) -> None:
        self.runtime = runtime
        self.id = id
        self.process = process
        self.child = child
        self._terminal = terminal

    def __repr__(self) -> str:
        return f"<kaa.Container {self.id}>"

    # -- what it is ----------------------------------------------------------

    @property
    def stdin(self) -> IO[Any] | None:
        """Our end of the first process's standard input, if it is a pipe of ours."""
        return self.process.stdin if self.process else None

    @property
    def stdout(self) -> IO[Any] | None:
        """Our end of its standard output, if it is a pipe of ours."""
        return self.process.stdout if self.process else None

    @property
    def stderr(self) -> IO[Any] | None:
        """Our end of its standard error, if it is a pipe of ours."""
        return self.process.stderr if self.process else None

    def take_terminal(self) -> int:
        """The master of its terminal: a descriptor, the caller's to close. -1: none, or taken."""
        master, self._terminal = self._terminal, -1
        return master

    def state(self) -> State:
        """Its state now."""
        found = state_op.state(self.runtime.inner(), self.id)
        return State(
            found["id"],
            found["status"],
            found["pid"],
            found["bundle"],
            found["rootfs"],
            found["created"],
            found.get("annotations") or {},
        )

    @property
    def status(self) -> str:
        """creating, created, running, paused or stopped."""
        return self.state().status

    @property
    def pid(self) -> int:
        """The host's pid of its first process, 0 once that has ended."""
        return self.state().pid

    @property
    def config(self) -> Config:
        """Its configuration, with the limits of the last `update`: a copy."""
        return Config(records.load_config(self.runtime.root, self.id))

    def stats(self) -> Stats:
        """What it uses now. Raises NotRunning."""
        raw = events.stats(self.runtime.inner(), self.id)["data"]
        usage = (raw.get("memory") or {}).get("usage") or {}
        pids = raw.get("pids") or {}
        cpu = (raw.get("cpu") or {}).get("usage") or {}
        limit = usage.get("limit", 0)
        return Stats(
            memory=usage.get("usage", 0),
            memory_peak=usage.get("max", 0),
            memory_limit=0 if limit >= 1 << 62 else limit,
            cpu_s=cpu.get("total", 0) / 1e9,
            pids=pids.get("current", 0),
            pids_limit=pids.get("limit", 0),
            raw=raw,
        )

    def processes(self) -> list[int]:
        """The host's pids of all its processes."""
        return ps.pids(self.runtime.inner(), self.id)

    # -- what it does --------------------------------------------------------

    def start(self) -> None:
        """Start its process; returns once that was executed. Raises NotRunning unless `created`."""
        start_op.start(self.runtime.inner(), self.id)

    def kill(self, signal: int | str = signals.SIGTERM, *, all: bool = False) -> None:
        """Send a signal to its first process. Raises NotRunning, but not with `all`.

        SIGKILL reaches every process: with the first one its pid namespace ends.
        """
        name = signal if isinstance(signal, str) else str(int(signal))
        kill_op.kill(self.runtime.inner(), self.id, name, all)

    def wait(self, timeout: float | None = None) -> int | None:
        """Wait for the end of its first process: the exit status, -N for signal N.

        None if nobody can know: another process made the container, and is
        told. Raises TimeoutExpired.
        """
        if self.child is None:
            return None
        if not self.child.wait(timeout):
            raise TimeoutExpired(self.process.args if self.process else [self.id], timeout or 0.0)
        if self.process:
            self.process.finish()
        return self.child.returncode

    def poll(self) -> int | None:
        """The exit status if its first process has ended and we may know it, else None."""
        if self.child is not None and self.child.poll():
            return self.child.returncode
        return None

    def pause(self) -> None:
        """Freeze all its processes. Raises NotRunning."""
        pause_op.pause(self.runtime.inner(), self.id)

    def resume(self) -> None:
        """Let them go on. Raises NotRunning unless it is paused."""
        pause_op.resume(self.runtime.inner(), self.id)

    def update(
        self,
        *,
        memory: int | str | None = None,
        pids: int | None = None,
        cpus: float | None = None,
        resources: Mapping[str, Any] | None = None,
    ) -> None:
        """Change its limits: as for `Config.set_limits`, or `resources` like linux.resources.

        When one is refused all stay as they were. Raises ConfigError,
        CgroupError, NotRunning.
        """
        wanted = update_op.merged(
            dict(resources or {}), limits(memory=memory, pids=pids, cpus=cpus)
        )
        validate_resources(wanted)
        update_op.update(self.runtime.inner(), self.id, wanted)

    def delete(self, *, force: bool = False) -> None:
        """Remove it. Raises NotRunning if it runs, unless `force` kills it first.

        Its exit status can still be asked for, by `wait`.
        """
        inner = self.runtime.inner()
        running = self.child is not None and not self.child.poll()
        if running and (force or self.status in ("created", "creating")):
            self._end()
        delete_op.delete(inner, self.id, force)
        if self.child is not None:
            self.child.poll()
            self.child.close()
        self._close_terminal()

    def _end(self) -> None:
        """Kill it, and collect its status before the operation of `delete` does."""
        kill_op.kill_everything(records.load(self.runtime.root, self.id))
        if self.child is not None:
            self.child.wait(_KILL_S)

    def _close_terminal(self) -> None:
        master = self.take_terminal()
        if master >= 0:
            os.close(master)

    def __enter__(self) -> "Container":
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.delete(force=True)
        except ContainerNotFound:
            pass
        if self.process:
            self.process.close_pipes()
        self._close_terminal()

    # -- more processes ------------------------------------------------------

    def popen(
        self,
        args: Sequence[str] | None = None,
        *,
        process: Mapping[str, Any] | None = None,
        stdin: Stream = DEVNULL,
        stdout: Stream = None,
        stderr: Stream = None,
        text: bool = False,
        encoding: str | None = None,
        errors: str | None = None,
        max_output: int | None = None,
        env: Mapping[str, str] | None = None,
        cwd: str = "",
        user: int | str | tuple[int, int] | None = None,
        capabilities: Sequence[str] = (),
    ) -> Process:
        """Start another process in it. Raises NotRunning, SyscallError (it cannot be executed) ...

        It is the container's own, with other `args`; `env` and `capabilities`
        are added to those of the container. Or `process` is the whole of it, in the form
        of config.json. The streams are as for `Popen`.
        """
        overrides: dict[str, Any] = {
            "cwd": cwd,
            "env": [f"{name}={value}" for name, value in (env or {}).items()],
            "user": None if user is None else parse_user(user),
            "caps": list(capabilities),
        }
        record, config = self._exec_target()
        document = exec_op.process_document(
            config["process"],
            None if process is None else dict(process),
            None if args is None else [os.fspath(item) for item in args],
            overrides,
        )
        document["terminal"] = False
        validate_process(document)
        stdio = Stdio(stdin, stdout, stderr)
        try:
            child = self._enter(record, {**config, "process": document}, stdio)
        except BaseException:
            stdio.close()
            raise
        stdio.close_theirs()
        return Process(
            document["args"],
            child,
            stdio,
            text=Text(text, encoding, errors),
            max_output=max_output,
        )

    def _exec_target(self) -> tuple[dict[str, Any], dict[str, Any]]:
        root = self.runtime.root
        record = records.load(root, self.id)
        now = state_op.status(root, record)
        if now in ("stopped", "paused"):
            raise NotRunning(f"cannot exec in a {now} container")
        return record, records.load_config(root, self.id)

    def _enter(self, record: dict[str, Any], config: dict[str, Any], stdio: Stdio) -> Child:
        entry = exec_op.Entry(self.runtime.inner(stdio.theirs), record, config, 0, [])
        try:
            entry.enter()
            entry.start()
            child = Child(entry.init.pid, fcntl(entry.init.pidfd, F_DUPFD_CLOEXEC, 3))
        except BaseException:
            entry.init.kill()
            raise
        entry.init.close()
        return child

    def exec(
        self,
        args: Sequence[str] | None = None,
        *,
        process: Mapping[str, Any] | None = None,
        input: bytes | str | None = None,
        capture_output: bool = False,
        stdin: Stream = DEVNULL,
        stdout: Stream = None,
        stderr: Stream = None,
        timeout: float | None = None,
        check: bool = False,
        text: bool = False,
        encoding: str | None = None,
        errors: str | None = None,
        max_output: int | None = None,
        env: Mapping[str, str] | None = None,
        cwd: str = "",
        user: int | str | tuple[int, int] | None = None,
        capabilities: Sequence[str] = (),
    ) -> CompletedProcess:
        """Run another process in it and wait for its end; see `popen` and `kaa.run`."""
        if capture_output:
            if stdout is not None or stderr is not None:
                raise ValueError("capture_output says already where stdout and stderr go")
            stdout = stderr = PIPE
        with self.popen(
            args,
            process=process,
            stdin=PIPE if input is not None else stdin,
            stdout=stdout,
            stderr=stderr,
            text=text or isinstance(input, str),
            encoding=encoding,
            errors=errors,
            max_output=max_output,
            env=env,
            cwd=cwd,
            user=user,
            capabilities=capabilities,
        ) as running:
            out, err = converse(running, input, timeout)
        done = CompletedProcess(running.args, running.wait(), out, err)
        if check:
            done.check_returncode()
        return done
