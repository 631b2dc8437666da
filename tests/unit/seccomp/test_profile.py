"""What `linux.seccomp` may say, and exactly where it is wrong."""

from typing import Any

import pytest
from unit.seccomp import bpf
from unit.seccomp.profiles import arg, compiled, rule, section

from kaa.compile import seccomp, seccomp_profile
from kaa.errors import ConfigError

READ = 0

ACTIONS = {
    "KILL": bpf.KILL_THREAD,
    "KILL_THREAD": bpf.KILL_THREAD,
    "KILL_PROCESS": bpf.KILL_PROCESS,
    "TRAP": bpf.TRAP,
    "ERRNO": bpf.ERRNO | 1,
    "TRACE": bpf.TRACE | 1,
    "ALLOW": bpf.ALLOW,
    "LOG": bpf.LOG,
    "NOTIFY": bpf.NOTIFY,
}


@pytest.mark.parametrize("name", ACTIONS)
def test_every_action(name: str) -> None:
    default = "ALLOW" if name != "ALLOW" else "TRAP"
    profile = section(default, rule(name, "read"), listenerPath="/run/agent")
    made = compiled(profile)
    assert bpf.run(made.program, bpf.X86_64, READ) == ACTIONS[name]
    assert bpf.run(made.program, bpf.X86_64, 1) in {bpf.ALLOW, bpf.TRAP, bpf.ENOSYS}
    assert made.notify == (name == "NOTIFY")


@pytest.mark.parametrize("name", [name for name in ACTIONS if name != "NOTIFY"])
def test_every_default_action(name: str) -> None:
    made = compiled(section(name, rule("LOG" if name != "LOG" else "ALLOW", "close_range")))
    assert bpf.run(made.program, bpf.X86_64, READ) == ACTIONS[name]


@pytest.mark.parametrize(("action", "kind"), [("ERRNO", bpf.ERRNO), ("TRACE", bpf.TRACE)])
@pytest.mark.parametrize("errno", [0, 1, 13, 38, 4095])
def test_errno_ret(action: str, kind: int, errno: int) -> None:
    made = compiled(section("ALLOW", rule(action, "read", errnoRet=errno)))
    assert bpf.run(made.program, bpf.X86_64, READ) == kind | errno
    made = compiled(section(action, rule("ALLOW", "close_range"), defaultErrnoRet=errno))
    assert bpf.run(made.program, bpf.X86_64, READ) == kind | errno


def test_null_is_absent() -> None:
    profile = section(
        "ERRNO", defaultErrnoRet=None, architectures=None, flags=None, listenerPath=None
    )
    profile["syscalls"] = [rule("ALLOW", "read", errnoRet=None) | {"args": None}]
    made = compiled(profile)
    assert bpf.run(made.program, bpf.X86_64, READ) == bpf.ALLOW
    assert made.flags == 4
    profile["syscalls"] = None
    assert bpf.run(compiled(profile).program, bpf.X86_64, READ) == bpf.ERRNO | 1


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (None, 4),
        ([], 0),
        (["SECCOMP_FILTER_FLAG_TSYNC"], 0),
        (["SECCOMP_FILTER_FLAG_LOG"], 2),
        (["SECCOMP_FILTER_FLAG_SPEC_ALLOW"], 4),
        (["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW"], 6),
        (["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"], 0),  # EINVAL without a listener
    ],
)
def test_flags(flags: list[str] | None, expected: int) -> None:
    profile = section("ALLOW", rule("ERRNO", "mkdir"))
    if flags is not None:
        profile["flags"] = flags
    assert compiled(profile).flags == expected


def test_flags_of_a_filter_that_notifies() -> None:
    profile = section(
        "ALLOW",
        rule("NOTIFY", "mkdir"),
        flags=["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"],
        listenerPath="/run/agent",
        listenerMetadata="who",
    )
    made = compiled(profile)
    assert made.flags == 8 | 32
    assert made.notify
    assert (made.listener_path, made.listener_metadata) == ("/run/agent", "who")


def test_a_listener_path_without_notify_does_no_harm() -> None:
    made = compiled(section("ALLOW", rule("ERRNO", "mkdir"), listenerPath="/run/agent"))
    assert not made.notify


ODD = ["Read", "read ", "0", "reád", "\ud800", "\udcff", "x" * 100_000]


def test_unknown_calls_are_skipped() -> None:
    made = compiled(section("KILL", rule("ALLOW", "no_such_call", "read", *ODD)))
    assert bpf.run(made.program, bpf.X86_64, READ) == bpf.ALLOW


