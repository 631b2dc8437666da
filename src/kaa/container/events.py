"""`events`: what a container uses, and the OOM killer's visits."""

import posix
from errno import ENOENT
from select import POLLERR, POLLIN, POLLPRI, poll
from time import monotonic

from kaa.container import record as records
from kaa.container.state import cgroup_of, is_alive
from kaa.errors import NotRunning

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from kaa.cgroups.base import Cgroup
    from kaa.compile.inputs import Json
    from kaa.container.runtime import Runtime

# how often a container is looked at that cannot tell us that it ended
_CHECK_S = 0.5


def _running(runtime: "Runtime", id: str) -> "tuple[Json, Cgroup]":
    record = records.load(runtime.root, id)
    cgroup = cgroup_of(record)
    if not is_alive(record) or cgroup is None:
        raise NotRunning(f"container with id {id} is not running")
    return record, cgroup


def stats(runtime: "Runtime", id: str) -> "Json":
    """One event of type ``stats``, as `runc events --stats` prints it."""
    _, cgroup = _running(runtime, id)
    return {"type": "stats", "id": id, "data": cgroup.stats()}


def follow(runtime: "Runtime", id: str, interval_s: float) -> "Iterator[Json]":
    """A ``stats`` event each `interval_s` seconds and an ``oom`` event for each visit of the
    OOM killer, until the container ends."""
    record, cgroup = _running(runtime, id)
    watch = OomWatch(cgroup)
    try:
        next_stats = monotonic() + interval_s
        while True:
            for _ in range(watch.wait(min(_CHECK_S, max(0.0, next_stats - monotonic())))):
                yield {"type": "oom", "id": id}
            if not is_alive(record):
                for _ in range(watch.wait(0)):
                    yield {"type": "oom", "id": id}
                return
            if monotonic() >= next_stats:
                next_stats += interval_s
                yield {"type": "stats", "id": id, "data": cgroup.stats()}
    finally:
        watch.close()


class OomWatch:
    """Wakes up when the OOM killer was at work in a cgroup.

    v1: an eventfd registered for memory.oom_control (kernel docs,
    cgroup-v1/memory "OOM Control"); v2: POLLPRI on memory.events.
    """

    def __init__(self, cgroup: "Cgroup") -> None:
        self._cgroup = cgroup
        self._seen = cgroup.oom_kills()
        self._fds: list[int] = []
        self._poll = poll()
        folder = cgroup.paths().get("memory")
        if folder:
            self._watch_v1(folder)
        elif "" in cgroup.paths():
            self._watch_v2(cgroup.paths()[""])

    def _open(self, path: str, flags: int) -> int:
        fd = posix.open(path, flags | posix.O_CLOEXEC)
        self._fds.append(fd)
        return fd

    def _watch_v1(self, folder: str) -> None:
        control = self._open(f"{folder}/memory.oom_control", posix.O_RDONLY)
        event = posix.eventfd(0, posix.EFD_CLOEXEC | posix.EFD_NONBLOCK)
        self._fds.append(event)
        registry = posix.open(f"{folder}/cgroup.event_control", posix.O_WRONLY | posix.O_CLOEXEC)
        try:
            posix.write(registry, f"{event} {control}".encode())
        finally:
            posix.close(registry)
        self._poll.register(event, POLLIN)

    def _watch_v2(self, folder: str) -> None:
        try:
            events = self._open(f"{folder}/memory.events", posix.O_RDONLY)
        except OSError as error:
            if error.errno != ENOENT:  # without the controller nobody counts
                raise
            return
        posix.read(events, 4096)  # what is there already is no news
        self._poll.register(events, POLLPRI | POLLERR)

    def wait(self, timeout_s: float) -> int:
        """How many were killed since the last call, once that is not 0 or the time is over."""
        for fd, event in self._poll.poll(timeout_s * 1000):
            try:
                if event & POLLIN:
                    posix.eventfd_read(fd)
                else:
                    posix.pread(fd, 4096, 0)
            except OSError:
                pass  # the cgroup is gone
        try:
            now = self._cgroup.oom_kills()
        except OSError:
            return 0
        killed, self._seen = now - self._seen, now
        return int(max(0, killed))

    def close(self) -> None:
        """Give the descriptors back."""
        while self._fds:
            posix.close(self._fds.pop())
