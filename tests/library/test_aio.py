"""kaa.aio: many containers, one event loop, no thread for each."""

import asyncio
import os
import signal
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from kit import processes

import kaa
from kaa import aio

from .conftest import made_up_cgroups

NewId = Callable[[], str]
THREADS = 8


def go(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(work, 300))


async def shell(script: str, image: Path, runtime: kaa.Runtime, **more: Any) -> Any:
    options: dict[str, Any] = {
        "capture_output": True, "text": True, "rootfs": image, "runtime": runtime, **more,
    }  # fmt: skip
    return await aio.run(["sh", "-c", script], **options)


def test_run(image: Path, runtime: kaa.Runtime) -> None:
    async def work() -> None:
        done = await shell("cat; echo no >&2; exit 3", image, runtime, input="fed\n")
        assert (done.returncode, done.stdout, done.stderr) == (3, "fed\n", "no\n")
        data = bytes(range(256)) * 4096
        done = await aio.run(["cat"], input=data, stdout=aio.PIPE, rootfs=image, runtime=runtime)
        assert done.stdout == data
        done = await aio.run(["true"], input=bytes(1 << 20), rootfs=image, runtime=runtime)
        assert done.returncode == 0
        with pytest.raises(kaa.ContainerFailed):
            await shell("exit 1", image, runtime, check=True)
        with pytest.raises(kaa.SyscallError):
            await aio.run(["no-such-program"], rootfs=image, runtime=runtime)

    go(work())


def test_a_timeout_and_too_much_output(image: Path, runtime: kaa.Runtime) -> None:
    async def work() -> None:
        with pytest.raises(kaa.TimeoutExpired) as expired:
            await shell("echo early; sleep 100", image, runtime, timeout=0.7)
        assert expired.value.stdout == "early\n"
        with pytest.raises(kaa.OutputLimitExceeded) as exceeded:
            await shell("yes", image, runtime, max_output=1000)
        assert len(exceeded.value.stdout or "") == 1000

    go(work())


@pytest.mark.parametrize("delay", [0.0, 0.001, 0.01, 0.05, 0.5])
def test_a_cancelled_one_goes(image: Path, runtime: kaa.Runtime, delay: float) -> None:
    """Whether it is being set up or runs already."""

    async def work() -> None:
        task = asyncio.create_task(shell("sleep 1000", image, runtime))
        await asyncio.sleep(delay)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert runtime.list() == []
        assert not made_up_cgroups()

    go(work())


@pytest.mark.parametrize("delay", [0.0, 0.02, 0.5])
def test_the_loop_ends_before_they_do(image: Path, runtime: kaa.Runtime, delay: float) -> None:
    """asyncio.run cancels what is left, all at once."""

    async def work() -> None:
        left = [asyncio.create_task(shell("sleep 1000", image, runtime)) for _ in range(3)]
        await asyncio.sleep(delay)
        assert not any(task.done() for task in left)

    go(work())
    assert runtime.list() == []
    assert not made_up_cgroups()


def test_streams_of_a_process(image: Path, runtime: kaa.Runtime) -> None:
    async def work() -> None:
        async with await aio.popen(
            ["cat"], stdin=aio.PIPE, stdout=aio.PIPE, rootfs=image, runtime=runtime
        ) as process:
            assert process.stdin and process.stdout
            for line in (b"one\n", b"two\n"):
                process.stdin.write(line)
                assert await process.stdout.readline() == line
            assert process.returncode is None
            process.kill()
            assert await process.wait() == -signal.SIGKILL

    go(work())


def test_an_unawaited_end_is_noticed(image: Path, runtime: kaa.Runtime) -> None:
    async def work() -> None:
        process = await aio.popen(["true"], rootfs=image, runtime=runtime)
        while runtime.list():
            await asyncio.sleep(0.01)
        assert await process.wait() == 0

    go(work())


def test_a_container(runtime: kaa.Runtime, config: kaa.Config, new_id: NewId) -> None:
    async def work() -> None:
        here = aio.Runtime(runtime.root)
        async with await here.create(new_id(), config) as container:
            assert (await container.state()).status == "created"
            await container.start()
            done = await container.exec(["cat"], input="x", capture_output=True)
            assert (done.returncode, done.stdout) == (0, "x")
            with pytest.raises(kaa.TimeoutExpired):
                await container.exec(["sleep", "100"], timeout=0.2)
            await container.pause()
            await container.resume()
            await container.update(pids=9)
            assert (await container.stats()).pids_limit == 9
            assert (await container.config()).resources["pids"]["limit"] == 9
            [same] = await here.list()
            other = await here.load(container.id)
            ends = [asyncio.create_task(c.wait()) for c in (container, same, other)]
            await asyncio.sleep(0.05)
            await container.kill("KILL")
            assert await asyncio.gather(*ends) == [-9, -9, -9]
        assert await here.list() == []
        with pytest.raises(kaa.ContainerNotFound):
            await container.state()

    go(work())


@pytest.mark.slow
def test_a_thousand(image: Path, runtime: kaa.Runtime, nothing_is_left: Callable[[], None]) -> None:
    """50 at a time: every exit status is right, and nothing is left of any."""
    most_threads = 0
    threads = threading.active_count()
    children = set(processes.children(os.getpid()))

    async def one(number: int, turn: asyncio.Semaphore) -> None:
        nonlocal most_threads
        async with turn:
            done = await shell(
                f"echo {number}; exit {number % 256}",
                image,
                runtime,
                throw_away=number % 2 == 0,
                pids=10,
            )
        assert done.returncode == number % 256
        assert done.stdout == f"{number}\n"
        most_threads = max(most_threads, threading.active_count())

    async def work() -> None:
        turn = asyncio.Semaphore(50)
        await asyncio.gather(*(one(number, turn) for number in range(1000)))

    asyncio.run(work())
    assert most_threads - threads <= THREADS
    assert set(processes.children(os.getpid())) == children
    assert runtime.list() == []
    nothing_is_left()
