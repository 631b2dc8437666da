"""The numbers of a container's cgroup, in the shape of `runc events --stats`."""

import os
from collections.abc import Iterator
from typing import Any

from kaa.cgroups.files import numbers, read_or

Json = dict[str, Any]

_UNLIMITED = (1 << 64) - 1
_NANOSECONDS = 10**9


def _number(path: str, default: int = 0) -> int:
    """A file that holds one number; "max" is the largest there is."""
    text = read_or(path)
    if text == "max":
        return _UNLIMITED
    return int(text) if text.lstrip("-").isdigit() else default


def _keyed(path: str) -> dict[str, int]:
    return numbers(read_or(path))


def _without_zeros(entry: Json) -> Json:
    return {key: value for key, value in entry.items() if value}


def _lines(path: str) -> Iterator[list[str]]:
    for line in read_or(path).split("\n"):
        if line:
            yield line.split()


def pressure(path: str) -> Json:
    """A PSI file (accounting/psi.rst): {"some": {...}, "full": {...}}; empty without PSI."""
    found: Json = {}
    for kind, *fields in _lines(path):
        pairs = dict(field.split("=") for field in fields)
        found[kind] = {
            key: int(value) if key == "total" else float(value) for key, value in pairs.items()
        }
    return found


def cpu_list(text: str) -> list[int]:
    """The kernel's list format: "0-2,7" is [0, 1, 2, 7]."""
    found: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        if first.isdigit():
            found += range(int(first), int(last or first) + 1)
    return found


def _pids(directory: str) -> Json:
    limit = _number(f"{directory}/pids.max")
    return _without_zeros(
        {
            "current": _number(f"{directory}/pids.current"),
            "limit": 0 if limit == _UNLIMITED else limit,
        }
    )


def _hugetlb(directory: str, usage: str, peak: str, failures: str) -> Json:
    """Per page size; prefers what is reserved, which is what a full limit refuses first."""
    found: Json = {}
    for name in sorted(_names(directory)):
        kind, _, rest = name.partition(".")
        size, _, what = rest.partition(".")
        if kind != "hugetlb" or what != usage:
            continue
        prefix = f"{directory}/hugetlb.{size}."
        if os.path.exists(f"{prefix}rsvd.{usage}"):
            prefix += "rsvd."
        found[size] = {
            **_without_zeros({"usage": _number(prefix + usage), "max": _number(prefix + peak)}),
            "failcnt": _hugetlb_failures(prefix.removesuffix("rsvd."), prefix, failures),
        }
    return found


def _hugetlb_failures(plain: str, prefix: str, file: str) -> int:
    if file == "events":
        return _keyed(plain + file).get("max", 0)
    return _number(prefix + file)


def _names(directory: str) -> list[str]:
    try:
        return os.listdir(directory)
    except OSError:
        return []


def _rdma(directory: str) -> Json:
    found = {}
    for what in ("current", "max"):
        entries = []
        for device, *pairs in _lines(f"{directory}/rdma.{what}"):
            entry: Json = {"device": device}
            for pair in pairs:
                key, _, value = pair.partition("=")
                entry[key + "s"] = (1 << 32) - 1 if value == "max" else int(value)
            entries.append(_rdma_names(entry))
        if entries:
            found["limit" if what == "max" else what] = entries
    return found


def _rdma_names(entry: Json) -> Json:
    names = {"hca_handles": "hcaHandles", "hca_objects": "hcaObjects"}
    return {names.get(key, key): value for key, value in entry.items()}


def _with(found: Json, **more: Json) -> Json:
    """`found` and those of `more` that are not empty."""
    return found | {key: value for key, value in more.items() if value}


# -- v1 ------------------------------------------------------------------------


def v1_stats(paths: dict[str, str]) -> Json:
    """From the directories by controller; controllers that are missing leave empty objects."""

    def at(controller: str) -> str:
        return paths.get(controller, "/nonexistent")

    found = {
        "cpu": _v1_cpu(at("cpu"), at("cpuacct")),
        "cpuset": _v1_cpuset(at("cpuset")),
        "memory": _v1_memory(at("memory")),
        "pids": _pids(at("pids")),
        "blkio": _v1_block(at("blkio")),
        "hugetlb": _hugetlb(at("hugetlb"), "usage_in_bytes", "max_usage_in_bytes", "failcnt"),
        "intel_rdt": {},
        "network_interfaces": None,
    }
    return _with(found, rdma=_rdma(at("rdma")))


