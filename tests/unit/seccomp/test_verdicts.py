"""Random profiles: the compiled filter against a plain reading of the profile."""

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from unit.seccomp import bpf
from unit.seccomp.profiles import NUMBERS, compiled

ARCH = {"x86_64": bpf.X86_64, "aarch64": bpf.AARCH64}
KINDS = {
    "SCMP_ACT_KILL": bpf.KILL_THREAD,
    "SCMP_ACT_KILL_PROCESS": bpf.KILL_PROCESS,
    "SCMP_ACT_TRAP": bpf.TRAP,
    "SCMP_ACT_ERRNO": bpf.ERRNO,
    "SCMP_ACT_TRACE": bpf.TRACE,
    "SCMP_ACT_LOG": bpf.LOG,
    "SCMP_ACT_ALLOW": bpf.ALLOW,
}
CARRIES_ERRNO = {"SCMP_ACT_ERRNO", "SCMP_ACT_TRACE"}
MAX = 2**64 - 1


def action_of(entry: dict[str, Any], name: str, errno: str) -> int:
    kind = entry[name]
    return KINDS[kind] | (entry.get(errno, 1) if kind in CARRIES_ERRNO else 0)


def holds(comparison: dict[str, Any], args: tuple[int, ...]) -> bool:
    value: int = args[comparison["index"]]
    other: int = comparison["value"]
    match comparison["op"].removeprefix("SCMP_CMP_"):
        case "NE":
            return value != other
        case "LT":
            return value < other
        case "LE":
            return value <= other
        case "EQ":
            return value == other
        case "GE":
            return value >= other
        case "GT":
            return value > other
    return bool(value & other == comparison["valueTwo"])


def verdict(profile: dict[str, Any], machine: str, nr: int, args: tuple[int, ...]) -> int:
    """The profile read from top to bottom."""
    numbers = NUMBERS[machine]
    default = action_of(profile, "defaultAction", "defaultErrnoRet")
    for entry in profile["syscalls"]:
        if nr not in [numbers.get(name) for name in entry["names"]]:
            continue
        comparisons = entry["args"]
        together = len({c["index"] for c in comparisons}) == len(comparisons)
        results = [holds(c, args) for c in comparisons]
        if not results or (all(results) if together else any(results)):
            return action_of(entry, "action", "errnoRet")
    known = [numbers[n] for e in profile["syscalls"] for n in e["names"] if n in numbers]
    lenient = default & 0xFFFF0000 in {bpf.ALLOW, bpf.LOG, bpf.TRACE}
    return bpf.ENOSYS if known and nr > max(known) and not lenient else default


words = st.one_of(
    st.integers(0, 12),
    st.sampled_from([2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**32 + 1, 2**63, MAX - 1, MAX]),
    st.integers(0, MAX),
)


@st.composite
def comparisons(draw: st.DrawFn) -> dict[str, Any]:
    operator = draw(st.sampled_from(["NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ"]))
    value = draw(words)
    return {
        "index": draw(st.integers(0, 5)),
        "op": f"SCMP_CMP_{operator}",
        "value": value,
        "valueTwo": draw(words) & value if operator == "MASKED_EQ" else 0,
    }


@st.composite
def actions(draw: st.DrawFn, name: str, errno: str) -> dict[str, Any]:
    action = draw(st.sampled_from(sorted(KINDS)))
    if action in CARRIES_ERRNO and draw(st.booleans()):
        return {name: action, errno: draw(st.integers(0, 4094))}
    return {name: action}


@st.composite
def profiles(draw: st.DrawFn) -> dict[str, Any]:
    """Rules for one call all have one action: libseccomp promises no order among others."""
    names = sorted(NUMBERS["x86_64"])
    profile: dict[str, Any] = draw(actions("defaultAction", "defaultErrnoRet"))
    profile["syscalls"] = []
    for name in draw(st.lists(st.sampled_from(names), unique=True, max_size=len(names))):
        action = draw(actions("action", "errnoRet"))
        for _ in range(draw(st.integers(1, 3))):
            args = draw(st.lists(comparisons(), max_size=3))
            also = draw(st.sampled_from([[], ["no_such_call"]]))
            profile["syscalls"].append({"names": [name, *also], "args": args} | action)
    return profile


@st.composite
def calls(draw: st.DrawFn, profile: dict[str, Any], machine: str) -> tuple[int, tuple[int, ...]]:
    """Calls and arguments near those that the profile is about."""
    used = [NUMBERS[machine].get(e["names"][0], 0) for e in profile["syscalls"]] or [0]
    nr = draw(st.sampled_from(used)) + draw(st.sampled_from([0, 0, 0, 0, 1, 400]))
    values = [c["value"] for e in profile["syscalls"] for c in e["args"]]
    values += [c["valueTwo"] for e in profile["syscalls"] for c in e["args"]]
    near = st.builds(
        lambda value, delta: (value + delta) & MAX,
        st.sampled_from(values or [0]),
        st.sampled_from([0, 0, 0, 1, -1, 1 << 32, -(1 << 32)]),
    )
    return nr, tuple(draw(st.one_of(near, near, words)) for _ in range(6))


@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data(), machine=st.sampled_from(sorted(ARCH)))
def test_the_filter_says_what_the_profile_says(data: st.DataObject, machine: str) -> None:
    profile = data.draw(profiles())
    program = compiled(profile, machine).program
    for _ in range(12):
        nr, args = data.draw(calls(profile, machine))
        assert bpf.run(program, ARCH[machine], nr, args) == verdict(profile, machine, nr, args)


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_the_same_as_a_binary_tree(data: st.DataObject) -> None:
    """With many calls libseccomp builds a tree: nothing may change but the speed."""
    profile = data.draw(profiles())
    many = ["accept", "bind", "chdir", "dup", "execve", "fcntl", "getpid", "ioctl", "kill"]
    many += ["link", "mprotect", "nanosleep", "open", "pipe", "readv", "shmat", "times"]
    many += ["umask", "vfork", "wait4", "fsync", "flock", "getuid", "getgid", "listen"]
    many += ["msgget", "pause", "poll", "rename", "select", "semget", "stat", "uname", "utime"]
    other = "SCMP_ACT_LOG" if profile["defaultAction"] != "SCMP_ACT_LOG" else "SCMP_ACT_ALLOW"
    last = {"names": [*many, "close_range"], "action": other, "args": []}
    if any("close_range" in entry["names"] for entry in profile["syscalls"]):
        last["names"] = [*many, "execveat"]
    wider = profile | {"syscalls": [*profile["syscalls"], last]}
    known = profile | {"syscalls": [*profile["syscalls"], last | {"names": last["names"][-1:]}]}
    tree, plain = compiled(wider).program, compiled(known).program
    for _ in range(12):
        nr, args = data.draw(calls(profile, "x86_64"))
        if nr in NUMBERS["x86_64"].values():
            assert bpf.run(tree, bpf.X86_64, nr, args) == bpf.run(plain, bpf.X86_64, nr, args)
