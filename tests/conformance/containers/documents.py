"""Valid documents, and what can be done to them."""

import copy
import posixpath
from typing import Any

from hypothesis import strategies as st
from kit import config
from kit.config import Config

Path = tuple[str | int, ...]

STRINGS = [
    "",
    ".",
    "..",
    "/",
    "//",
    "a/b",
    "/no/such/path",
    "../../../../etc",
    "/proc/self/exe",
    "/proc/self/fd/3",
    "/dev/../dev/pts",
    "\0",
    "nul\0inside",
    "\ud800",
    "line\nbreak",
    "ä€𝄞",
    "%s%n",
    "$(id)",
    "-",
    "=",
    "A=b",
    "\x1b[2J",
    "x" * 300,
    "y" * 5000,
    "user",
    "bind",
    "rbind",
    "ro",
    "proc",
    "SCMP_ACT_KILL",
    "18446744073709551616",
]
NUMBERS = [
    0,
    1,
    -1,
    2,
    255,
    4096,
    2**31 - 1,
    2**31,
    2**32,
    2**63 - 1,
    2**63,
    2**64,
    10**30,
    -(2**63),
]
OTHERS: list[Any] = [None, True, False, 1.5, -0.0, 1e300, [], {}, [[]], {"": ""}, [None], ["", ""]]


def plain() -> Config:
    """What an engine writes, nearly."""
    document = config.default()
    document["annotations"] = {"org.example.key": "value"}
    document["domainname"] = "example.org"
    process = document["process"]
    process["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": 512, "hard": 1024}]
    process["oomScoreAdj"] = 100
    process["user"] = {"uid": 0, "gid": 0, "umask": 0o22, "additionalGids": [5, 6]}
    process["execCPUAffinity"] = {"initial": "0", "final": "0"}
    process["ioPriority"] = {"class": "IOPRIO_CLASS_BE", "priority": 4}
    process["scheduler"] = {"policy": "SCHED_OTHER", "nice": 5}
    linux = document["linux"]
    linux["cgroupsPath"] = "a-name"
    linux["sysctl"] = {"net.ipv4.ip_forward": "0", "kernel.msgmax": "8192"}
    linux["rootfsPropagation"] = "rslave"
    linux["personality"] = {"domain": "LINUX"}
    linux["devices"] = [
        {
            "type": "c",
            "path": "/dev/it",
            "major": 1,
            "minor": 3,
            "fileMode": 438,
            "uid": 0,
            "gid": 0,
        }
    ]
    linux["resources"].update(
        memory={"limit": 64 << 20, "swap": 64 << 20},
        cpu={"shares": 512, "quota": 50000, "period": 100000},
        pids={"limit": 50},
    )
    return document


def apart() -> Config:
    """In user, cgroup and time namespaces of its own."""
    document = config.default()
    config.add_user_namespace(document)
    linux = document["linux"]
    linux["namespaces"] += [{"type": "cgroup"}, {"type": "time"}]
    linux["timeOffsets"] = {"boottime": {"secs": 10, "nanosecs": 5}, "monotonic": {"secs": 10}}
    document["mounts"] += [
        config.bind("source", "/bound", "rro", "nosuid"),
        {"destination": "/cgroup", "type": "cgroup", "source": "cgroup", "options": ["ro"]},
        config.tmpfs("/home/user", "tmpcopyup", "size=1m"),
    ]
    document["hooks"] = {
        "createRuntime": [{"path": "/bin/true", "args": ["true"], "timeout": 5}],
        "startContainer": [{"path": "/bin/true", "env": ["A=b"]}],
    }
    return document


def filtered() -> Config:
    """With a seccomp filter, and a mount with ids of its own."""
    document = config.default()
    document["linux"]["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"],
        "flags": ["SECCOMP_FILTER_FLAG_LOG"],
        "syscalls": [
            {"names": ["ptrace", "bpf"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1},
            {
                "names": ["personality"],
                "action": "SCMP_ACT_ERRNO",
                "args": [{"index": 0, "value": 8, "valueTwo": 0, "op": "SCMP_CMP_NE"}],
            },
        ],
    }
    document["linux"]["memoryPolicy"] = {"mode": "MPOL_BIND", "nodes": "0"}
    mapping = {"containerID": 0, "hostID": 1000, "size": 10}
    document["mounts"].append(
        {**config.bind("source", "/bound"), "uidMappings": [mapping], "gidMappings": [mapping]}
    )
    document["hooks"] = {"poststop": [{"path": "/bin/true"}]}
    return document


