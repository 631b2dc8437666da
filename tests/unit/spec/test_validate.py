"""Rules that a JSON schema cannot say: each broken once, and what must be let through."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
from unit.spec import documents
from unit.spec.documents import Json

from kaa.errors import ConfigError
from kaa.spec.validate import validate, validate_process, validate_resources

SECCOMP = Path(__file__).parents[2] / "data" / "seccomp"


def set_at(document: Json, pointer: str, value: Any) -> Json:
    """The document with `value` at `pointer`; an Ellipsis removes what is there."""
    parent: Any = document
    *way, last = (
        int(token) if token.isdecimal() else token.replace("~1", "/").replace("~0", "~")
        for token in pointer.split("/")[1:]
    )
    for token in way:
        parent = parent[token]
    if value is ...:
        del parent[last]
    elif isinstance(parent, list) and last == len(parent):
        parent.append(value)
    else:
        parent[last] = value
    return document


def refusal(document: Any) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        validate(document)
    return caught.value


def extent(container: int, host: int, size: int) -> Json:
    return {"containerID": container, "hostID": host, "size": size}


FIFO = {"policy": "SCHED_FIFO", "priority": 1}

# Where something is set, to what, where the error is, and words of it.
WRONG: list[tuple[str, Any, str, str]] = [
    ("/ociVersion", "2.0.0", "/ociVersion", 'up to 1.3, not "2.0.0"'),
    ("/ociVersion", "", "/ociVersion", "a version of the runtime specification"),
    ("/ociVersion", "one", "/ociVersion", "a version of the runtime specification"),
    ("/ociVersion", "9" * 5000 + ".0", "/ociVersion", "up to 1.3"),
    ("/process", ..., "/process", "process property must not be empty"),
    ("/root", ..., "/root", "root must be specified"),
    ("/root/path", "", "/root/path", "not empty"),
    ("/annotations/", "x", "/annotations/", "not empty"),
    ("/process/cwd", "", "/process/cwd", "Cwd property must not be empty"),
    ("/process/cwd", "x", "/process/cwd", 'must be an absolute path, not "x"'),
    ("/process/args", [], "/process/args", "args must not be empty"),
    ("/process/args", ..., "/process/args", "args must not be empty"),
    ("/process/env/1", "A", "/process/env/1", "missing '='"),
    ("/process/env/1", "", "/process/env/1", "missing '='"),
    ("/process/env/1", "=a", "/process/env/1", "name cannot be empty"),
    ("/process/user/uid", 2**32 - 1, "/process/user/uid", "from 0 to 4294967294"),
    ("/process/user/gid", 2**32 - 1, "/process/user/gid", "from 0 to 4294967294"),
    (
        "/process/user/additionalGids/1",
        2**32 - 1,
        "/process/user/additionalGids/1",
        "from 0 to 4294967294",
    ),
    (
        "/process/rlimits/1",
        {"type": "RLIMIT_NOFILE", "soft": 1, "hard": 1},
        "/process/rlimits/1/type",
        "RLIMIT_NOFILE is already set by entry 0",
    ),
    ("/process/rlimits/0/type", "RLIMIT_FOO", "/process/rlimits/0/type", '"RLIMIT_AS"'),
    ("/process/rlimits/0/hard", 1023, "/process/rlimits/0/soft", "at most the hard limit 1023"),
    ("/process/consoleSize/width", 65536, "/process/consoleSize/width", "from 0 to 65535"),
    ("/process/oomScoreAdj", -1001, "/process/oomScoreAdj", "from -1000 to 1000"),
    ("/process/ioPriority/priority", 8, "/process/ioPriority/priority", "from 0 to 7"),
    ("/process/scheduler/nice", 20, "/process/scheduler/nice", "from -20 to 19"),
    ("/process/scheduler/priority", 1, "/process/scheduler/priority", "only be specified for"),
    ("/process/scheduler", {"policy": "SCHED_RR"}, "/process/scheduler/priority", "from 1 to 99"),
    ("/process/scheduler", FIFO | {"priority": 100}, "/process/scheduler/priority", "1 to 99"),
    ("/process/scheduler", FIFO | {"period": 1}, "/process/scheduler/period", "SCHED_DEADLINE"),
    ("/hooks/prestart/0/path", "hook", "/hooks/prestart/0/path", "an absolute path"),
    ("/hooks/poststop/0/timeout", 0, "/hooks/poststop/0/timeout", "from 1 to"),
    ("/mounts/0/destination", "", "/mounts/0/destination", "not empty"),
    ("/mounts/0/gidMappings", ..., "/mounts/0/gidMappings", "required beside uidMappings"),
    ("/mounts/0/uidMappings", [], "/mounts/0/uidMappings", "required beside gidMappings"),
    (
        "/mounts/1",
        {"destination": "/a", "options": ["ro", "rbind"]},
        "/mounts/1/source",
        "required for a bind mount",
    ),
    ("/hostname", "a" * 65, "/hostname", "at most 64 bytes"),
    ("/domainname", "\u00e4" * 33, "/domainname", "at most 64 bytes"),
    (
        "/linux/namespaces/8",
        {"type": "network", "path": "/run/netns/a"},
        "/linux/namespaces/8",
        'malformed spec file: duplicated ns {"network" "/run/netns/a"}',
    ),
    ("/linux/namespaces/0/path", "ns/pid", "/linux/namespaces/0/path", "an absolute path"),
    ("/linux/uidMappings", ..., "/linux/uidMappings", "required for a new user namespace"),
    ("/linux/gidMappings", [], "/linux/gidMappings", "required for a new user namespace"),
    ("/linux/uidMappings/0/size", 0, "/linux/uidMappings/0/size", "from 1 to"),
    (
        "/linux/uidMappings/0",
        extent(0, 2**32 - 10, 10),
        "/linux/uidMappings/0/size",
        "at most 9 with this hostID, not 10",
    ),
    (
        "/linux/gidMappings/0",
        extent(1, 0, 2**32 - 1),
        "/linux/gidMappings/0/size",
        "at most 4294967294 with this containerID",
    ),
    (
        "/linux/uidMappings/1",
        extent(65535, 0, 1),
        "/linux/uidMappings/1/containerID",
        "overlaps with entry 0",
    ),
    (
        "/linux/gidMappings/1",
        extent(70000, 165535, 10),
        "/linux/gidMappings/1/hostID",
        "overlaps with entry 0",
    ),
    (
        "/linux/uidMappings",
        [extent(2 * i, 2 * i, 1) for i in range(341)],
        "/linux/uidMappings",
        "at most 340 entries, not 341",
    ),
    ("/linux/devices/0/path", "dev/fuse", "/linux/devices/0/path", "an absolute path"),
    ("/linux/devices/0/type", "a", "/linux/devices/0/type", '"c", "b", "u", "p"'),
    ("/linux/devices/0/major", 4096, "/linux/devices/0/major", "from 0 to 4095"),
    ("/linux/devices/0/minor", -1, "/linux/devices/0/minor", "from 0 to 1048575"),
    ("/linux/devices/0/minor", ..., "/linux/devices/0/minor", "required for a device of type c"),
    ("/linux/devices/0/uid", 2**32 - 1, "/linux/devices/0/uid", "from 0 to 4294967294"),
    ("/linux/netDevices/eth~11", {}, "/linux/netDevices/eth~11", "a network interface"),
    ("/linux/netDevices/a2345678901234567", {}, "/linux/netDevices/a2345678901234567", "network"),
    ("/linux/netDevices/..", {}, "/linux/netDevices/..", "a network interface"),
    ("/linux/netDevices/eth0", None, "/linux/netDevices/eth0", "an object, not null"),
    ("/linux/netDevices/eth0/name", "a b", "/linux/netDevices/eth0/name", "network interface"),
    ("/linux/netDevices/eth0/name", "a%s", "/linux/netDevices/eth0/name", "network interface"),
    ("/linux/netDevices/eth0/name", "%d%d", "/linux/netDevices/eth0/name", "network interface"),
    ("/linux/timeOffsets/boottime/nanosecs", 10**9, "/linux/timeOffsets/boottime/nanosecs", "from"),
    ("/linux/maskedPaths/0", "proc", "/linux/maskedPaths/0", "an absolute path"),
    ("/linux/readonlyPaths/0", "", "/linux/readonlyPaths/0", "an absolute path"),
    ("/linux/intelRdt/closID", "a/b", "/linux/intelRdt/closID", "a name without slashes"),
    ("/linux/intelRdt/closID", "..", "/linux/intelRdt/closID", "a name without slashes"),
    ("/linux/intelRdt/schemata/0", "L3:0=1\nMB:0=1", "/linux/intelRdt/schemata/0", "one line"),
    ("/linux/memoryPolicy/nodes", "", "/linux/memoryPolicy/nodes", "required with"),
    ("/linux/memoryPolicy/nodes", "all", "/linux/memoryPolicy/nodes", "a list of nodes"),
    ("/linux/memoryPolicy/mode", ..., "/linux/memoryPolicy/mode", "is required"),
    ("/linux/memoryPolicy/mode", "MPOL_LOCAL", "/linux/memoryPolicy/nodes", "not be set with"),
    (
        "/linux/memoryPolicy/flags",
        ["MPOL_F_STATIC_NODES", "MPOL_F_RELATIVE_NODES"],
        "/linux/memoryPolicy/flags",
        "exclude each other",
    ),
    ("/linux/personality/domain", ..., "/linux/personality/domain", "is required"),
    (
        "/linux/resources/unified/a~1b",
        "1",
        "/linux/resources/unified/a~1b",
        'unified resource "a/b" must be a file name (no slashes)',
    ),
    ("/linux/resources/unified/..", "1", "/linux/resources/unified/..", "a cgroup file"),
    ("/linux/resources/unified/", "1", "/linux/resources/unified/", "a cgroup file"),
    (
        "/linux/resources/devices/0/access",
        "",
        "/linux/resources/devices/0/access",
        "device access field cannot be empty",
    ),
    (
        "/linux/resources/devices/0/access",
        ...,
        "/linux/resources/devices/0/access",
        "device access field cannot be empty",
    ),
    ("/linux/resources/devices/0/access", "rx", "/linux/resources/devices/0/access", '"rwm"'),
    ("/linux/resources/devices/0/type", "p", "/linux/resources/devices/0/type", "one of"),
    ("/linux/resources/devices/0/major", -2, "/linux/resources/devices/0/major", "from -1"),
    (
        "/linux/resources/memory/swap",
        536870911,
        "/linux/resources/memory/swap",
        "memory+swap limit should be >= memory limit",
    ),
    ("/linux/resources/memory/limit", -2, "/linux/resources/memory/limit", "from -1 to"),
    ("/linux/resources/memory/swappiness", 101, "/linux/resources/memory/swappiness", "to 100"),
    (
        "/linux/resources/hugepageLimits/0/pageSize",
        "../x",
        "/linux/resources/hugepageLimits/0/pageSize",
        "a page size",
    ),
    (
        "/linux/resources/hugepageLimits/0/pageSize",
        "1\u0662MB",
        "/linux/resources/hugepageLimits/0/pageSize",
        "a page size",
    ),
    ("/linux/resources/rdma/a b", {}, "/linux/resources/rdma/a b", "the name of a device"),
    (
        "/linux/resources/blockIO/weightDevice/0",
        {"major": 8, "minor": 0},
        "/linux/resources/blockIO/weightDevice/0/weight",
        "is required",
    ),
    (
        "/linux/resources/blockIO/throttleReadBpsDevice/0/rate",
        ...,
        "/linux/resources/blockIO/throttleReadBpsDevice/0/rate",
        "is required",
    ),
    (
        "/linux/seccomp/defaultAction",
        "SCMP_ACT_NOTIFY",
        "/linux/seccomp/defaultAction",
        "cannot be used as default action",
    ),
    (
        "/linux/seccomp/defaultAction",
        "SCMP_ACT_ALLOW",
        "/linux/seccomp/defaultErrnoRet",
        "returns no errno",
    ),
    (
        "/linux/seccomp/syscalls/0/action",
        "SCMP_ACT_KILL",
        "/linux/seccomp/syscalls/0/errnoRet",
        "returns no errno",
    ),
    ("/linux/seccomp/syscalls/0/names", [], "/linux/seccomp/syscalls/0/names", "at least one"),
    (
        "/linux/seccomp/syscalls/0/args/0/index",
        6,
        "/linux/seccomp/syscalls/0/args/0/index",
        "from 0 to 5",
    ),
    (
        "/linux/seccomp/syscalls/1",
        {"names": ["read", "write"], "action": "SCMP_ACT_NOTIFY"},
        "/linux/seccomp/syscalls/1/names",
        "cannot be used for the write syscall",
    ),
    ("/linux/seccomp/listenerPath", "", "/linux/seccomp/listenerMetadata", "without listenerPath"),
    ("/linux/sysctl/kernel.hostname", "x", "/linux/sysctl/kernel.hostname", "conflicts with"),
    (
        "/linux/sysctl/vm.overcommit_memory",
        "1",
        "/linux/sysctl/vm.overcommit_memory",
        'sysctl "vm.overcommit_memory" is not in a separate kernel namespace',
    ),
    (
        "/linux/sysctl/net~1..~1kernel~1core_pattern",
        "|/bin/sh",
        "/linux/sysctl/net~1..~1kernel~1core_pattern",
        "the name of a kernel parameter",
    ),
    ("/linux/sysctl/net..x", "1", "/linux/sysctl/net..x", "the name of a kernel parameter"),
    ("/linux/sysctl/~1net~1x", "1", "/linux/sysctl/~1net~1x", "the name of a kernel parameter"),
    ("/linux/sysctl/net.x", None, "/linux/sysctl/net.x", "a string, not null"),
]


@pytest.mark.parametrize(
    ("pointer", "value", "place", "words"), WRONG, ids=[f"{w[0]}-{w[3][:20]}" for w in WRONG]
)
def test_a_broken_rule_is_refused(pointer: str, value: Any, place: str, words: str) -> None:
    error = refusal(set_at(documents.full(), pointer, value))
    assert error.pointer == place
    assert words in str(error)
    assert str(error).startswith(f"{place}: ")
    assert len(str(error)) < 1000
    assert "\n" not in str(error)


def without(document: Json, kind: str) -> Json:
    spaces = document["linux"]["namespaces"]
    document["linux"]["namespaces"] = [entry for entry in spaces if entry["type"] != kind]
    return document


NEEDS: list[tuple[str, str, Any, str, str]] = [
    ("uts", "/hostname", "box", "/hostname", "unable to set hostname without a private UTS"),
    ("uts", "/domainname", "a", "/domainname", "unable to set domainname without a private UTS"),
    ("mount", "/linux/maskedPaths", ["/a"], "/linux/maskedPaths", "private mount namespace"),
    ("mount", "/linux/readonlyPaths", ["/a"], "/linux/readonlyPaths", "private mount namespace"),
    (
        "user",
        "/linux/uidMappings",
        [extent(0, 0, 1)],
        "/linux/uidMappings",
        "user namespace mappings specified, but user namespace isn't enabled in the config",
    ),
    (
        "user",
        "/linux/gidMappings",
        [extent(0, 0, 1)],
        "/linux/gidMappings",
        "user namespace mappings specified",
    ),
    (
        "time",
        "/linux/timeOffsets",
        {"boottime": {"secs": 1}},
        "/linux/timeOffsets",
        "there is no time namespace",
    ),
    ("network", "/linux/netDevices", {"eth0": {}}, "/linux/netDevices", "network namespace"),
    (
        "network",
        "/linux/sysctl",
        {"net.core.somaxconn": "1"},
        "/linux/sysctl/net.core.somaxconn",
        'sysctl "net.core.somaxconn" not allowed in host network namespace',
    ),
    (
        "ipc",
        "/linux/sysctl",
        {"kernel.shmmax": "1"},
        "/linux/sysctl/kernel.shmmax",
        'sysctl "kernel.shmmax" is not allowed in the hosts ipc namespace',
    ),
    (
        "ipc",
        "/linux/sysctl",
        {"fs/mqueue/msg_max": "1"},
        "/linux/sysctl/fs~1mqueue~1msg_max",
        "is not allowed in the hosts ipc namespace",
    ),
    (
        "uts",
        "/linux/sysctl",
        {"kernel.domainname": "x"},
        "/linux/sysctl/kernel.domainname",
        "is not in a separate kernel namespace",
    ),
    (
        "user",
        "/linux/sysctl",
        {"user.max_net_namespaces": "1"},
        "/linux/sysctl/user.max_net_namespaces",
        "is not in a separate kernel namespace",
    ),
    (
        "user",
        "/mounts",
        [{"destination": "/a", "source": "/a", "options": ["bind", "idmap"]}],
        "/mounts/0/uidMappings",
        'is required by the option "idmap"',
    ),
]


@pytest.mark.parametrize(("kind", "pointer", "value", "place", "words"), NEEDS)
def test_what_needs_a_namespace(
    kind: str, pointer: str, value: Any, place: str, words: str
) -> None:
    document = documents.smallest()
    document["linux"] = {"namespaces": []}
    error = refusal(set_at(document, pointer, value))
    assert error.pointer == place
    assert words in str(error)
    document = documents.smallest()
    document["linux"] = {"namespaces": [{"type": kind}]}
    if kind == "user":
        document["linux"] |= {"uidMappings": [extent(0, 0, 1)], "gidMappings": [extent(0, 0, 1)]}
    validate(set_at(document, pointer, value))
    if kind != "time":
        joined = {"type": kind, "path": "/run/ns/x"}
        document["linux"]["namespaces"] = [joined]
        validate(document)


def test_time_offsets_are_not_for_a_joined_namespace() -> None:
    document = documents.smallest()
    document["linux"] = {
        "namespaces": [{"type": "time", "path": "/proc/1/ns/time"}],
        "timeOffsets": {"monotonic": {"secs": 1}},
    }
    assert "joined by its path" in str(refusal(document))


def test_a_joined_user_namespace_may_repeat_its_mappings_or_not() -> None:
    document = documents.smallest()
    document["linux"] = {"namespaces": [{"type": "user", "path": "/proc/1/ns/user"}]}
    validate(document)
    document["linux"]["uidMappings"] = [extent(0, 0, 1)]
    validate(document)


RIGHT: list[tuple[str, Any]] = [
    ("/ociVersion", "1.0.2-dev"),
    ("/ociVersion", "1.99.0+x"),
    ("/process/env", ["A=", "A=b=c", "B=\n", "\u00e4=\u00e4"]),
    ("/process/capabilities/bounding", ["CAP_OF_THE_FUTURE"]),
    ("/process/user", {}),
    ("/process/rlimits/0/soft", 2**64 - 1),
    ("/process/scheduler", FIFO),
    ("/mounts/0/destination", "relative"),
    ("/mounts/0/type", "bind"),
    ("/hostname", ""),
    ("/hostname", "a" * 64),
    ("/linux/namespaces/0/path", ""),
    ("/linux/rootfsPropagation", "rslave"),
    ("/linux/rootfsPropagation", ""),
    ("/linux/uidMappings", [extent(0, 0, 2**32 - 1)]),
    ("/linux/uidMappings", [extent(10, 0, 10), extent(0, 10, 10), extent(20, 20, 1)]),
    ("/linux/devices/0/fileMode", 0o20666),
    ("/linux/devices/0", {"type": "p", "path": "/dev/fifo"}),
    ("/linux/netDevices/eth0", {}),
    ("/linux/netDevices/eth0/name", "eth%d"),
    ("/linux/resources/devices/0", {"allow": False, "access": "rwm"}),
    ("/linux/resources/devices/0", {"allow": True, "type": "a", "access": "m", "major": -1}),
    ("/linux/resources/memory/swap", -1),
    ("/linux/resources/memory/limit", 0),
    ("/linux/resources/pids/limit", -1),
    ("/linux/intelRdt/closID", "/"),
    ("/linux/memoryPolicy", {"mode": "MPOL_PREFERRED"}),
    ("/linux/memoryPolicy", {"mode": "MPOL_BIND", "nodes": "0", "flags": []}),
    ("/linux/seccomp", {"defaultAction": "SCMP_ACT_ALLOW"}),
    ("/linux/seccomp/syscalls/0/errnoRet", 0),
    ("/linux/sysctl", {"net/ipv4/conf/eth0.100/rp_filter": "1"}),
    ("/linux/sysctl", {"net.ipv4.conf.eth0/100.rp_filter": "1"}),
    ("/linux/sysctl", {"kernel.domainname": "x", "kernel/sem": "1", "user.max_ipc_namespaces": ""}),
    ("/linux/seccomp/syscalls/0", {"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}),
]


@pytest.mark.parametrize(("pointer", "value"), RIGHT)
def test_what_is_let_through(pointer: str, value: Any) -> None:
    validate(set_at(documents.full(), pointer, value))


def test_the_smallest_document() -> None:
    validate(documents.smallest())


def test_no_limit_of_swappiness_by_a_client_of_old() -> None:
    document = set_at(documents.full(), "/linux/resources/memory/swappiness", 2**64 - 1)
    validate(document)
    assert "swappiness" not in document["linux"]["resources"]["memory"]


def test_notify_needs_a_listener() -> None:
    document = documents.full()
    rule = {"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}
    document["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}
    error = refusal(document)
    assert error.pointer == "/linux/seccomp/listenerPath"
    assert "required by SCMP_ACT_NOTIFY in syscalls/0" in str(error)


def test_an_error_does_not_repeat_the_environment() -> None:
    error = refusal(set_at(documents.full(), "/process/env/1", "the-secret"))
    assert "the-secret" not in str(error)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("a" * 100, '"' + "a" * 37 + '..."'),
        ("\x1b[2J\n\u202e", '"\\x1b[2J\\n\\u202e"'),
        ([], "an array"),
        ({}, "an object"),
        (True, "true"),
        (10**5000, "a number of that size"),
    ],
    ids=["long", "escapes", "array", "object", "boolean", "huge"],
)
def test_values_are_shown_short_and_printable(value: Any, shown: str) -> None:
    document = set_at(documents.full(), "/linux/rootfsPropagation", value)
    assert str(refusal(document)).endswith(f", not {shown}")


def test_pointers_are_escaped() -> None:
    document = set_at(documents.full(), "/linux/sysctl/a~1b~0c\n", 1)
    assert refusal(document).pointer == "/linux/sysctl/a~1b~0c\\n"


def test_the_document_itself_has_no_pointer() -> None:
    error = refusal([])
    assert error.pointer is None
    assert str(error) == "config.json must be an object, not an array"
    assert error.path == "config.json"


def test_a_process_alone() -> None:
    validate_process(documents.full()["process"])
    with pytest.raises(ConfigError, match=r"^/cwd: Cwd must be an absolute path"):
        validate_process({"cwd": "x", "args": ["a"]})


def test_resources_alone() -> None:
    validate_resources(documents.full()["linux"]["resources"])
    with pytest.raises(ConfigError, match=r"^/memory/limit: must be a whole number"):
        validate_resources({"memory": {"limit": "1"}})


@pytest.mark.parametrize("profile", ["docker-like.json", "podman-like.json"])
def test_a_profile_as_engines_write_it(profile: str) -> None:
    document = documents.full()
    document["linux"]["seccomp"] = json.loads((SECCOMP / profile).read_text())
    validate(document)


def test_validation_takes_well_under_a_millisecond() -> None:
    document = documents.full()
    document["linux"]["seccomp"] = json.loads((SECCOMP / "docker-like.json").read_text())

    def once() -> float:
        start = time.perf_counter()
        validate(document)
        return time.perf_counter() - start

    assert min(once() for _ in range(200)) < 0.0005
