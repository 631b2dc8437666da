"""Limits as the properties of a unit: systemd.resource-control(5), org.freedesktop.systemd1(5).

systemd writes the files of a unit's cgroup again whenever it reloads, so it must know
the limits too. Everything here is pure. A property is (name, (signature, value)).
"""

from typing import TYPE_CHECKING, Any

from kaa.cgroups.conversions import blkio_to_io_weight, escaped
from kaa.cgroups.device_rules import ANY, MKNOD, READ, WRITE, DeviceList
from kaa.errors import CgroupError

if TYPE_CHECKING:
    from kaa.cgroups.conversions import Setting

Property = tuple[str, tuple[str, Any]]

INFINITY = 2**64 - 1
ANNOTATION = "org.systemd.property."
_QUOTA_STEP_US = 10_000  # systemd keeps whole percents of a CPU; less than asked for is worse
_PERIOD_US = 100_000

# file -> property, and the first systemd that has it
_LIMITS = {
    "memory.min": ("MemoryMin", 240),
    "memory.low": ("MemoryLow", 231),
    "memory.high": ("MemoryHigh", 231),
    "memory.max": ("MemoryMax", 231),
    "memory.swap.max": ("MemorySwapMax", 232),
    "memory.limit_in_bytes": ("MemoryLimit", 0),
    "pids.max": ("TasksMax", 227),
    "cpu.weight": ("CPUWeight", 232),
    "cpu.shares": ("CPUShares", 0),
    "blkio.weight": ("BlockIOWeight", 0),
}
_SETS = {"cpuset.cpus": "AllowedCPUs", "cpuset.mems": "AllowedMemoryNodes"}
_SETS_SINCE = 244
_PERIOD_SINCE = 242
_IDLE_SINCE = 252
_IO_WEIGHTS = ("io.weight", "io.bfq.weight")


def limits(settings: "list[Setting]", systemd: int) -> list[Property]:
    """What the writes of `settings` mean to the systemd of this version.

    What it has no property for, and so does not touch, is left out.
    """
    found: dict[str, tuple[str, Any]] = {}
    bandwidth: dict[str, str] = {}
    for file, value, pointer in settings:
        if file in _LIMITS:
            name, since = _LIMITS[file]
            if systemd >= since:
                found[name] = ("t", _limit(value, pointer))
        elif file in _SETS and systemd >= _SETS_SINCE:
            found[_SETS[file]] = ("ay", bit_mask(value, pointer))
        elif file == "cpu.max":
            quota, _, period = value.partition(" ")
            bandwidth = {"quota": quota, "period": period}
        elif file.startswith("cpu.cfs_"):
            bandwidth[file[len("cpu.cfs_") : -len("_us")]] = value
        elif file == "cpu.idle" and value == "1" and systemd >= _IDLE_SINCE:
            found["CPUWeight"] = ("t", 0)
        elif file in _IO_WEIGHTS and ":" not in value:
            weight = _limit(value.removeprefix("default "), pointer)
            found["IOWeight"] = ("t", blkio_to_io_weight(weight) if "bfq" in file else weight)
    return [*found.items(), *_bandwidth(bandwidth, systemd)]


def _limit(value: str, pointer: str) -> int:
    if value in ("max", "-1"):
        return INFINITY
    if not value.isdigit():
        raise CgroupError(f"{value!r} is not a limit", pointer=pointer)
    return int(value)