def test_a_rule_with_the_default_action_is_skipped() -> None:
    made = compiled(section("ERRNO", rule("ERRNO", "mkdir", errnoRet=1), defaultErrnoRet=1))
    assert bpf.run(made.program, bpf.X86_64, 83) == bpf.ERRNO | 1
    made = compiled(section("KILL", rule("KILL_THREAD", "mkdir")))
    assert bpf.run(made.program, bpf.X86_64, 83) == bpf.KILL_THREAD


def test_the_same_action_with_another_errno_is_not_the_default() -> None:
    made = compiled(section("ERRNO", rule("ERRNO", "mkdir", errnoRet=5), defaultErrnoRet=1))
    assert bpf.run(made.program, bpf.X86_64, 83) == bpf.ERRNO | 5


OPERATORS = {
    "NE": [(4, True), (5, False), (6, True)],
    "LT": [(4, True), (5, False), (6, False)],
    "LE": [(4, True), (5, True), (6, False)],
    "EQ": [(4, False), (5, True), (6, False)],
    "GE": [(4, False), (5, True), (6, True)],
    "GT": [(4, False), (5, False), (6, True)],
}


@pytest.mark.parametrize("op", OPERATORS)
@pytest.mark.parametrize("index", range(6))
@pytest.mark.parametrize("high", [0, 7 << 32])
def test_operators(op: str, index: int, high: int) -> None:
    """Also above 32 bits, where the filter must compare in two halves."""
    profile = section("ALLOW", rule("ERRNO", "mmap", args=[arg(index, op, high | 5)]))
    program = compiled(profile).program
    for value, holds in OPERATORS[op]:
        args = [0xDEAD_BEEF_0000_0005] * 6
        args[index] = high | value
        expected = bpf.ERRNO | 1 if holds else bpf.ALLOW
        assert bpf.run(program, bpf.X86_64, 9, tuple(args)) == expected


def test_masked_eq() -> None:
    """`value` is the mask, `valueTwo` what must be left."""
    mask = 0x8000_0001_0000_00F0
    want = 0x8000_0000_0000_0050
    made = compiled(section("ERRNO", rule("ALLOW", "mmap", args=[arg(1, "MASKED_EQ", mask, want)])))

    def verdict(value: int) -> int:
        return bpf.run(made.program, bpf.X86_64, 9, (0, value))

    assert verdict(want) == bpf.ALLOW
    assert verdict(want | 0x7FFF_FFFE_FFFF_FF0F) == bpf.ALLOW
    assert verdict(want ^ 0x10) == bpf.ERRNO | 1
    assert verdict(want ^ 1 << 63) == bpf.ERRNO | 1
    assert verdict(want ^ 1 << 32) == bpf.ERRNO | 1


def test_different_arguments_must_all_hold() -> None:
    made = compiled(
        section("ERRNO", rule("ALLOW", "mmap", args=[arg(0, "EQ", 1), arg(1, "GT", 2)]))
    )
    verdicts = {
        args: bpf.run(made.program, bpf.X86_64, 9, args) == bpf.ALLOW
        for args in [(1, 3), (1, 2), (0, 3), (0, 0)]
    }
    assert verdicts == {(1, 3): True, (1, 2): False, (0, 3): False, (0, 0): False}


def test_two_comparisons_of_one_argument_make_all_of_them_alternatives() -> None:
    made = compiled(
        section(
            "ERRNO",
            rule("ALLOW", "mmap", args=[arg(0, "EQ", 1), arg(0, "EQ", 2), arg(1, "EQ", 9)]),
        )
    )
    for args, allowed in [((1, 0), True), ((2, 0), True), ((3, 9), True), ((3, 0), False)]:
        assert (bpf.run(made.program, bpf.X86_64, 9, args) == bpf.ALLOW) == allowed


def test_several_rules_for_one_call_are_alternatives() -> None:
    made = compiled(
        section(
            "ERRNO",
            *[rule("ALLOW", "personality", args=[arg(0, "EQ", v)]) for v in (0, 8, 0xFFFFFFFF)],
        )
    )
    for value in (0, 8, 0xFFFFFFFF):
        assert bpf.run(made.program, bpf.X86_64, 135, (value,)) == bpf.ALLOW
    assert bpf.run(made.program, bpf.X86_64, 135, (1,)) == bpf.ERRNO | 1


def test_the_largest_value() -> None:
    made = compiled(section("ERRNO", rule("ALLOW", "mmap", args=[arg(5, "EQ", 2**64 - 1)])))
    assert bpf.run(made.program, bpf.X86_64, 9, (0, 0, 0, 0, 0, 2**64 - 1)) == bpf.ALLOW
    assert bpf.run(made.program, bpf.X86_64, 9, (0, 0, 0, 0, 0, 2**32 - 1)) == bpf.ERRNO | 1


