"""kaa update"""

from kaa.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from kaa.cli.main import Session

_UINT64, _INT64, _UINT16 = (0, 2**64 - 1), (-(2**63), 2**63 - 1), (0, 2**16 - 1)

# option → section and property of linux.resources, and the range of its numbers
_NUMBERS = {
    "blkio-weight": ("blockIO", "weight", _UINT16),
    "cpu-period": ("cpu", "period", _UINT64),
    "cpu-quota": ("cpu", "quota", _INT64),
    "cpu-burst": ("cpu", "burst", _UINT64),
    "cpu-share": ("cpu", "shares", _UINT64),
    "cpu-rt-period": ("cpu", "realtimePeriod", _UINT64),
    "cpu-rt-runtime": ("cpu", "realtimeRuntime", _INT64),
    "cpu-idle": ("cpu", "idle", (0, 1)),
    "pids-limit": ("pids", "limit", _INT64),
}
_TEXTS = {"cpuset-cpus": ("cpu", "cpus"), "cpuset-mems": ("cpu", "mems")}
_SIZES = {
    "memory": ("memory", "limit"),
    "memory-reservation": ("memory", "reservation"),
    "memory-swap": ("memory", "swap"),
}
_RDT = {"l3-cache-schema": "l3CacheSchema", "mem-bw-schema": "memBwSchema"}
_IGNORED = ("kernel-memory", "kernel-memory-tcp")
_UNITS = "bkmgtp"


def command(session: "Session") -> int:
    """Change the limits of a container."""
    from kaa.container.update import update

    options = session.options
    path = options.get("resources")
    if path is not None:
        from kaa.spec.load import parse_resources

        wanted = parse_resources(session.read(None if path == "-" else path))
        update(session.runtime(), session.args[0], wanted)
        return 0
    for name in _IGNORED:
        if name in options:
            session.log.warn(f"--{name} is ignored: the kernel has no such limit any more")
    shares = {key: options[name] for name, key in _RDT.items() if options.get(name)}
    update(session.runtime(), session.args[0], resources(options), intel_rdt=shares or None)
    return 0


def resources(options: "dict[str, Any]") -> "dict[str, Any]":
    """The options as a linux.resources document of what shall change. Raises UsageError."""
    found: dict[str, dict[str, Any]] = {}
    for name, (section, key, (least, most)) in _NUMBERS.items():
        if name in options:
            found.setdefault(section, {})[key] = number(name, options[name], least, most)
    for name, (section, key) in _TEXTS.items():
        if options.get(name):
            found.setdefault(section, {})[key] = options[name]
    for name, (section, key) in _SIZES.items():
        if name in options:
            found.setdefault(section, {})[key] = size(name, options[name])
    return found


def number(name: str, text: str, least: int, most: int) -> int:
    """A decimal number between `least` and `most`. Raises UsageError."""
    digits = text.removeprefix("-")
    if digits.isascii() and digits.isdigit() and len(digits) <= 20 and least <= int(text) <= most:
        return int(text)
    raise UsageError(f'invalid value for {name}: "{text}" is no number from {least} to {most}')


def size(name: str, text: str) -> int:
    """A number of bytes: 1048576, 512M, 1.5 GiB (units of 1024), or -1. Raises UsageError."""
    if text == "-1":
        return -1
    import re

    found = re.fullmatch(r"([0-9]{1,19})(\.[0-9]{1,9})? ?([kmgtp]?)i?b?", text, re.ASCII | re.I)
    if found:
        scale: int = 1024 ** _UNITS.index(found[3].lower() or "b")
        fraction = int(float(found[2]) * scale) if found[2] else 0
        total = int(found[1]) * scale + fraction
        if total <= _INT64[1]:
            return total
    raise UsageError(f'invalid value for {name}: "{text}" is no size in bytes, such as 512M or -1')
