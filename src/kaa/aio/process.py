"""Processes of containers, watched by an event loop."""

import asyncio
import os
from typing import IO, Any, Self

from kaa.aio.workers import blocking
from kaa.api import process as blocking_process
from kaa.api.child import Child
from kaa.api.errors import OutputLimitExceeded, TimeoutExpired
from kaa.api.process import Text

_CHUNK = 65536
_DRAIN_S = 1.0


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
    async def adopt(cls, process: blocking_process.Process, text: Text | None = None) -> Self:
        """Watch a process that was just started; `communicate` gives `text`, or bytes."""
        if text is not None:
            process.text = text
        found = cls(process)
        try:
            await found._connect()
        except BaseException:
            await blocking(lambda: abandon(process))
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
        await end_of(self._process.child)
        await blocking(self._process.poll)

    @property
    def returncode(self) -> int | None:
        """The exit status once the end was noticed, -N for signal N; None before."""
        return self._process.returncode

    async def wait(self) -> int:
        """Wait for the end and return the exit status."""
        try:
            await asyncio.shield(self._end)
        except asyncio.CancelledError:
            if not self._end.cancelled():
                raise
            await self._watch()  # the loop is being shut down, and we are still to clean up
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

        Returns stdout and stderr, None for what is no pipe. Raises
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

    async def kill_and_drain(self) -> tuple[Any, Any]:
        """Kill it, wait for its end, and return what it wrote before."""
        self.kill()
        await self.wait()
        try:
            async with asyncio.timeout(_DRAIN_S):  # somebody it left may hold the pipes
                await asyncio.gather(self._read(1, self.stdout), self._read(2, self.stderr))
        except TimeoutError:
            pass
        self.close()
        return self._said()

    def close(self) -> None:
        """Close our ends of the pipes."""
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
            self.close()


async def end_of(child: Child) -> None:
    """Wait for the end of a process, which stays to be collected."""
    if child.ended:
        return
    mine = child.dup()  # also because the loop takes one reader for a descriptor
    if mine < 0:
        return
    loop = asyncio.get_running_loop()
    ended = loop.create_future()

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


def abandon(process: blocking_process.Process) -> None:
    """Nobody wants it any more."""
    process.kill()
    process.wait()
    process.close_pipes()


async def converse(
    process: Process, input: bytes | str | None, timeout: float | None
) -> tuple[Any, Any]:
    """`communicate`; what does not end in time is killed, and the error has all that it wrote."""
    try:
        async with asyncio.timeout(timeout):
            return await process.communicate(input)
    except TimeoutError:
        output = await process.kill_and_drain()
    raise TimeoutExpired(process.args, timeout or 0.0, *output)