BASES = (plain, apart, filtered)


def paths(value: Any, here: Path = ()) -> list[Path]:
    """All places in a document, its own not."""
    if isinstance(value, dict):
        inner: Any = value.items()
    else:
        inner = enumerate(value) if isinstance(value, list) else ()
    return [place for key, child in inner for place in ((*here, key), *paths(child, (*here, key)))]


def at(document: Config, place: Path) -> Any:
    value: Any = document
    for key in place:
        value = value[key]
    return value


@st.composite
def mutants(draw: st.DrawFn) -> Config:
    """A valid document with one to three things done to it, most often one."""
    document = draw(st.sampled_from(BASES))()
    for _ in range(draw(st.sampled_from([1, 1, 1, 2, 3]))):
        places = paths(document)
        if places:
            _mutate(draw, document, draw(st.sampled_from(places)), places)
    return harmless(document)


@st.composite
def sections(draw: st.DrawFn, base: Config) -> Config:
    """`base`, a part of a valid document, with one or two things done to it."""
    section = copy.deepcopy(base)
    for _ in range(draw(st.sampled_from([1, 1, 2]))):
        places = paths(section)
        if places:
            _mutate(draw, section, draw(st.sampled_from(places)), places)
    return section


def _mutate(draw: st.DrawFn, document: Config, place: Path, places: list[Path]) -> None:
    parent, key = at(document, place[:-1]), place[-1]
    value = parent[key]
    kinds = {
        dict: ["shuffle", "invent"],
        list: ["shuffle", "double"],
        str: ["string", "near"],
        int: ["number", "near"],
    }.get(type(value), ["number"])
    kind = draw(st.sampled_from([*kinds, *kinds, "drop", "swap", "string", "other"]))
    if kind == "drop":
        del parent[key]
    elif kind == "string":
        parent[key] = draw(st.sampled_from(STRINGS))
    elif kind == "number":
        parent[key] = draw(st.sampled_from(NUMBERS))
    elif kind == "other":
        parent[key] = copy.deepcopy(draw(st.sampled_from(OTHERS)))
    elif kind == "swap":
        parent[key] = copy.deepcopy(at(document, draw(st.sampled_from(places))))
    elif kind == "near":
        parent[key] = _near(draw, value)
    elif kind == "invent":
        value[draw(st.sampled_from(STRINGS))] = draw(st.sampled_from(NUMBERS))
    elif kind == "double":
        value += copy.deepcopy(value)
    elif isinstance(value, dict):
        names = draw(st.permutations(list(value)))
        parent[key] = {name: value[name] for name in names}
    else:
        parent[key] = list(draw(st.permutations(value)))


def _near(draw: st.DrawFn, value: int | str) -> int | str:
    """Nearly what it was."""
    if isinstance(value, str):
        extra = draw(st.sampled_from(["/", "\0", " ", "x", "/..", ".", "\n"]))
        return draw(st.sampled_from([value + extra, extra + value, value.swapcase(), value[:-1]]))
    return value + draw(st.sampled_from([-1, 1, 2**32]))


def harmless(document: Config) -> Config:
    """Without what would make the host itself the container.

    kaa would do as it is told; so the root stays in the bundle, cgroups keep the mark of
    the tests in their path (test_mutations puts it there), and mounts have a namespace.
    """
    root = document.get("root")
    if isinstance(root, dict) and isinstance(root.get("path"), str):
        path = posixpath.normpath("bundle/" + root["path"])
        if root["path"].startswith("/") or path.startswith("..") or path in (".", "bundle"):
            root["path"] = "/no/such/root"
    linux = document.get("linux")
    if isinstance(linux, dict):
        wanted = linux.get("cgroupsPath")
        if isinstance(wanted, str) and ".." in wanted:
            linux["cgroupsPath"] = "two-dots"
    return document


def has_mount_namespace(document: Config) -> bool:
    """Whether it is of a form that asks for one."""
    linux = document.get("linux")
    namespaces = linux.get("namespaces") if isinstance(linux, dict) else None
    return isinstance(namespaces, list) and {"type": "mount"} in namespaces
