"""The `linux` section of config.json (config-linux.md) as a tree of checkers; see `schema`."""

from kaa.spec.check import (
    Wrong,
    array,
    boolean,
    id_mappings,
    int64,
    integer,
    mapping,
    number_list,
    one_of,
    path,
    record,
    shown,
    string,
    strings,
    text,
    uint16,
    uint32,
    uint64,
    unix_id,
    wrong,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

NAMESPACES = ("cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts")
SECCOMP_ACTIONS = (
    "SCMP_ACT_ALLOW",
    "SCMP_ACT_ERRNO",
    "SCMP_ACT_KILL",
    "SCMP_ACT_KILL_PROCESS",
    "SCMP_ACT_KILL_THREAD",
    "SCMP_ACT_LOG",
    "SCMP_ACT_NOTIFY",
    "SCMP_ACT_TRACE",
    "SCMP_ACT_TRAP",
)
SECCOMP_OPERATORS = (
    "SCMP_CMP_EQ",
    "SCMP_CMP_GE",
    "SCMP_CMP_GT",
    "SCMP_CMP_LE",
    "SCMP_CMP_LT",
    "SCMP_CMP_MASKED_EQ",
    "SCMP_CMP_NE",
)
SECCOMP_ARCHITECTURES = (
    "SCMP_ARCH_AARCH64",
    "SCMP_ARCH_ARM",
    "SCMP_ARCH_LOONGARCH64",
    "SCMP_ARCH_M68K",
    "SCMP_ARCH_MIPS",
    "SCMP_ARCH_MIPS64",
    "SCMP_ARCH_MIPS64N32",
    "SCMP_ARCH_MIPSEL",
    "SCMP_ARCH_MIPSEL64",
    "SCMP_ARCH_MIPSEL64N32",
    "SCMP_ARCH_PARISC",
    "SCMP_ARCH_PARISC64",
    "SCMP_ARCH_PPC",
    "SCMP_ARCH_PPC64",
    "SCMP_ARCH_PPC64LE",
    "SCMP_ARCH_RISCV64",
    "SCMP_ARCH_S390",
    "SCMP_ARCH_S390X",
    "SCMP_ARCH_SH",
    "SCMP_ARCH_SHEB",
    "SCMP_ARCH_X32",
    "SCMP_ARCH_X86",
    "SCMP_ARCH_X86_64",
)
SECCOMP_FLAGS = (
    "SECCOMP_FILTER_FLAG_LOG",
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
    "SECCOMP_FILTER_FLAG_TSYNC",
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",
)
MEMORY_POLICY_MODES = (
    "MPOL_DEFAULT",
    "MPOL_BIND",
    "MPOL_INTERLEAVE",
    "MPOL_WEIGHTED_INTERLEAVE",
    "MPOL_PREFERRED",
    "MPOL_PREFERRED_MANY",
    "MPOL_LOCAL",
)
MEMORY_POLICY_FLAGS = ("MPOL_F_NUMA_BALANCING", "MPOL_F_RELATIVE_NODES", "MPOL_F_STATIC_NODES")

_IFNAMSIZ = 16  # netdevice(7), with the NUL
_UNSET = 2**64 - 1  # -1 in an unsigned field, from clients of old
_MAJOR_MAX, _MINOR_MAX = 2**12 - 1, 2**20 - 1  # makedev(3), as the kernel packs a device number

_bytes = integer(-1, 2**63 - 1)  # -1: no limit
_device_number = integer(0, 2**32 - 1)

# --- linux.resources -------------------------------------------------------


def _device_rule(value: "Any") -> None:
    if not value.get("access"):
        raise Wrong("device access field cannot be empty", "access")


def _weight(value: "Any") -> None:
    if "weight" not in value and "leafWeight" not in value:
        raise Wrong("is required where there is no leafWeight", "weight")


def _memory(value: "Any") -> None:
    if value.get("swappiness") == _UNSET:
        del value["swappiness"]
    if value.get("swappiness", 0) > 100:
        raise wrong("from 0 to 100", value["swappiness"], "swappiness")
    limit, swap = value.get("limit", 0), value.get("swap", 0)
    if limit > 0 and 0 < swap < limit:
        raise Wrong(f"memory+swap limit should be >= memory limit {limit}, not {swap}", "swap")


def _file_name(value: "Any") -> None:
    string(value)
    if "/" in value:
        raise Wrong(f"unified resource {shown(value)} must be a file name (no slashes)")
    if value in ("", ".", ".."):
        raise wrong("the name of a cgroup file", value)


def _hugepage_size(value: str) -> bool:
    number = value[:-2]
    digits = number.isascii() and number.isdecimal()
    return value[-2:] in ("KB", "MB", "GB") and digits and number[0] != "0"


def _interface_name(value: str) -> bool:
    """What dev_valid_name() of the kernel accepts."""
    return (
        value not in ("", ".", "..")
        and len(value.encode()) < _IFNAMSIZ
        and not any(char in "/:" or char.isspace() for char in value)
    )


_interface = text("the name of a network interface", _interface_name)
_throttle = array(
    record(
        {"major": _device_number, "minor": _device_number, "rate": uint64},
        required=("major", "minor", "rate"),
    )
)

RESOURCES = record(
    {
        "unified": mapping(string, key=_file_name),
        "devices": array(
            record(
                {
                    "allow": boolean,
                    "type": one_of("a", "b", "c", ""),
                    "major": integer(-1, 2**32 - 1),
                    "minor": integer(-1, 2**32 - 1),
                    "access": text('letters out of "rwm"', lambda value: not value.strip("rwm")),
                },
                required=("allow",),
                rule=_device_rule,
            )
        ),
        "pids": record({"limit": int64}, required=("limit",)),
        "blockIO": record(
            {
                "weight": uint16,
                "leafWeight": uint16,
                "throttleReadBpsDevice": _throttle,
                "throttleWriteBpsDevice": _throttle,
                "throttleReadIOPSDevice": _throttle,
                "throttleWriteIOPSDevice": _throttle,
                "weightDevice": array(
                    record(
                        {
                            "major": _device_number,
                            "minor": _device_number,
                            "weight": uint16,
                            "leafWeight": uint16,
                        },
                        required=("major", "minor"),
                        rule=_weight,
                    )
                ),
            }
        ),
        "cpu": record(
            {
                "cpus": string,
                "mems": string,
                "period": uint64,
                "quota": int64,
                "burst": uint64,
                "realtimePeriod": uint64,
                "realtimeRuntime": int64,
                "shares": uint64,
                "idle": int64,
            }
        ),
        "hugepageLimits": array(
            record(
                {"pageSize": text('a page size such as "2MB"', _hugepage_size), "limit": uint64},
                required=("pageSize", "limit"),
            )
        ),
        "memory": record(
            {
                "kernel": _bytes,
                "kernelTCP": _bytes,
                "limit": _bytes,
                "reservation": _bytes,
                "swap": _bytes,
                "swappiness": uint64,
                "disableOOMKiller": boolean,
                "useHierarchy": boolean,
                "checkBeforeUpdate": boolean,
            },
            rule=_memory,
        ),
        "network": record(
            {
                "classID": uint32,
                "priorities": array(
                    record({"name": _interface, "priority": uint32}, required=("name", "priority"))
                ),
            }
        ),
        "rdma": mapping(
            record({"hcaHandles": uint32, "hcaObjects": uint32}),
            key=text("the name of a device", lambda value: value.split() == [value]),
        ),
    }
)

# --- linux.devices, linux.namespaces ---------------------------------------


def _device(value: "Any") -> None:
    if value["type"] == "p":
        return
    for name, largest in (("major", _MAJOR_MAX), ("minor", _MINOR_MAX)):
        if name not in value:
            raise Wrong(f"is required for a device of type {value['type']}", name)
        if not 0 <= value[name] <= largest:
            raise wrong(f"from 0 to {largest}", value[name], name)


def _unique_namespaces(value: "Any") -> None:
    seen = set()
    for index, entry in enumerate(value):
        if entry["type"] in seen:
            again = f'"{entry["type"]}" {shown(entry.get("path", ""))}'
            raise Wrong(f"malformed spec file: duplicated ns {{{again}}}", index)
        seen.add(entry["type"])


# --- linux.seccomp ---------------------------------------------------------

_HAS_ERRNO = ("SCMP_ACT_ERRNO", "SCMP_ACT_TRACE")
_action = one_of(*SECCOMP_ACTIONS)
_errno = integer(0, 2**16 - 1)  # SECCOMP_RET_DATA


def _syscall(value: "Any") -> None:
    action = value["action"]
    if not value["names"]:
        raise Wrong("must name at least one system call", "names")
    if "errnoRet" in value and action not in _HAS_ERRNO:
        raise Wrong(f"must not be set with {action}, which returns no errno", "errnoRet")
    if action == "SCMP_ACT_NOTIFY" and "write" in value["names"]:
        # kaa-init could not report anything any more once the filter is loaded.
        raise Wrong("SCMP_ACT_NOTIFY cannot be used for the write syscall", "names")


def _seccomp(value: "Any") -> None:
    default = value["defaultAction"]
    if default == "SCMP_ACT_NOTIFY":
        raise Wrong("SCMP_ACT_NOTIFY cannot be used as default action", "defaultAction")
    if "defaultErrnoRet" in value and default not in _HAS_ERRNO:
        raise Wrong(f"must not be set with {default}, which returns no errno", "defaultErrnoRet")
    if value.get("listenerPath"):
        return
    if value.get("listenerMetadata"):
        raise Wrong("must not be set without listenerPath", "listenerMetadata")
    for index, syscall in enumerate(value.get("syscalls", ())):
        if syscall["action"] == "SCMP_ACT_NOTIFY":
            raise Wrong(f"is required by SCMP_ACT_NOTIFY in syscalls/{index}", "listenerPath")


SECCOMP = record(
    {
        "defaultAction": _action,
        "defaultErrnoRet": _errno,
        "flags": array(one_of(*SECCOMP_FLAGS)),
        "listenerPath": string,
        "listenerMetadata": string,
        "architectures": array(one_of(*SECCOMP_ARCHITECTURES)),
        "syscalls": array(
            record(
                {
                    "names": strings,
                    "action": _action,
                    "errnoRet": _errno,
                    "args": array(
                        record(
                            {
                                "index": integer(0, 5),
                                "value": uint64,
                                "valueTwo": uint64,
                                "op": one_of(*SECCOMP_OPERATORS),
                            },
                            required=("index", "value", "op"),
                        )
                    ),
                },
                required=("names", "action"),
                rule=_syscall,
            )
        ),
    },
    required=("defaultAction",),
    rule=_seccomp,
)

# --- the rest of linux -----------------------------------------------------


def sysctl_path(name: str) -> str:
    """The path below /proc/sys of a kernel parameter, written as in sysctl(8).

    The first separator decides: after a dot, dots separate and slashes stand
    for dots; after a slash it is the other way round, and nothing changes.
    """
    for char in name:
        if char == "/":
            return name
        if char == ".":
            return name.translate({ord("."): "/", ord("/"): "."})
    return name


def _sysctl_name(value: str) -> bool:
    """No way out of /proc/sys, and no way round the namespace rules by a "..", either."""
    return not {"", ".", ".."}.intersection(sysctl_path(value).split("/"))


def _closid(value: str) -> bool:
    return value == "/" or (value not in (".", "..") and "/" not in value)


def _memory_policy(value: "Any") -> None:
    mode, nodes, flags = value["mode"], value.get("nodes"), value.get("flags", ())
    masks = [flag for flag in flags if flag != "MPOL_F_NUMA_BALANCING"]
    if mode in ("MPOL_DEFAULT", "MPOL_LOCAL"):
        for name in ("nodes", "flags"):
            if value.get(name):
                raise Wrong(f"must not be set with {mode}", name)
    elif not nodes and (mode != "MPOL_PREFERRED" or masks):
        raise Wrong(f"is required with {masks[0] if masks else mode}", "nodes")
    if len(set(masks)) > 1:
        raise Wrong(f"{masks[0]} and {masks[1]} exclude each other", "flags")


def _interface_template(value: str) -> bool:
    """A name, or a pattern like "eth%d" that the kernel numbers; empty keeps the name."""
    return not value or (_interface_name(value) and value.replace("%d", "", 1).count("%") == 0)


_offset = record({"secs": int64, "nanosecs": integer(0, 999_999_999)})

LINUX = record(
    {
        "namespaces": array(
            record(
                {
                    "type": one_of(*NAMESPACES),
                    "path": text("an absolute path", lambda value: value[:1] in ("/", "")),
                },
                required=("type",),
            ),
            rule=_unique_namespaces,
        ),
        "uidMappings": id_mappings,
        "gidMappings": id_mappings,
        "timeOffsets": record({"boottime": _offset, "monotonic": _offset}),
        "devices": array(
            record(
                {
                    "type": one_of("c", "b", "u", "p"),
                    "path": path,
                    "major": int64,
                    "minor": int64,
                    "fileMode": uint32,
                    "uid": unix_id,
                    "gid": unix_id,
                },
                required=("type", "path"),
                rule=_device,
            )
        ),
        "netDevices": mapping(
            record({"name": text("the name of a network interface", _interface_template)}),
            key=_interface,
        ),
        "cgroupsPath": string,
        "resources": RESOURCES,
        "intelRdt": record(
            {
                "closID": text('"/" or a name without slashes', _closid),
                "schemata": array(text("one line", lambda value: "\n" not in value)),
                "l3CacheSchema": string,
                "memBwSchema": text(
                    'one line that begins with "MB:"',
                    lambda value: not value or (value[:3] == "MB:" and "\n" not in value),
                ),
                "enableMonitoring": boolean,
            }
        ),
        "memoryPolicy": record(
            {
                "mode": one_of(*MEMORY_POLICY_MODES),
                "nodes": number_list("nodes", 1023),  # MAX_NUMNODES, less one
                "flags": array(one_of(*MEMORY_POLICY_FLAGS)),
            },
            required=("mode",),
            rule=_memory_policy,
        ),
        "sysctl": mapping(string, key=text("the name of a kernel parameter", _sysctl_name)),
        "seccomp": SECCOMP,
        "rootfsPropagation": one_of(
            "",
            "private",
            "rprivate",
            "slave",
            "rslave",
            "shared",
            "rshared",
            "unbindable",
            "runbindable",
        ),
        "maskedPaths": array(path),
        "readonlyPaths": array(path),
        "mountLabel": string,
        "personality": record(
            {"domain": one_of("LINUX", "LINUX32"), "flags": strings}, required=("domain",)
        ),
    }
)
