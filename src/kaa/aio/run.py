"""`kaa.aio.run` and `kaa.aio.popen`: a command in a container of its own."""

from collections.abc import Sequence
from typing import Unpack

from kaa.aio.process import Process, abandon, converse
from kaa.aio.workers import blocking
from kaa.api import run as blocking_run
from kaa.api.options import ContainerOptions
from kaa.api.process import Text
from kaa.api.run import CompletedContainer
from kaa.api.stdio import DEVNULL, PIPE, Stream


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
    return await Process.adopt(await _start(args, stdin, stdout, stderr, max_output, options))


async def _start(
    args: Sequence[str] | None,
    stdin: Stream,
    stdout: Stream,
    stderr: Stream,
    max_output: int | None,
    options: ContainerOptions,
) -> blocking_run.Popen:
    return await blocking(
        lambda: blocking_run.Popen(
            args, stdin=stdin, stdout=stdout, stderr=stderr, max_output=max_output, **options
        ),
        abandon,
    )


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
    if input is not None:
        stdin = PIPE
    started = await _start(args, stdin, stdout, stderr, max_output, options)
    wanted = Text(text or isinstance(input, str), encoding, errors)
    async with await Process.adopt(started, wanted) as process:
        out, err = await converse(process, input, timeout)
        returncode = await process.wait()
    done = CompletedContainer(process.args, returncode, out, err, started.id, started.oom_killed)
    if check:
        done.check_returncode()
    return done
