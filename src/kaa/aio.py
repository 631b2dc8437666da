"""The library for asyncio: the same names, awaited.

No container and no process has a thread. Ends are noticed by the event loop,
which watches the pidfds, and output arrives through its pipes. What has to
block for a few milliseconds (setting up, removing, an operation on the cgroup)
is done by a few threads that all containers share; 1,000 containers need no more
than one does. Whatever is cancelled while it is being set up is removed again.
"""

import asyncio
import os
import signal as signals
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import IO, Any, Self, TypeVar, Unpack

from kaa.api import container as blocking_container
from kaa.api import process as blocking_process
from kaa.api import run as blocking_run
from kaa.api import runtime as blocking_runtime
from kaa.api.child import Child
from kaa.api.config import Config
from kaa.api.container import State, Stats
from kaa.api.errors import OutputLimitExceeded, TimeoutExpired
from kaa.api.options import ContainerOptions
from kaa.api.process import Text
from kaa.api.run import CompletedContainer, CompletedProcess
from kaa.api.stdio import DEVNULL, PIPE, STDOUT, Stream
from kaa.errors import ContainerNotFound

__all__ = [
    "DEVNULL",
    "PIPE",
    "STDOUT",
    "Container",
    "Process",
    "Runtime",
    "popen",
    "run",
]

Path = str | os.PathLike[str]
Result = TypeVar("Result")

_WORKERS = min(4, (os.cpu_count() or 1) + 1)
_CHUNK = 65536
_DRAIN_S = 1.0

_pool: ThreadPoolExecutor | None = None
_pool_lock = threading.Lock()


def _workers() -> ThreadPoolExecutor:
    global _pool
    with _pool_lock:
        if _pool is None:
            _pool = ThreadPoolExecutor(_WORKERS, thread_name_prefix="kaa-aio")
        return _pool


async def _blocking(
    work: Callable[[], Result], undo: Callable[[Result], None] | None = None
) -> Result:
    """Have a worker do it. If we are cancelled meanwhile, `undo` gets what came of it.

    The cancellation goes on when that is done, too.
    """
    future = _workers().submit(work)
    try:
        return await asyncio.shield(asyncio.wrap_future(future))
    except asyncio.CancelledError:
        if not future.cancel() and undo is not None:
            undoing = _workers().submit(_undo, future, undo)
            await asyncio.shield(asyncio.wrap_future(undoing))
        raise


def _undo(future: "Future[Result]", undo: Callable[[Result], None]) -> None:
    """In a worker, while another one may still be at it."""
    if future.exception() is None:
        undo(future.result())


