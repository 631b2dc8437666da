"""linux.resources in the kernel's terms: pure functions, no file is touched.

A *setting* is (file, value, JSON pointer of the property it comes from).
"""

from kaa.errors import CgroupError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Json = dict[str, Any]
    Setting = tuple[str, str, str]

RESOURCES = "/linux/resources"


def shares_to_weight(shares: int) -> int:
    """cpu.shares (2..262144, default 1024) as cpu.weight (1..10000, default 100).

    The curve through the two minima, the two defaults and the two maxima that
    runc (1.3.2) and crun (1.23) agreed on: a parabola on logarithmic scales.
    """
    if shares <= 2:
        return 1
    if shares >= 262144:
        return 10000
    from math import ceil, log2

    octave = log2(shares)
    weight: float = 10 ** ((octave * octave + 125 * octave) / 612 - 7 / 34)
    return ceil(weight - 1e-9)  # 100.00000000000001 is meant to be 100


def blkio_to_io_weight(weight: int) -> int:
    """blkio.weight (10..1000) as io.weight (1..10000), linearly."""
    return 1 + (weight - 10) * 9999 // 990


def maximum(value: int) -> str:
    """A limit for a v2 file: every negative number means no limit."""
    return "max" if value < 0 else str(value)


def minus_one(value: int) -> str:
    """A limit for a v1 file: every negative number means no limit."""
    return str(max(value, -1))


def pids_max(limit: int) -> str:
    """pids.limit: 0 is the smallest limit there is (1: the container's first process)."""
    return "max" if limit < 0 else str(max(limit, 1))


def cpu_max(quota: int, period: int, now: str = "max") -> str:
    """cpu.max for a quota and a period in microseconds; 0 = not given.

    `now` is the quota in force, kept when only the period is given; without a
    period the kernel keeps its own.
    """
    first = now if quota == 0 else maximum(quota)
    return f"{first} {period}" if period else first


def check_swap(limit: int, swap: int) -> None:
    """Memory plus swap cannot be less than memory."""
    if 0 < swap < limit:
        raise CgroupError(
            f"memory+swap limit should be >= memory limit: {swap} < {limit}",
            pointer=f"{RESOURCES}/memory/swap",
        )


def swap_max(limit: int, swap: int) -> str | None:
    """memory.swap.max, which leaves out the memory that OCI's `swap` includes.

    0 = not given; None: there is nothing to write. No limit on memory alone
    means no limit on both, as it does on v1.
    """
    if swap < 0 or (limit < 0 and swap == 0):
        return "max"
    if swap == 0:
        return None
    if limit <= 0:
        raise CgroupError(
            "a swap limit needs a memory limit (swap is memory+swap together)",
            pointer=f"{RESOURCES}/memory/swap",
        )
    check_swap(limit, swap)
    return str(swap - limit)


def escaped(key: str) -> str:
    """A key as a part of a JSON pointer (RFC 6901)."""
    return key.replace("~", "~0").replace("/", "~1")


# -- what v1 and v2 write alike ---------------------------------------------


def cpuset_settings(cpu: "Json") -> "list[Setting]":
    """cpus and mems, in the kernel's list format."""
    return [
        (f"cpuset.{key}", cpu[key], f"{RESOURCES}/cpu/{key}")
        for key in ("cpus", "mems")
        if cpu.get(key)
    ]


def pids_settings(resources: "Json") -> "list[Setting]":
    """pids.max; absent means: leave it."""
    limit = (resources.get("pids") or {}).get("limit")
    return [] if limit is None else [("pids.max", pids_max(limit), f"{RESOURCES}/pids/limit")]


def hugetlb_settings(resources: "Json", limit: str) -> "list[Setting]":
    """Pages in use, and pages reserved (mmap of more than the limit fails at once).

    `limit` is the version's name for it: "max" or "limit_in_bytes".
    """
    table = []
    for i, entry in enumerate(resources.get("hugepageLimits") or []):
        size = entry.get("pageSize", "")
        pointer = f"{RESOURCES}/hugepageLimits/{i}"
        if not _is_page_size(size):
            raise CgroupError(
                f"{size!r} is not a huge page size",
                pointer=f"{pointer}/pageSize",
                hint='like "2MB"',
            )
        value = str(entry.get("limit", 0))
        table += [
            (f"hugetlb.{size}.{kind}{limit}", value, f"{pointer}/limit") for kind in ("", "rsvd.")
        ]
    return table


def _is_page_size(size: str) -> bool:
    number = size[:-2]
    return (
        size[-2:] in ("KB", "MB", "GB")
        and number.isascii()
        and number.isdigit()
        and number[0] != "0"
    )


def rdma_settings(resources: "Json") -> "list[Setting]":
    """rdma.max, a line for each device."""
    table = []
    for device, limits in (resources.get("rdma") or {}).items():
        pairs = [
            f"{name}={limits[key]}"
            for key, name in (("hcaHandles", "hca_handle"), ("hcaObjects", "hca_object"))
            if limits.get(key) is not None
        ]
        if pairs:
            value = " ".join([device, *pairs])
            table.append(("rdma.max", value, f"{RESOURCES}/rdma/{escaped(device)}"))
    return table


def idle_around(idle: "int | None", weight: "Setting | None", pointer: str) -> "list[Setting]":
    """cpu.idle and the weight, in an order the kernel takes: an idle group has no weight to set."""
    table = []
    if idle is not None and weight is not None:
        table.append(("cpu.idle", "0", pointer))
    if weight is not None:
        table.append(weight)
    if idle is not None and (idle or weight is None):
        table.append(("cpu.idle", str(idle), pointer))
    return table


THROTTLES = {
    "throttleReadBpsDevice": ("rbps", "read_bps_device"),
    "throttleWriteBpsDevice": ("wbps", "write_bps_device"),
    "throttleReadIOPSDevice": ("riops", "read_iops_device"),
    "throttleWriteIOPSDevice": ("wiops", "write_iops_device"),
}


def throttles(resources: "Json") -> "list[tuple[str, str, int, str]]":
    """The block device limits: (property, "major:minor", rate, pointer)."""
    block = resources.get("blockIO") or {}
    return [
        (
            key,
            f"{entry['major']}:{entry['minor']}",
            entry.get("rate", 0),
            f"{RESOURCES}/blockIO/{key}/{i}",
        )
        for key in THROTTLES
        for i, entry in enumerate(block.get(key) or [])
    ]
