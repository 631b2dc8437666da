"""Capability names, masks, and the structs of capset(2); see capabilities(7)."""

from _struct import Struct

from kaa.errors import ConfigError

NAMES: tuple[str, ...] = (
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
)
NUMBERS: dict[str, int] = {name: number for number, name in enumerate(NAMES)}
LAST = len(NAMES) - 1

_VERSION_3 = 0x20080522
_HEADER = Struct("=Ii")
_DATA = Struct("=6I")
_LOW = 0xFFFFFFFF


def parse(names: "list[str]", pointer: str, known_last: int = LAST) -> "tuple[int, list[str]]":
    """One capability set of config.json as a mask, and the names that mean nothing here.

    `known_last` is the kernel's highest capability (/proc/sys/kernel/cap_last_cap):
    a name above it is as unknown as a name nobody has heard of. The runtime spec
    wants a warning for those, not a failure. Raises ConfigError at `pointer`
    when `names` is not an array of strings.
    """
    if type(names) is not list:
        raise ConfigError("must be an array of capability names", pointer=pointer)
    mask = 0
    unknown: list[str] = []
    for index, name in enumerate(names):
        if type(name) is not str:
            raise ConfigError("must be the name of a capability", pointer=f"{pointer}/{index}")
        number = NUMBERS.get(name)
        if number is None or number > known_last:
            unknown.append(name)
        else:
            mask |= 1 << number
    return mask, unknown


def names_of(mask: int) -> "list[str]":
    """The names of the capabilities in `mask`, in the kernel's order; others are numbers."""
    return [
        NAMES[bit] if bit <= LAST else str(bit)
        for bit in range(mask.bit_length())
        if mask >> bit & 1
    ]


def full(known_last: int = LAST) -> int:
    """The mask of every capability that the kernel knows."""
    return (1 << known_last + 1) - 1


def capset_args(effective: int, permitted: int, inheritable: int) -> "tuple[bytes, bytes]":
    """The two structs of capset(2), for the calling thread: header and data (version 3)."""
    return _HEADER.pack(_VERSION_3, 0), _DATA.pack(
        effective & _LOW,
        permitted & _LOW,
        inheritable & _LOW,
        effective >> 32,
        permitted >> 32,
        inheritable >> 32,
    )
