"""`kaa.aio.Runtime` and `kaa.aio.Container`: those of the library, awaited."""

import os
import signal as signals
from collections.abc import Mapping, Sequence
from typing import Any, Self

from kaa.aio.process import Process, abandon, converse, end_of
from kaa.aio.workers import blocking
from kaa.api import container as blocking_container
from kaa.api import process as blocking_process
from kaa.api import runtime as blocking_runtime
from kaa.api.config import Config
from kaa.api.container import State, Stats
from kaa.api.process import Text
from kaa.api.run import CompletedProcess
from kaa.api.stdio import DEVNULL, PIPE, Stream
from kaa.errors import ContainerNotFound

Path = str | os.PathLike[str]


class Container:
    """`kaa.Container`, awaited. `process` has the streams of its first process, if we made it."""

    def __init__(
        self, container: blocking_container.Container, process: Process | None = None
    ) -> None:
        self._container = container
        self.id = container.id
        self.process = process

    def __repr__(self) -> str:
        return f"<kaa.aio.Container {self.id}>"

    def take_terminal(self) -> int:
        """The master of its terminal: a descriptor, the caller's to close. -1: none, or taken."""
        return self._container.take_terminal()

    async def state(self) -> State:
        """Its state now."""
        return await blocking(self._container.state)

    async def config(self) -> Config:
        """Its configuration: a copy."""
        return await blocking(lambda: self._container.config)

    async def stats(self) -> Stats:
        """What it uses now. Raises NotRunning."""
        return await blocking(self._container.stats)

    async def processes(self) -> list[int]:
        """The host's pids of all its processes."""
        return await blocking(self._container.processes)

    async def start(self) -> None:
        """Start its process. Raises NotRunning unless it is `created`."""
        await blocking(self._container.start)

    async def kill(self, signal: int | str = signals.SIGTERM, *, all: bool = False) -> None:
        """Send a signal to its first process. Raises NotRunning, but not with `all`."""
        await blocking(lambda: self._container.kill(signal, all=all))

    async def wait(self) -> int | None:
        """Wait for the end of its first process: the exit status, or None if nobody can know."""
        if self.process is not None:
            return await self.process.wait()
        child = self._container.child
        if child is None:
            return None
        await end_of(child)
        return await blocking(self._container.wait)

    async def pause(self) -> None:
        """Freeze all its processes. Raises NotRunning."""
        await blocking(self._container.pause)

    async def resume(self) -> None:
        """Let them go on. Raises NotRunning unless it is paused."""
        await blocking(self._container.resume)

    async def update(
        self,
        *,
        memory: int | str | None = None,
        pids: int | None = None,
        cpus: float | None = None,
        resources: Mapping[str, Any] | None = None,
    ) -> None:
        """Change its limits. Raises ConfigError, CgroupError, NotRunning."""
        await blocking(
            lambda: self._container.update(memory=memory, pids=pids, cpus=cpus, resources=resources)
        )

    async def delete(self, *, force: bool = False) -> None:
        """Remove it. Raises NotRunning if it runs, unless `force` kills it first."""
        await blocking(lambda: self._container.delete(force=force))

    async def popen(
        self,
        args: Sequence[str] | None = None,
        *,
        stdin: Stream = DEVNULL,
        stdout: Stream = None,
        stderr: Stream = None,
        **more: Any,
    ) -> Process:
        """Start another process in it; `more` is as for `kaa.Container.popen`."""
        return await Process.adopt(
            await self._start(args, stdin=stdin, stdout=stdout, stderr=stderr, **more)
        )

    async def _start(self, args: Sequence[str] | None, **more: Any) -> blocking_process.Process:
        return await blocking(lambda: self._container.popen(args, **more), abandon)

    async def exec(
        self,
        args: Sequence[str] | None = None,
        *,
        input: bytes | str | None = None,
        capture_output: bool = False,
        stdout: Stream = None,
        stderr: Stream = None,
        timeout: float | None = None,
        check: bool = False,
        text: bool = False,
        **more: Any,
    ) -> CompletedProcess:
        """Run another process in it and wait for its end; see `kaa.Container.exec`."""
        if capture_output:
            stdout = stderr = PIPE
        started = await self._start(
            args, stdin=PIPE if input is not None else DEVNULL, stdout=stdout, stderr=stderr, **more
        )
        wanted = Text(text or isinstance(input, str), None, None)
        async with await Process.adopt(started, wanted) as process:
            out, err = await converse(process, input, timeout)
            done = CompletedProcess(process.args, await process.wait(), out, err)
        if check:
            done.check_returncode()
        return done

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        try:
            await self.delete(force=True)
        except ContainerNotFound:
            pass
        if self.process is not None:
            self.process.close()
        await blocking(self._container.__exit__)


class Runtime:
    """`kaa.Runtime`, awaited; takes the same arguments."""

    def __init__(self, root: Path | None = None, **options: Any) -> None:
        self._runtime = blocking_runtime.Runtime(root, **options)
        self.root = self._runtime.root

    async def create(
        self,
        id: str,
        config: Config | None = None,
        *,
        bundle: Path | None = None,
        stdin: Stream = DEVNULL,
        stdout: Stream = None,
        stderr: Stream = None,
    ) -> Container:
        """Make a container, whose process waits for `Container.start`."""
        container = await blocking(
            lambda: self._runtime.create(
                id, config, bundle=bundle, stdin=stdin, stdout=stdout, stderr=stderr
            ),
            lambda made: made.__exit__(),
        )
        if container.process is None:
            raise RuntimeError("a container that was just made has a process")
        return Container(container, await Process.adopt(container.process))

    async def load(self, id: str) -> Container:
        """A container that exists, whoever made it. Raises ContainerNotFound."""
        return Container(await blocking(lambda: self._runtime.load(id)))

    async def list(self) -> "list[Container]":
        """All containers, by id."""
        return [Container(found) for found in await blocking(self._runtime.list)]