def bit_mask(text: str, pointer: str = "") -> bytes:
    """The kernel's list format ("0-2,7") as systemd wants it: bit 0 of byte 0 is number 0.

    Empty is empty: no restriction, for both.
    """
    mask = 0
    for part in text.split(",") if text.strip() else []:
        first, dash, last = part.strip().partition("-")
        last = last if dash else first
        if not (first.isdigit() and last.isdigit() and int(first) <= int(last) < 8192):
            raise CgroupError(f"{text!r} is not a list like 0-2,7", pointer=pointer)
        mask |= (1 << (int(last) + 1)) - (1 << int(first))
    return mask.to_bytes((mask.bit_length() + 7) // 8, "little")


def _bandwidth(asked: dict[str, str], systemd: int) -> list[Property]:
    quota, period = asked.get("quota", ""), int(asked.get("period") or _PERIOD_US)
    found: list[Property] = []
    if asked.get("period") and systemd >= _PERIOD_SINCE:
        found.append(("CPUQuotaPeriodUSec", ("t", period)))
    if quota in ("max", "-1"):
        found.append(("CPUQuotaPerSecUSec", ("t", INFINITY)))
    elif quota and period > 0:
        per_second = -(-int(quota) * 1_000_000 // (period * _QUOTA_STEP_US)) * _QUOTA_STEP_US
        found.append(("CPUQuotaPerSecUSec", ("t", per_second)))
    return found


def devices(state: DeviceList) -> list[Property]:
    """The device list, as far as systemd has words for it; else nothing at all.

    On v1 it is what a reload restores. On v2 both systemd's program and kaa's own must
    allow an access, so systemd's may not be the narrower one.
    """
    if state.allow:
        return []
    entries = []
    for (kind, major, minor), access in state.exceptions.items():
        if minor != ANY and major == ANY:
            return []
        folder = {"c": "char", "b": "block"}[kind]
        if minor != ANY:
            node = f"/dev/{folder}/{major}:{minor}"
        else:
            node = f"{folder}-{'*' if major == ANY else major}"
        letters = (("r", READ), ("w", WRITE), ("m", MKNOD))
        entries.append((node, "".join(letter for letter, bit in letters if access & bit)))
    return [("DevicePolicy", ("s", "strict")), ("DeviceAllow", ("a(ss)", entries))]


# What an annotation may set, with its type: what concerns the container's own scope. Not what
# reaches other units or the machine (OnFailure=, Conflicts=, FailureAction=reboot, Exec...=)
# or what kaa is in charge of (Slice, Delegate, PIDs, DeviceAllow, BPFProgram): annotations
# may be a user's of the engine (CVE-2024-3154).
_ANNOTATIONS = {
    "After": "as",
    "Before": "as",
    "Description": "s",
    "Documentation": "as",
    "CollectMode": "s",
    "DefaultDependencies": "b",
    "TimeoutStopUSec": "t",
    "RuntimeMaxUSec": "t",
    "RuntimeRandomizedExtraUSec": "t",
    "KillMode": "s",
    "KillSignal": "i",
    "FinalKillSignal": "i",
    "RestartKillSignal": "i",
    "SendSIGKILL": "b",
    "SendSIGHUP": "b",
    "OOMPolicy": "s",
    "ManagedOOMSwap": "s",
    "ManagedOOMMemoryPressure": "s",
    "ManagedOOMMemoryPressureLimit": "u",
    "ManagedOOMPreference": "s",
    "CPUAccounting": "b",
    "IOAccounting": "b",
    "MemoryAccounting": "b",
    "TasksAccounting": "b",
    "IPAccounting": "b",
    "CPUWeight": "t",
    "StartupCPUWeight": "t",
    "CPUQuotaPerSecUSec": "t",
    "CPUQuotaPeriodUSec": "t",
    "AllowedCPUs": "ay",
    "StartupAllowedCPUs": "ay",
    "AllowedMemoryNodes": "ay",
    "StartupAllowedMemoryNodes": "ay",
    "IOWeight": "t",
    "StartupIOWeight": "t",
    "IODeviceWeight": "a(st)",
    "IODeviceLatencyTargetUSec": "a(st)",
    "IOReadBandwidthMax": "a(st)",
    "IOWriteBandwidthMax": "a(st)",
    "IOReadIOPSMax": "a(st)",
    "IOWriteIOPSMax": "a(st)",
    "MemoryMin": "t",
    "MemoryLow": "t",
    "MemoryHigh": "t",
    "MemoryMax": "t",
    "MemorySwapMax": "t",
    "MemoryZSwapMax": "t",
    "TasksMax": "t",
}


def annotated(annotations: dict[str, str]) -> list[Property]:
    """The properties that annotations ask for: `org.systemd.property.NAME` = GVariant text.

    A NAME in seconds ("TimeoutStopSec") becomes the one in microseconds that systemd
    has. Raises CgroupError for what is not to be set by an annotation.
    """
    found = []
    for key, text in annotations.items():
        if key.startswith(ANNOTATION):
            found.append(_annotated(key, key[len(ANNOTATION) :], text))
    return found


def _annotated(key: str, name: str, text: str) -> Property:
    from kaa.cgroups.gvariant import parse

    pointer = f"/annotations/{escaped(key)}"
    seconds = name.endswith("Sec") and not name.endswith("USec")
    if seconds:
        name = f"{name[:-3]}USec"
    if name not in _ANNOTATIONS:
        raise CgroupError(
            f"the property {name!r} cannot be set by an annotation",
            pointer=pointer,
            hint="only what concerns the container's own scope can: see docs/cgroups.md",
        )
    signature = _ANNOTATIONS[name]
    try:
        _, value = parse(text, "d" if seconds else signature)
        if seconds:
            value = int(value * 1_000_000)
            if not 0 <= value <= INFINITY:
                raise ValueError(f"{text} seconds are too many, or too few")
    except (ValueError, OverflowError) as error:
        raise CgroupError(
            f"{text!r}: {error}", pointer=pointer, hint=f"the type is {signature}, in GVariant text"
        ) from None
    return name, (signature, value)
