"""Random profiles: the compiled filter against a plain reading of the profile."""

from typing import Any

from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st
from unit.seccomp import bpf
from unit.seccomp.profiles import NUMBERS, arg, compiled, rule, section

from kaa.errors import ConfigError

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
    return bool(value & other == comparison["valueTwo"] & other)  # as libseccomp has it


def verdict(profile: dict[str, Any], machine: str, nr: int, args: tuple[int, ...]) -> int:
    """The profile read from top to bottom, rules without arguments first."""
    numbers = NUMBERS[machine]
    default = action_of(profile, "defaultAction", "defaultErrnoRet")
    for entry in sorted(profile["syscalls"], key=lambda entry: bool(entry["args"])):
        if action_of(entry, "action", "errnoRet") == default:
            continue
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
        "valueTwo": draw(words) if operator == "MASKED_EQ" else 0,
    }


@st.composite
def actions(draw: st.DrawFn, name: str, errno: str) -> dict[str, Any]:
    action = draw(st.sampled_from(sorted(KINDS)))
    if action in CARRIES_ERRNO and draw(st.booleans()):
        return {name: action, errno: draw(st.integers(0, 4094))}
    return {name: action}


@st.composite
def profiles(draw: st.DrawFn) -> dict[str, Any]:
    """Rules for one call often overlap, with one action or several."""
    names = sorted(NUMBERS["x86_64"])
    profile: dict[str, Any] = draw(actions("defaultAction", "defaultErrnoRet"))
    profile["syscalls"] = []
    for name in draw(st.lists(st.sampled_from(names), unique=True, max_size=len(names))):
        for _ in range(draw(st.integers(1, 4))):
            action = draw(actions("action", "errnoRet"))
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


@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data(), machine=st.sampled_from(sorted(ARCH)))
def test_the_filter_says_what_the_profile_says(data: st.DataObject, machine: str) -> None:
    profile = data.draw(profiles())
    try:
        program = compiled(profile, machine).program
    except ConfigError:
        reject()  # two actions for the same arguments
    for _ in range(12):
        nr, args = data.draw(calls(profile, machine))
        assert bpf.run(program, ARCH[machine], nr, args) == verdict(profile, machine, nr, args)


def test_what_libseccomp_gets_wrong() -> None:
    """Found by the test above, when libseccomp 2.5.4 made the programs: it denied this call."""
    profile = section(
        "TRACE",
        rule("ALLOW", "getcwd", args=[arg(0, "GE", 3594867), arg(0, "LT", 0), arg(0, "LT", 0)]),
        rule("ALLOW", "getcwd", args=[arg(4, "NE", 0), arg(0, "NE", 0), arg(1, "NE", 0)]),
        rule("ALLOW", "getcwd", args=[arg(0, "GT", 0), arg(2, "NE", 0), arg(4, "NE", 1851892)]),
    )
    program = compiled(profile).program
    assert bpf.run(program, bpf.X86_64, 79, (1851892, 0, 2**31 - 1)) == bpf.ALLOW