def _with(**more: Any) -> dict[str, Any]:
    return section("ALLOW", rule("ERRNO", "mkdir")) | more


def _with_rule(**more: Any) -> dict[str, Any]:
    return _with(syscalls=[rule("ERRNO", "mkdir"), rule("ERRNO", "read") | more])


def _with_arg(**more: Any) -> dict[str, Any]:
    return _with_rule(args=[arg(0, "EQ", 0), arg(1, "EQ", 0) | more])


WRONG: list[tuple[Any, str]] = [
    ([], ""),
    ({}, "/defaultAction"),
    (_with(defaultAction=None), "/defaultAction"),
    (_with(defaultAction="ALLOW"), "/defaultAction"),
    (_with(defaultAction="SCMP_ACT_NOTIFY", listenerPath="/a"), "/defaultAction"),
    (_with(defaultAction=["SCMP_ACT_ALLOW"]), "/defaultAction"),
    (_with(defaultErrnoRet=1), "/defaultErrnoRet"),
    (_with(defaultAction="SCMP_ACT_ERRNO", defaultErrnoRet=-1), "/defaultErrnoRet"),
    (_with(defaultAction="SCMP_ACT_ERRNO", defaultErrnoRet=4096), "/defaultErrnoRet"),
    (_with(defaultAction="SCMP_ACT_TRACE", defaultErrnoRet=65536), "/defaultErrnoRet"),
    (_with(defaultAction="SCMP_ACT_ERRNO", defaultErrnoRet=True), "/defaultErrnoRet"),
    (_with(defaultAction="SCMP_ACT_ERRNO", defaultErrnoRet="1"), "/defaultErrnoRet"),
    (_with(architectures="SCMP_ARCH_X86"), "/architectures"),
    (_with(architectures=["SCMP_ARCH_X86", "X86"]), "/architectures/1"),
    (_with(architectures=["SCMP_ARCH_X86", 1]), "/architectures/1"),
    (_with(flags={}), "/flags"),
    (_with(flags=["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_NEW_LISTENER"]), "/flags/1"),
    (_with(flags=[[]]), "/flags/0"),
    (_with(syscalls={}), "/syscalls"),
    (_with(syscalls=[rule("ERRNO", "mkdir"), "read"]), "/syscalls/1"),
    (_with_rule(names=None), "/syscalls/1/names"),
    (_with_rule(names=[]), "/syscalls/1/names"),
    (_with_rule(names="read"), "/syscalls/1/names"),
    (_with_rule(names=["read", ""]), "/syscalls/1/names/1"),
    (_with_rule(names=["read", "write\0x"]), "/syscalls/1/names/1"),
    (_with_rule(names=["read", 7]), "/syscalls/1/names/1"),
    (_with_rule(action="SCMP_ACT_DENY"), "/syscalls/1/action"),
    (_with_rule(action=None), "/syscalls/1/action"),
    (_with_rule(errnoRet=4096), "/syscalls/1/errnoRet"),
    (_with_rule(errnoRet=1.0), "/syscalls/1/errnoRet"),
    (_with_rule(action="SCMP_ACT_KILL", errnoRet=1), "/syscalls/1/errnoRet"),
    (_with_rule(names=["read", "write"], action="SCMP_ACT_NOTIFY"), "/syscalls/1/names/1"),
    (_with_rule(action="SCMP_ACT_NOTIFY"), "/listenerPath"),
    (_with(listenerMetadata="x"), "/listenerMetadata"),
    (_with(listenerPath=5), "/listenerPath"),
    (_with(listenerPath="/a\0b"), "/listenerPath"),
    (_with(listenerPath="/a", listenerMetadata="\ud800"), "/listenerMetadata"),
    (_with(listenerPath="/a", listenerMetadata={}), "/listenerMetadata"),
    (_with_rule(args={}), "/syscalls/1/args"),
    (_with_rule(args=[5]), "/syscalls/1/args/0"),
    (_with_arg(op="=="), "/syscalls/1/args/1/op"),
    (_with_arg(op=None), "/syscalls/1/args/1/op"),
    (_with_arg(index=6), "/syscalls/1/args/1/index"),
    (_with_arg(index=-1), "/syscalls/1/args/1/index"),
    (_with_arg(index=None), "/syscalls/1/args/1/index"),
    (_with_arg(value=None), "/syscalls/1/args/1/value"),
    (_with_arg(value=2**64), "/syscalls/1/args/1/value"),
    (_with_arg(value=-1), "/syscalls/1/args/1/value"),
    (_with_arg(valueTwo=2**64), "/syscalls/1/args/1/valueTwo"),
]


