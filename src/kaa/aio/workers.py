"""The few threads that do what blocks, for all containers and all event loops."""

import asyncio
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Result = TypeVar("Result")

# more would only wait for each other: between its system calls, setting up is Python
_COUNT = min(4, (os.cpu_count() or 1) + 1)

_pool: ThreadPoolExecutor | None = None
_pool_lock = threading.Lock()


def _workers() -> ThreadPoolExecutor:
    global _pool
    with _pool_lock:
        if _pool is None:
            _pool = ThreadPoolExecutor(_COUNT, thread_name_prefix="kaa-aio")
        return _pool


async def blocking(
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
