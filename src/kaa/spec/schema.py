"""config.json as a tree of checkers: one property, one line, in the order of the specification.

The contract is the JSON schema of runtime-spec 1.3 (config-schema.json,
config-linux.json, defs.json, defs-linux.json), and what config.md and
config-linux.md add in prose about a single object. Rules between distant
parts of the document are in `kaa.spec.validate`.

Where this tree departs from the schema it is on purpose, as every runtime does:
a device's `fileMode` may carry the file type, `rootfsPropagation` may be
recursive, and an id of 4294967295 is refused (to the kernel it means "no change").
Numbers that the kernel would only cut down or refuse (consoleSize, nice,
errnoRet ...) have the kernel's ranges.
"""

from kaa.spec.check import (
    Wrong,
    array,
    boolean,
    filled,
    id_mappings,
    int32,
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
from kaa.spec.schema_linux import LINUX

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

HOOKS = (
    "prestart",
    "createRuntime",
    "createContainer",
    "startContainer",
    "poststart",
    "poststop",
)
RLIMITS = (
    "RLIMIT_AS",
    "RLIMIT_CORE",
    "RLIMIT_CPU",
    "RLIMIT_DATA",
    "RLIMIT_FSIZE",
    "RLIMIT_LOCKS",
    "RLIMIT_MEMLOCK",
    "RLIMIT_MSGQUEUE",
    "RLIMIT_NICE",
    "RLIMIT_NOFILE",
    "RLIMIT_NPROC",
    "RLIMIT_RSS",
    "RLIMIT_RTPRIO",
    "RLIMIT_RTTIME",
    "RLIMIT_SIGPENDING",
    "RLIMIT_STACK",
)
SCHEDULER_POLICIES = (
    "SCHED_OTHER",
    "SCHED_FIFO",
    "SCHED_RR",
    "SCHED_BATCH",
    "SCHED_ISO",
    "SCHED_IDLE",
    "SCHED_DEADLINE",
)
SCHEDULER_FLAGS = (
    "SCHED_FLAG_RESET_ON_FORK",
    "SCHED_FLAG_RECLAIM",
    "SCHED_FLAG_DL_OVERRUN",
    "SCHED_FLAG_KEEP_POLICY",
    "SCHED_FLAG_KEEP_PARAMS",
    "SCHED_FLAG_UTIL_CLAMP_MIN",
    "SCHED_FLAG_UTIL_CLAMP_MAX",
)

_NEWEST = (1, 3)  # of the runtime specification
_HOST_NAME_MAX = 64  # sethostname(2), bytes


def _env(value: "Any") -> None:
    strings(value)
    for index, entry in enumerate(value):
        # An entry may be a secret that was split at the wrong place: it is not repeated.
        if "=" not in entry:
            raise Wrong("invalid environment variable: missing '='", index)
        if entry[0] == "=":
            raise Wrong("invalid environment variable: name cannot be empty", index)


# --- process ---------------------------------------------------------------


def _cwd(value: "Any") -> None:
    string(value)
    if not value:
        raise Wrong("Cwd property must not be empty")
    if value[0] != "/":
        raise Wrong(f"Cwd must be an absolute path, not {shown(value)}")


def _unique_limits(value: "Any") -> None:
    seen: dict[str, int] = {}
    for index, limit in enumerate(value):
        first = seen.setdefault(limit["type"], index)
        if first != index:
            raise Wrong(f"{limit['type']} is already set by entry {first}", index, "type")


def _soft_below_hard(value: "Any") -> None:
    if value["soft"] > value["hard"]:
        raise wrong(f"at most the hard limit {value['hard']}", value["soft"], "soft")


def _scheduler(value: "Any") -> None:
    policy = value["policy"]
    priority = value.get("priority", 0)
    if policy in ("SCHED_FIFO", "SCHED_RR"):
        if not 1 <= priority <= 99:
            raise wrong(f"from 1 to 99 with {policy}", priority, "priority")
    elif priority:
        raise Wrong("can only be specified for SCHED_FIFO or SCHED_RR", "priority")
    if policy != "SCHED_DEADLINE":
        for name in ("runtime", "deadline", "period"):
            if value.get(name):
                raise Wrong("can only be specified for SCHED_DEADLINE", name)


def _process(value: "Any") -> None:
    if "cwd" not in value:
        raise Wrong("Cwd property must not be empty", "cwd")
    if not value.get("args"):
        raise Wrong("args must not be empty", "args")


_cpu_list = number_list("CPUs", 8191)  # CONFIG_NR_CPUS of the largest kernels, less one

PROCESS = record(
    {
        "terminal": boolean,
        "consoleSize": record({"height": uint16, "width": uint16}, ("height", "width")),
        "cwd": _cwd,
        "env": _env,
        "args": strings,
        "commandLine": string,
        "rlimits": array(
            record(
                {"type": one_of(*RLIMITS), "soft": uint64, "hard": uint64},
                required=("type", "soft", "hard"),
                rule=_soft_below_hard,
            ),
            rule=_unique_limits,
        ),
        "apparmorProfile": string,
        "capabilities": record(
            {
                "bounding": strings,
                "permitted": strings,
                "effective": strings,
                "inheritable": strings,
                "ambient": strings,
            }
        ),
        "noNewPrivileges": boolean,
        "oomScoreAdj": integer(-1000, 1000),
        "scheduler": record(
            {
                "policy": one_of(*SCHEDULER_POLICIES),
                "nice": integer(-20, 19),
                "priority": int32,
                "flags": array(one_of(*SCHEDULER_FLAGS)),
                "runtime": uint64,
                "deadline": uint64,
                "period": uint64,
            },
            required=("policy",),
            rule=_scheduler,
        ),
        "selinuxLabel": string,
        "ioPriority": record(
            {
                "class": one_of("IOPRIO_CLASS_RT", "IOPRIO_CLASS_BE", "IOPRIO_CLASS_IDLE"),
                "priority": integer(0, 7),
            },
            required=("class",),
        ),
        "execCPUAffinity": record({"initial": _cpu_list, "final": _cpu_list}),
        "user": record(
            {
                "uid": unix_id,
                "gid": unix_id,
                "umask": uint32,
                "additionalGids": array(unix_id),
                "username": string,
            }
        ),
    },
    rule=_process,
)

# --- root, mounts, hooks ---------------------------------------------------


def _mount(value: "Any") -> None:
    for one, other in (("uidMappings", "gidMappings"), ("gidMappings", "uidMappings")):
        if value.get(one) and not value.get(other):
            raise Wrong(f"is required beside {one}", other)
    options = value.get("options", ())
    if ("bind" in options or "rbind" in options) and not value.get("source"):
        raise Wrong("is required for a bind mount", "source")


_mounts = array(
    record(
        {
            "destination": filled,
            "source": string,
            "options": strings,
            "type": string,
            "uidMappings": id_mappings,
            "gidMappings": id_mappings,
        },
        required=("destination",),
        rule=_mount,
    )
)

_hooks = array(
    record(
        {"path": path, "args": strings, "env": strings, "timeout": integer(1, 2**31 - 1)},
        required=("path",),
    )
)

# --- the document ----------------------------------------------------------


def _version(value: "Any") -> None:
    string(value)
    major, dot, _ = value.partition(".")
    if not (dot and major.isascii() and major.isdecimal()):
        raise wrong('a version of the runtime specification such as "1.3.0"', value)
    if int(major[:9]) > _NEWEST[0]:
        raise Wrong(f"kaa knows runtime-spec up to {_NEWEST[0]}.{_NEWEST[1]}, not {shown(value)}")


_host_name = text(
    f"a name of at most {_HOST_NAME_MAX} bytes",
    lambda value: len(value.encode()) <= _HOST_NAME_MAX,
)

CONFIG = record(
    {
        "ociVersion": _version,
        "root": record({"path": filled, "readonly": boolean}, required=("path",)),
        "mounts": _mounts,
        "process": PROCESS,
        "hostname": _host_name,
        "domainname": _host_name,
        "hooks": record(dict.fromkeys(HOOKS, _hooks)),
        "annotations": mapping(string, key=filled),
        "linux": LINUX,
    },
    required=("ociVersion",),
)
