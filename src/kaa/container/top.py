"""`top`: what every container uses, as rates between two looks."""

from time import monotonic
from typing import Any

from kaa.cgroups.stats import Json
from kaa.container import record as records
from kaa.container.runtime import Runtime
from kaa.container.state import cgroup_of, state
from kaa.errors import ContainerNotFound, KaaError

_UNLIMITED = 1 << 62  # v1 says "no limit" with a number that is larger still


class Sampler:
    """Looks at all containers, again and again; CPU and I/O are counted between two looks."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._before: dict[str, tuple[float, Json]] = {}

    def look(self) -> list[Json]:
        """One entry for each container that has not ended, those that use the CPU most first.

        `cpu` is in percent of one processor and null at the first look, `memory` and
        `memory_limit` (null: none) in bytes, `read` and `written` in bytes a second,
        `pressure` the share of the last ten seconds, in percent, in which some process
        had to wait for the CPU, memory or I/O (absent where the kernel does not say).
        """
        found, now = [], {}
        try:
            ids = records.ids(self._runtime.root)
        except FileNotFoundError:
            ids = []
        for id in ids:
            try:
                entry, counters = self._one(id)
            except (KaaError, OSError, ValueError, KeyError, TypeError):
                continue  # it is on its way up or down
            if entry:
                found.append(entry)
                now[id] = counters
        self._before = now
        return sorted(found, key=lambda entry: (-(entry["cpu"] or 0), entry["id"]))

    def _one(self, id: str) -> tuple[Json, tuple[float, Json]]:
        about = state(self._runtime, id)
        if about["status"] == "stopped":
            return {}, (0.0, {})
        record = records.load(self._runtime.root, id)
        cgroup = cgroup_of(record)
        if cgroup is None:
            raise ContainerNotFound("the container has no cgroup")
        stats, at = cgroup.stats(), monotonic()
        counters = {"cpu": stats["cpu"]["usage"].get("total", 0), **_bytes(stats["blkio"])}
        rates = self._rates(record, at, counters)
        memory = stats["memory"].get("usage", {})
        limit = memory.get("limit", _UNLIMITED)
        entry = {
            "id": id,
            "status": about["status"],
            "pid": about["pid"],
            "cpu": None if rates is None else round(rates["cpu"] / 1e9 * 100, 1),
            "memory": memory.get("usage", 0),
            "memory_limit": None if not 0 < limit < _UNLIMITED else limit,
            "pids": stats["pids"].get("current", 0),
            "pids_limit": stats["pids"].get("limit"),
            "read": None if rates is None else round(rates["read"]),
            "written": None if rates is None else round(rates["written"]),
        }
        pressure = {
            name: stats[section]["psi"]["some"]["avg10"]
            for name, section in (("cpu", "cpu"), ("memory", "memory"), ("io", "blkio"))
            if "psi" in stats[section]
        }
        if pressure:
            entry["pressure"] = pressure
        return entry, (at, counters | {"start": record["start_time"]})

    def _rates(self, record: Json, at: float, counters: Json) -> dict[str, float] | None:
        """What was counted a second, since the last look at the same container."""
        before_at, before = self._before.get(record["id"], (0.0, {}))
        if before.get("start") != record["start_time"] or at <= before_at:
            return None
        return {
            name: max(0, value - before[name]) / (at - before_at)
            for name, value in counters.items()
        }


def _bytes(block: Json) -> dict[str, int]:
    """What was read and written, over all devices."""
    entries: list[dict[str, Any]] = block.get("ioServiceBytesRecursive", [])
    totals = {"Read": 0, "Write": 0}
    for entry in entries:
        if entry.get("op") in totals:
            totals[entry["op"]] += entry.get("value", 0)
    return {"read": totals["Read"], "written": totals["Write"]}