def _v1_cpu(cpu: str, account: str) -> Json:
    tick = _NANOSECONDS // os.sysconf("SC_CLK_TCK")
    times = _keyed(f"{account}/cpuacct.stat")
    per_cpu = list(_lines(f"{account}/cpuacct.usage_all"))[1:]  # "cpu user system"
    throttling = _keyed(f"{cpu}/cpu.stat")
    usage = _without_zeros(
        {
            "total": _number(f"{account}/cpuacct.usage"),
            "percpu": [int(n) for n in read_or(f"{account}/cpuacct.usage_percpu").split()],
            "percpu_kernel": [int(line[2]) for line in per_cpu],
            "percpu_user": [int(line[1]) for line in per_cpu],
        }
    )
    usage["kernel"] = times.get("system", 0) * tick
    usage["user"] = times.get("user", 0) * tick
    return {
        "usage": usage,
        "throttling": _throttling(throttling, "throttled_time", 1),
    }


def _throttling(values: dict[str, int], time: str, unit_ns: int) -> Json:
    return _without_zeros(
        {
            "periods": values.get("nr_periods", 0),
            "throttledPeriods": values.get("nr_throttled", 0),
            "throttledTime": values.get(time, 0) * unit_ns,
        }
    )


def _v1_cpuset(directory: str) -> Json:
    found: Json = _without_zeros(
        {
            "cpus": cpu_list(read_or(f"{directory}/cpuset.cpus")),
            "mems": cpu_list(read_or(f"{directory}/cpuset.mems")),
        }
    )
    for name in (
        "cpu_exclusive",
        "mem_hardwall",
        "mem_exclusive",
        "memory_migrate",
        "memory_spread_page",
        "memory_spread_slab",
        "memory_pressure",
        "sched_load_balance",
        "sched_relax_domain_level",
    ):
        found[name] = _number(f"{directory}/cpuset.{name}")
    return found


def _v1_memory(directory: str) -> Json:
    raw = _keyed(f"{directory}/memory.stat")

    def entry(prefix: str) -> Json:
        start = f"{directory}/memory.{prefix}"
        return {
            "limit": _number(f"{start}limit_in_bytes"),
            **_without_zeros(
                {
                    "usage": _number(f"{start}usage_in_bytes"),
                    "max": _number(f"{start}max_usage_in_bytes"),
                }
            ),
            "failcnt": _number(f"{start}failcnt"),
        }

    return {
        **_without_zeros({"cache": raw.get("cache", 0)}),
        "usage": entry(""),
        "swap": entry("memsw."),
        "kernel": entry("kmem."),
        "kernelTCP": entry("kmem.tcp."),
        **_without_zeros({"raw": raw}),
    }


_V1_BLOCK = {
    "ioServiceBytesRecursive": "io_service_bytes_recursive",
    "ioServicedRecursive": "io_serviced_recursive",
    "ioQueueRecursive": "io_queued_recursive",
    "ioServiceTimeRecursive": "io_service_time_recursive",
    "ioWaitTimeRecursive": "io_wait_time_recursive",
    "ioMergedRecursive": "io_merged_recursive",
    "ioTimeRecursive": "time_recursive",
    "sectorsRecursive": "sectors_recursive",
}


def _v1_block(directory: str) -> Json:
    """From the scheduler that counts (bfq, cfq), else from the throttle layer."""
    found = {}
    for key, file in _V1_BLOCK.items():
        for policy in ("bfq.", "", "throttle."):
            entries = _block_entries(f"{directory}/blkio.{policy}{file}")
            if entries:
                found[key] = entries
                break
    return found


def _block_entries(path: str) -> list[Json]:
    """ "8:0 Read 4096" a line, or "8:0 17"; the machine-wide "Total 1" is left out."""
    entries = []
    for first, *rest in _lines(path):
        major, colon, minor = first.partition(":")
        if colon and rest:
            op = rest[0] if len(rest) > 1 else ""
            entries.append(_block_entry(major, minor, op, rest[-1]))
    return entries


