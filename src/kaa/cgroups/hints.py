"""What usually is the matter when a cgroup refuses. Only imported to write an error."""

import os
from errno import (
    EACCES,
    EAGAIN,
    EBUSY,
    EINVAL,
    ENODEV,
    ENOENT,
    ENOSPC,
    EOPNOTSUPP,
    EPERM,
    ERANGE,
    EROFS,
    ESRCH,
)
from typing import TYPE_CHECKING

from kaa.cgroups.files import read_or

if TYPE_CHECKING:
    from kaa.cgroups.base import Cgroup
    from kaa.cgroups.conversions import Setting
    from kaa.cgroups.layout import Hierarchy


def hint_for_directory(hierarchy: "Hierarchy", errno: int) -> str | None:
    """Why a cgroup could not be made or entered."""
    if errno == EROFS:
        return f"{hierarchy.mountpoint} is mounted read-only"
    if errno in (EACCES, EPERM):
        return "without root's power a cgroup must have been delegated to you"
    if errno == ENOENT:
        return "the cgroup does not exist (any more)"
    if errno == ESRCH:
        return "the process has ended"
    if errno == EAGAIN:
        return "cgroup.max.depth or cgroup.max.descendants of a cgroup above forbids one more"
    if hierarchy.controllers:
        return _hint_v1_directory(hierarchy, errno)
    if errno == EBUSY:
        return "it passes controllers on to cgroups below it, so it may hold no processes"
    if errno == EOPNOTSUPP:
        kind = read_or(f"{hierarchy.dir}/cgroup.type", "unknown")
        return f"its cgroup.type is {kind!r}; it may not hold such a process"
    return None


def _hint_v1_directory(hierarchy: "Hierarchy", errno: int) -> str | None:
    if errno == ENOSPC and "cpuset" in hierarchy.controllers:
        return "the cpuset has no cpus or no mems"
    if errno == EINVAL and "cpu" in hierarchy.controllers:
        return "a real-time process needs linux.resources.cpu.realtimeRuntime"
    return None


def hint_for_setting(cgroup: "Cgroup", setting: "Setting", errno: int) -> str | None:
    """Why a value was refused."""
    file, value, _ = setting
    if errno == ENOENT:
        return _missing(cgroup, file)
    if errno in (EACCES, EPERM) and cgroup.rootless:
        return "the cgroup was not delegated to you"
    controller = file.partition(".")[0]
    directory = (cgroup.file_path(file) or file).rpartition("/")[0]
    if controller == "memory":
        return _memory(directory, errno)
    if controller == "cpuset":
        return _cpuset(directory, file)
    if controller == "cpu":
        return _cpu(directory, file, errno)
    if controller in ("blkio", "io"):
        return _block(value, errno)
    if controller == "devices" and errno == EPERM:
        return "the parent cgroup does not allow that itself"
    if errno == EINVAL:
        return "the kernel does not take this value"
    return None


def _missing(cgroup: "Cgroup", file: str) -> str:
    controller, _, rest = file.partition(".")
    if controller == "hugetlb":
        sizes = _page_sizes()
        size = rest.partition(".")[0]
        if size not in sizes:
            return f"this machine's huge pages are: {', '.join(sizes) or 'none'}"
    return cgroup.why_missing(controller)


def _page_sizes() -> list[str]:
    try:
        names = os.listdir("/sys/kernel/mm/hugepages")
    except OSError:
        return []
    kilobytes = sorted(int(n[len("hugepages-") : -2]) for n in names)
    return [_page_size(k) for k in kilobytes]


def _page_size(kilobytes: int) -> str:
    """As in the names of the hugetlb files."""
    for unit, size in (("GB", 1 << 20), ("MB", 1 << 10)):
        if kilobytes >= size:
            return f"{kilobytes // size}{unit}"
    return f"{kilobytes}KB"


def _memory(directory: str, errno: int) -> str | None:
    if errno == EBUSY:
        usage = read_or(f"{directory}/memory.usage_in_bytes", "?")
        peak = read_or(f"{directory}/memory.max_usage_in_bytes", "?")
        return f"current usage: {usage}, peak usage: {peak}"
    if errno == EINVAL:
        limit = read_or(f"{directory}/memory.limit_in_bytes")
        swap = read_or(f"{directory}/memory.memsw.limit_in_bytes")
        if limit and swap:
            return (
                "memory+swap cannot be less than memory;"
                f" in force: memory {limit}, memory+swap {swap}"
            )
    if errno == EOPNOTSUPP:
        return "the kernel no longer has this limit"
    return None


def _cpuset(directory: str, file: str) -> str:
    parent = os.path.dirname(directory)
    available = read_or(f"{parent}/{file}.effective") or read_or(f"{parent}/{file}")
    return f"the parent cgroup has {available or 'none'}"


def _cpu(directory: str, file: str, errno: int) -> str | None:
    if errno not in (EINVAL, ERANGE):
        return None
    if file in ("cpu.shares", "cpu.weight") and read_or(f"{directory}/cpu.idle") == "1":
        return "an idle cgroup has no weight; set cpu.idle to 0 too"
    parent = os.path.dirname(directory)
    if file.startswith("cpu.rt_"):
        left = read_or(f"{parent}/cpu.rt_runtime_us", "?")
        return f"the parent cgroup has a real-time runtime of {left} us"
    if file.startswith("cpu.cfs_"):
        quota, period = (read_or(f"{parent}/cpu.cfs_{n}_us", "?") for n in ("quota", "period"))
        above = f"{quota}/{period}"
    else:
        above = read_or(f"{parent}/cpu.max")
    limited = above[:1].isdigit()
    more = f", and not more than the parent's {above}" if limited else ""
    return f"microseconds: the period 1000 to 1000000, the quota at least 1000{more}"


def _block(value: str, errno: int) -> str | None:
    device = value.partition(" ")[0]
    if errno == ENODEV:
        return f"there is no block device {device} (a partition does not count)"
    if errno in (EINVAL, ERANGE):
        return "weights are 10 to 1000, rates not negative"
    return None