@pytest.mark.parametrize(("profile", "pointer"), WRONG)
def test_errors_name_the_place(profile: Any, pointer: str) -> None:
    with pytest.raises(ConfigError) as error:
        compiled(profile)
    assert error.value.pointer == "/linux/seccomp" + pointer
    assert str(error.value).startswith(f"/linux/seccomp{pointer}: ")


def test_the_pointer_is_where_the_section_is() -> None:
    with pytest.raises(ConfigError) as error:
        seccomp.filter_for({}, cache_dir="", uid=0, machine="x86_64", pointer="")
    assert error.value.pointer == "/defaultAction"


def test_contradicting_rules_are_an_error() -> None:
    """However their comparisons are ordered."""
    profile = section(
        "KILL",
        rule("ALLOW", "mmap", args=[arg(1, "LT", 2), arg(0, "EQ", 1)]),
        rule("LOG", "read", "mmap", args=[arg(0, "EQ", 1), arg(1, "LT", 2)]),
    )
    with pytest.raises(ConfigError, match="mmap has the same arguments") as error:
        compiled(profile)
    assert error.value.pointer == "/linux/seccomp/syscalls/1/names/1"


@pytest.mark.parametrize("args", [None, [arg(0, "EQ", 1)], [arg(0, "NE", 1), arg(3, "GT", 1)]])
def test_a_rule_may_be_repeated(args: list[Any] | None) -> None:
    same = rule("ALLOW", "mmap", "mmap", args=args)
    once, more = compiled(section("KILL", same)), compiled(section("KILL", same, same))
    for values in [(1,), (0, 0, 0, 2)]:
        verdicts = {bpf.run(made.program, bpf.X86_64, 9, values) for made in (once, more)}
        assert len(verdicts) == 1


def test_a_rule_without_arguments_goes_before_all_others() -> None:
    some = [
        rule("LOG", "mmap", args=[arg(0, "EQ", 1)]),
        rule("TRAP", "mmap", args=[arg(0, "EQ", 1)]),
    ]
    every = rule("ALLOW", "mmap")
    for rules in ([*some, every], [every, *some], [every, rule("LOG", "mmap"), *some]):
        program = compiled(section("KILL", *rules)).program
        assert bpf.run(program, bpf.X86_64, 9, (1,)) == bpf.ALLOW


def test_of_rules_that_overlap_the_first_decides() -> None:
    small = rule("LOG", "mmap", args=[arg(0, "LT", 10)])
    even = rule("TRAP", "mmap", args=[arg(0, "MASKED_EQ", 1, 0)])
    for rules, four in (([small, even], bpf.LOG), ([even, small], bpf.TRAP)):
        program = compiled(section("ALLOW", *rules)).program
        verdicts = [bpf.run(program, bpf.X86_64, 9, (value,)) for value in (3, 4, 12, 13)]
        assert verdicts == [bpf.LOG, four, bpf.TRAP, bpf.ALLOW]


def test_a_filter_that_the_kernel_would_refuse() -> None:
    args = [[arg(0, "EQ", value), arg(1, "EQ", value)] for value in range(1500)]
    profile = section("ERRNO", *[rule("ALLOW", "mmap", args=a) for a in args])
    with pytest.raises(ConfigError, match="the kernel takes 4096") as error:
        compiled(profile)
    assert error.value.pointer == "/linux/seccomp"


@pytest.mark.parametrize("depth", [10_000, 100_000])
def test_absurd_nesting_is_an_error(depth: int, tmp_path: Any) -> None:
    nested: list[Any] = []
    for _ in range(depth):
        nested = [nested]
    with pytest.raises(ConfigError):
        seccomp.filter_for(
            _with(syscalls=nested), cache_dir=str(tmp_path / "c"), uid=0, machine="x86_64"
        )
    while nested:  # freed step by step: the interpreter's own recursion is limited too
        nested = nested.pop()


def test_an_unknown_machine() -> None:
    with pytest.raises(ConfigError, match="machine pdp11"):
        compiled(section("ALLOW"), "pdp11")


def test_the_tables_are_those_of_the_specification() -> None:
    assert len(seccomp_profile.ACTIONS) == 9
    assert len(seccomp_profile.OPERATORS) == 7
    assert len(seccomp_profile.FLAGS) == 4
    assert len(seccomp_profile.ARCHITECTURES) == 23