def _block_entry(major: str, minor: str, op: str, value: str) -> Json:
    return _without_zeros({"major": int(major), "minor": int(minor), "op": op, "value": int(value)})


# -- v2 ------------------------------------------------------------------------


def v2_stats(directory: str) -> Json:
    """From the one directory; controllers that are not enabled leave empty objects."""
    found = {
        "cpu": _v2_cpu(directory),
        "cpuset": _v2_cpuset(directory),
        "memory": _v2_memory(directory),
        "pids": _pids(directory),
        "blkio": _v2_block(directory),
        "hugetlb": _hugetlb(directory, "current", "max_usage", "events"),
        "intel_rdt": {},
        "network_interfaces": None,
    }
    return _with(found, rdma=_rdma(directory), misc=_v2_misc(directory))


def _v2_cpu(directory: str) -> Json:
    values = _keyed(f"{directory}/cpu.stat")
    usage = _without_zeros({"total": values.get("usage_usec", 0) * 1000})
    usage["kernel"] = values.get("system_usec", 0) * 1000
    usage["user"] = values.get("user_usec", 0) * 1000
    found = {"usage": usage, "throttling": _throttling(values, "throttled_usec", 1000)}
    return _with(found, psi=pressure(f"{directory}/cpu.pressure"))


def _v2_cpuset(directory: str) -> Json:
    """What v1 has besides does not exist; readers expect the keys."""
    found = _v1_cpuset("/nonexistent")
    return found | _without_zeros(
        {
            "cpus": cpu_list(read_or(f"{directory}/cpuset.cpus")),
            "mems": cpu_list(read_or(f"{directory}/cpuset.mems")),
        }
    )


def _v2_memory(directory: str) -> Json:
    raw = _keyed(f"{directory}/memory.stat")
    memory = _v2_memory_entry(f"{directory}/memory.")
    swap = _v2_memory_entry(f"{directory}/memory.swap.")
    # readers know v1, where "swap" is memory and swap together
    for key in ("usage", "limit"):
        total = memory.get(key, 0) + swap.get(key, 0)
        if total:
            swap[key] = min(total, _UNLIMITED)
    memory["failcnt"] = _keyed(f"{directory}/memory.events").get("max", 0)
    found = {
        **_without_zeros({"cache": raw.get("file", 0)}),
        "usage": memory,
        "swap": swap,
        "kernel": {"limit": 0, "failcnt": 0},
        "kernelTCP": {"limit": 0, "failcnt": 0},
        **_without_zeros({"raw": raw}),
    }
    return _with(found, psi=pressure(f"{directory}/memory.pressure"))


def _v2_memory_entry(prefix: str) -> Json:
    return {
        "limit": _number(f"{prefix}max"),
        **_without_zeros({"usage": _number(f"{prefix}current"), "max": _number(f"{prefix}peak")}),
        "failcnt": 0,
    }


_V2_BLOCK = {
    "rbytes": ("ioServiceBytesRecursive", "Read"),
    "wbytes": ("ioServiceBytesRecursive", "Write"),
    "dbytes": ("ioServiceBytesRecursive", "Discard"),
    "rios": ("ioServicedRecursive", "Read"),
    "wios": ("ioServicedRecursive", "Write"),
    "dios": ("ioServicedRecursive", "Discard"),
}


def _v2_block(directory: str) -> Json:
    found: Json = {}
    for device, *pairs in _lines(f"{directory}/io.stat"):
        major, _, minor = device.partition(":")
        for pair in pairs:
            name, _, value = pair.partition("=")
            if name in _V2_BLOCK:
                key, op = _V2_BLOCK[name]
                found.setdefault(key, []).append(_block_entry(major, minor, op, value))
    return _with(found, psi=pressure(f"{directory}/io.pressure"))


def _v2_misc(directory: str) -> Json:
    found: Json = {}
    for file, key in (("current", "usage"), ("events", "events")):
        for name, value in _keyed(f"{directory}/misc.{file}").items():
            found.setdefault(name.removesuffix(".max"), {})[key] = value
    return found