class Process:
    """A running process of a container; like `asyncio.subprocess.Process`.

    `stdin` is a StreamWriter, `stdout` and `stderr` are StreamReaders, where
    they are pipes. As an asynchronous context manager it waits for the end,
    after having killed the process if the block was left by an exception.
    """

    def __init__(self, process: blocking_process.Process) -> None:
        self._process = process
        self.args = process.args
        self.pid = process.pid
        self.stdin: asyncio.StreamWriter | None = None
        self.stdout: asyncio.StreamReader | None = None
        self.stderr: asyncio.StreamReader | None = None
        self._transports: list[asyncio.BaseTransport] = []
        self._chunks: dict[int, list[bytes]] = {}
        self._size = 0
        self._over_limit = False
        self._end = asyncio.get_running_loop().create_task(self._watch())

    @classmethod
    async def _adopt(cls, process: blocking_process.Process) -> Self:
        found = cls(process)
        try:
            await found._connect()
        except BaseException:
            process.kill()
            raise
        return found

    async def _connect(self) -> None:
        if self._process.stdin is not None:
            self.stdin = await self._writer(self._process.stdin)
        if self._process.stdout is not None:
            self.stdout = await self._reader(self._process.stdout)
        if self._process.stderr is not None:
            self.stderr = await self._reader(self._process.stderr)

    async def _reader(self, file: IO[Any]) -> asyncio.StreamReader:
        reader = asyncio.StreamReader()
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), file
        )
        self._transports.append(transport)
        return reader

    async def _writer(self, file: IO[Any]) -> asyncio.StreamWriter:
        loop = asyncio.get_running_loop()
        transport, protocol = await loop.connect_write_pipe(
            lambda: asyncio.StreamReaderProtocol(asyncio.StreamReader()), file
        )
        self._transports.append(transport)
        return asyncio.StreamWriter(transport, protocol, None, loop)

    async def _watch(self) -> None:
        await _end_of(self._process.child)
        await _blocking(self._process.poll)

    @property
    def returncode(self) -> int | None:
        """The exit status once the end was noticed, -N for signal N; None before."""
        return self._process.returncode

    async def wait(self) -> int:
        """Wait for the end and return the exit status."""
        await asyncio.shield(self._end)
        return self._process.wait()

    def send_signal(self, number: int) -> None:
        """Send a signal; nothing happens if the process has ended."""
        self._process.send_signal(number)

    def terminate(self) -> None:
        """SIGTERM, which the first process of a container gets only if it handles it."""
        self._process.terminate()

    def kill(self) -> None:
        """SIGKILL."""
        self._process.kill()

    async def communicate(self, input: bytes | str | None = None) -> tuple[Any, Any]:
        """Feed `input` to stdin, read both outputs to their ends, and wait for the process.

        Returns stdout and stderr as bytes, None for what is no pipe. Raises
        OutputLimitExceeded, after the process was killed.
        """
        await asyncio.gather(
            self._feed(self._process.text.encode(input or b"")),
            self._read(1, self.stdout),
            self._read(2, self.stderr),
            self.wait(),
        )
        if self._over_limit:
            raise OutputLimitExceeded(self.args, self._process.max_output or 0, *self._said())
        return self._said()

    async def _feed(self, data: bytes) -> None:
        if self.stdin is None:
            return
        try:
            self.stdin.write(data)
            await self.stdin.drain()
        except (BrokenPipeError, ConnectionResetError):
            pass  # it does not want to know
        self.stdin.close()

    async def _read(self, number: int, reader: asyncio.StreamReader | None) -> None:
        if reader is None:
            return
        kept = self._chunks.setdefault(number, [])
        limit = self._process.max_output
        while chunk := await reader.read(_CHUNK):
            self._size += len(chunk)
            if limit is not None and self._size > limit:
                chunk = chunk[: max(0, len(chunk) - (self._size - limit))]
                if not self._over_limit:
                    self._over_limit = True
                    self.kill()
            kept.append(chunk)

    def _said(self) -> tuple[Any, Any]:
        decode = self._process.text.decode
        first, second = (
            decode(b"".join(self._chunks[number])) if number in self._chunks else None
            for number in (1, 2)
        )
        return first, second

    async def _kill_and_drain(self) -> tuple[Any, Any]:
        """Kill it, wait for its end, and return what it wrote before."""
        self.kill()
        await self.wait()
        try:
            async with asyncio.timeout(_DRAIN_S):  # somebody it left may hold the pipes
                await asyncio.gather(self._read(1, self.stdout), self._read(2, self.stderr))
        except TimeoutError:
            pass
        self._close()
        return self._said()

    def _close(self) -> None:
        for transport in self._transports:
            transport.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: object, *_: object) -> None:
        if kind is not None:
            self.kill()
        if self.stdin is not None:
            self.stdin.close()
        try:
            await self.wait()
        finally:
            self._close()


async def _end_of(child: Child) -> None:
    """Wait for the end of a process, which stays to be collected."""
    if child.ended:
        return
    loop = asyncio.get_running_loop()
    ended = loop.create_future()
    mine = os.dup(child.pidfd)  # the loop takes one reader for a descriptor

    def notice() -> None:
        loop.remove_reader(mine)
        if not ended.done():
            ended.set_result(None)

    loop.add_reader(mine, notice)
    try:
        await ended
    finally:
        loop.remove_reader(mine)
        os.close(mine)


def _abandon(process: blocking_process.Process) -> None:
    process.kill()
    process.wait()
    process.close_pipes()


async def popen(
    args: Sequence[str] | None = None,
    *,
    stdin: Stream = DEVNULL,
    stdout: Stream = None,
    stderr: Stream = None,
    max_output: int | None = None,
    **options: Unpack[ContainerOptions],
) -> Process:
    """Start a command in a container of its own, which is removed when it ends: `kaa.Popen`."""
    started = await _start(args, stdin, stdout, stderr, None, max_output, options)
    return await Process._adopt(started)


async def _start(
    args: Sequence[str] | None,
    stdin: Stream,
    stdout: Stream,
    stderr: Stream,
    text: Text | None,
    max_output: int | None,
    options: ContainerOptions,
) -> blocking_run.Popen:
    def start() -> blocking_run.Popen:
        found = blocking_run.Popen(
            args, stdin=stdin, stdout=stdout, stderr=stderr, max_output=max_output, **options
        )
        if text is not None:
            found.text = text  # for the whole of the output: the streams stay bytes
        return found

    return await _blocking(start, _abandon)


async def run(
    args: Sequence[str] | None = None,
    *,
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
    **options: Unpack[ContainerOptions],
) -> CompletedContainer:
    """`kaa.run`, awaited. When it is cancelled the container is killed and removed."""
    if capture_output:
        if stdout is not None or stderr is not None:
            raise ValueError("capture_output says already where stdout and stderr go")
        stdout = stderr = PIPE
    wanted = Text(text or isinstance(input, str), encoding, errors)
    started = await _start(
        args, PIPE if input is not None else stdin, stdout, stderr, wanted, max_output, options
    )
    async with await Process._adopt(started) as process:
        out, err = await _converse(process, input, timeout)
        returncode = await process.wait()
    done = CompletedContainer(process.args, returncode, out, err, started.id, started.oom_killed)
    if check:
        done.check_returncode()
    return done


async def _converse(
    process: Process, input: bytes | str | None, timeout: float | None
) -> tuple[Any, Any]:
    try:
        async with asyncio.timeout(timeout):
            return await process.communicate(input)
    except TimeoutError:
        output = await process._kill_and_drain()
    raise TimeoutExpired(process.args, timeout or 0.0, *output)


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
        return await _blocking(self._container.state)

    async def config(self) -> Config:
        """Its configuration: a copy."""
        return await _blocking(lambda: self._container.config)

    async def stats(self) -> Stats:
        """What it uses now. Raises NotRunning."""
        return await _blocking(self._container.stats)

    async def processes(self) -> list[int]:
        """The host's pids of all its processes."""
        return await _blocking(self._container.processes)

    async def start(self) -> None:
        """Start its process. Raises NotRunning unless it is `created`."""
        await _blocking(self._container.start)

    async def kill(self, signal: int | str = signals.SIGTERM, *, all: bool = False) -> None:
        """Send a signal to its first process. Raises NotRunning, but not with `all`."""
        await _blocking(lambda: self._container.kill(signal, all=all))

    async def wait(self) -> int | None:
        """Wait for the end of its first process: the exit status, or None if nobody can know."""
        if self.process is not None:
            return await self.process.wait()
        child = self._container.child
        if child is None:
            return None
        await _end_of(child)
        return await _blocking(self._container.wait)

    async def pause(self) -> None:
        """Freeze all its processes. Raises NotRunning."""
        await _blocking(self._container.pause)

    async def resume(self) -> None:
        """Let them go on. Raises NotRunning unless it is paused."""
        await _blocking(self._container.resume)

    async def update(
        self,
        *,
        memory: int | str | None = None,
        pids: int | None = None,
        cpus: float | None = None,
        resources: Mapping[str, Any] | None = None,
    ) -> None:
        """Change its limits. Raises ConfigError, CgroupError, NotRunning."""
        await _blocking(
            lambda: self._container.update(memory=memory, pids=pids, cpus=cpus, resources=resources)
        )

    async def delete(self, *, force: bool = False) -> None:
        """Remove it. Raises NotRunning if it runs, unless `force` kills it first."""
        await _blocking(lambda: self._container.delete(force=force))

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
        return await Process._adopt(
            await _blocking(
                lambda: self._container.popen(
                    args, stdin=stdin, stdout=stdout, stderr=stderr, **more
                ),
                _abandon,
            )
        )

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
        process = await self.popen(
            args, stdin=PIPE if input is not None else DEVNULL, stdout=stdout, stderr=stderr, **more
        )
        process._process.text = Text(text or isinstance(input, str), None, None)
        async with process:
            out, err = await _converse(process, input, timeout)
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
            self.process._close()
        await _blocking(self._container.__exit__)


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
        container = await _blocking(
            lambda: self._runtime.create(
                id, config, bundle=bundle, stdin=stdin, stdout=stdout, stderr=stderr
            ),
            lambda made: made.__exit__(),
        )
        if container.process is None:
            raise RuntimeError("a container that was just made has a process")
        return Container(container, await Process._adopt(container.process))

    async def load(self, id: str) -> Container:
        """A container that exists, whoever made it. Raises ContainerNotFound."""
        return Container(await _blocking(lambda: self._runtime.load(id)))

    async def list(self) -> "list[Container]":
        """All containers, by id."""
        return [Container(found) for found in await _blocking(self._runtime.list)]
