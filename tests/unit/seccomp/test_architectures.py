"""Filters for several architectures, and ENOSYS for calls that are newer than the profile."""

from typing import Any

import pytest
from unit.seccomp import bpf
from unit.seccomp.profiles import arg, compiled, load, rule, section

from kaa.compile import seccomp_profile

DENIED = bpf.ERRNO | 1
X32 = 0x40000000

# close_range is 436 everywhere
NEWEST, NEWER = 436, 437


def test_without_architectures_it_is_the_machines_own() -> None:
    program = compiled(section("ERRNO", rule("ALLOW", "read"))).program
    assert bpf.run(program, bpf.X86_64, 0) == bpf.ALLOW
    assert bpf.run(program, bpf.I386, 3) == bpf.KILL_THREAD
    assert bpf.run(program, bpf.X86_64, X32) == bpf.KILL_THREAD


def test_each_architecture_has_its_own_numbers() -> None:
    profile = section(
        "ERRNO",
        rule("ALLOW", "read", "close_range"),
        architectures=["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
    )
    program = compiled(profile).program
    for arch, read in [(bpf.X86_64, 0), (bpf.I386, 3), (bpf.X86_64, X32)]:
        assert bpf.run(program, arch, read) == bpf.ALLOW
        assert bpf.run(program, arch, read + 1) == DENIED
    assert bpf.run(program, bpf.AARCH64, 63) == bpf.KILL_THREAD


def test_the_machines_own_is_always_there() -> None:
    program = compiled(
        section("ERRNO", rule("ALLOW", "read"), architectures=["SCMP_ARCH_X86"])
    ).program
    assert bpf.run(program, bpf.X86_64, 0) == bpf.ALLOW
    assert bpf.run(program, bpf.I386, 3) == bpf.ALLOW


def test_another_machine() -> None:
    profile = section(
        "ERRNO",
        rule("ALLOW", "read", "close_range", "set_tls"),
        architectures=["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"],
    )
    program = compiled(profile, "aarch64").program
    assert bpf.run(program, bpf.AARCH64, 63) == bpf.ALLOW
    assert bpf.run(program, bpf.AARCH64, 0) == DENIED
    assert bpf.run(program, bpf.ARM, 3) == bpf.ALLOW
    assert bpf.run(program, bpf.X86_64, 0) == bpf.KILL_THREAD


def test_architectures_of_other_machines_are_left_out() -> None:
    plain = section("ERRNO", rule("ALLOW", "read"))
    everywhere = plain | {"architectures": [*seccomp_profile.ARCHITECTURES] * 2}
    here = plain | {"architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"]}
    assert compiled(everywhere).program == compiled(here).program


@pytest.mark.parametrize(("machine", "same"), [("i686", "x86_64"), ("armv8l", "aarch64")])
def test_uname_under_another_personality(machine: str, same: str) -> None:
    profile = section("ERRNO", rule("ALLOW", "read"))
    assert compiled(profile, machine).program == compiled(profile, same).program


@pytest.mark.parametrize("default", ["ERRNO", "KILL", "KILL_PROCESS", "TRAP"])
def test_newer_calls_do_not_exist(default: str) -> None:
    program = compiled(section(default, rule("ALLOW", "read", "close_range"))).program
    assert bpf.run(program, bpf.X86_64, NEWEST) == bpf.ALLOW
    assert bpf.run(program, bpf.X86_64, NEWER) == bpf.ENOSYS
    assert bpf.run(program, bpf.X86_64, 0x3FFFFFFF) == bpf.ENOSYS
    assert bpf.run(program, bpf.X86_64, NEWEST - 1) not in {bpf.ALLOW, bpf.ENOSYS}


def test_a_call_cancelled_by_a_tracer_is_left_to_the_filter() -> None:
    program = compiled(section("ERRNO", rule("ALLOW", "read", "close_range"))).program
    assert bpf.run(program, bpf.X86_64, 0xFFFFFFFF) == DENIED


@pytest.mark.parametrize("default", ["ALLOW", "LOG", "TRACE"])
def test_defaults_that_let_calls_through_keep_to_it(default: str) -> None:
    program = compiled(section(default, rule("ERRNO", "read", "close_range", errnoRet=5))).program
    assert bpf.run(program, bpf.X86_64, NEWER) != bpf.ENOSYS


def test_a_default_of_enosys_needs_no_help() -> None:
    rules = [rule("ALLOW", "read", "close_range")]
    plain = compiled(section("ERRNO", *rules, defaultErrnoRet=38)).program
    helped = compiled(section("ERRNO", *rules, defaultErrnoRet=39)).program
    assert bpf.run(plain, bpf.X86_64, NEWER) == bpf.ENOSYS
    assert bpf.run(helped, bpf.X86_64, NEWER) == bpf.ENOSYS
    assert bpf.run(helped, bpf.X86_64, 1) == bpf.ERRNO | 39


def test_calls_that_are_refused_are_known_too() -> None:
    """Whatever is named is not new, even where its rule has no effect or a condition."""
    for known in (
        rule("ERRNO", "close_range"),
        rule("ERRNO", "close_range", errnoRet=1, args=[arg(0, "EQ", 1)]),
        rule("TRAP", "close_range"),
    ):
        program = compiled(section("ERRNO", rule("ALLOW", "read"), known)).program
        assert bpf.run(program, bpf.X86_64, NEWEST) != bpf.ENOSYS
        assert bpf.run(program, bpf.X86_64, NEWER) == bpf.ENOSYS


def test_a_profile_that_names_nothing_known_changes_nothing() -> None:
    program = compiled(section("ERRNO", rule("ALLOW", "no_such_call"))).program
    assert bpf.run(program, bpf.X86_64, 100_000) == DENIED


def test_each_architecture_has_its_own_newest() -> None:
    # 64-bit: read 0, getcwd 79; 32-bit: read 3, getcwd 183
    profile = section("ERRNO", rule("ALLOW", "read", "getcwd"), architectures=["SCMP_ARCH_X86"])
    program = compiled(profile).program
    assert bpf.run(program, bpf.X86_64, 80) == bpf.ENOSYS
    assert bpf.run(program, bpf.I386, 80) == DENIED
    assert bpf.run(program, bpf.I386, 183) == bpf.ALLOW
    assert bpf.run(program, bpf.I386, 184) == bpf.ENOSYS


def test_x32_has_its_own_newest() -> None:
    profile = section(
        "ERRNO", rule("ALLOW", "read", "close_range"), architectures=["SCMP_ARCH_X32"]
    )
    program = compiled(profile).program
    assert bpf.run(program, bpf.X86_64, X32 | NEWEST) == bpf.ALLOW
    assert bpf.run(program, bpf.X86_64, X32 | NEWER) == bpf.ENOSYS
    assert bpf.run(program, bpf.X86_64, NEWER) == bpf.ENOSYS
    without = compiled(section("ERRNO", rule("ALLOW", "read", "close_range"))).program
    assert bpf.run(without, bpf.X86_64, X32 | NEWER) == bpf.KILL_THREAD


def test_calls_that_32_bit_x86_makes_through_another() -> None:
    """socketcall(2) and ipc(2): by the call that they stand for, and directly."""
    profile = section(
        "ALLOW",
        rule("ERRNO", "socket", args=[arg(0, "EQ", 40)]),
        rule("ERRNO", "accept", "semop", errnoRet=2),
        architectures=["SCMP_ARCH_X86"],
    )
    program = compiled(profile).program

    def verdict(number: int, *args: int) -> int:
        return bpf.run(program, bpf.I386, number, args)

    assert verdict(359, 40) == DENIED
    assert verdict(359, 2) == bpf.ALLOW
    assert verdict(102, 1) == DENIED  # what its socket is for cannot be seen
    assert verdict(102, 2) == bpf.ALLOW
    assert verdict(102, 5) == verdict(117, 1) == bpf.ERRNO | 2
    assert verdict(117, 2) == bpf.ALLOW
    profile["syscalls"].append(rule("TRAP", "socket"))
    assert bpf.run(compiled(profile).program, bpf.I386, 359, (40,)) == bpf.TRAP
    assert bpf.run(compiled(profile).program, bpf.I386, 102, (1,)) == bpf.TRAP
    profile["syscalls"].append(rule("LOG", "socketcall"))
    assert bpf.run(compiled(profile).program, bpf.I386, 102, (1,)) == bpf.LOG


def test_arms_private_calls_are_not_its_newest() -> None:
    profile = section(
        "ERRNO",
        rule("ALLOW", "read", "close_range", "set_tls"),
        architectures=["SCMP_ARCH_ARM"],
    )
    program = compiled(profile, "aarch64").program
    assert bpf.run(program, bpf.ARM, NEWER) == bpf.ENOSYS
    assert bpf.run(program, bpf.ARM, 0x0F0005) == bpf.ALLOW
    assert bpf.run(program, bpf.ARM, 0x0F0001) == DENIED
    assert bpf.run(program, bpf.AARCH64, NEWER) == bpf.ENOSYS


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
@pytest.mark.parametrize("name", ["docker-like", "podman-like"])
def test_whole_profiles(name: str, machine: str) -> None:
    profile = load(name)
    if machine == "aarch64":
        profile["architectures"] = ["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"]
    program = compiled(profile, machine).program
    arch, numbers = {
        "x86_64": (
            bpf.X86_64,
            {"read": 0, "personality": 135, "bpf": 321, "clone": 56, "socket": 41},
        ),
        "aarch64": (
            bpf.AARCH64,
            {"read": 63, "personality": 92, "bpf": 280, "clone": 220, "socket": 198},
        ),
    }[machine]

    def verdict(call: str, *args: int) -> int:
        return bpf.run(program, arch, numbers[call], args)

    default = bpf.ERRNO | profile["defaultErrnoRet"]
    assert verdict("read") == bpf.ALLOW
    assert verdict("bpf") == DENIED
    assert verdict("personality", 8) == bpf.ALLOW
    assert verdict("personality", 0x40000) == default
    assert verdict("clone", 0x11) == bpf.ALLOW
    assert bpf.run(program, arch, 9_999) == bpf.ENOSYS
    if name == "podman-like":
        assert verdict("socket", 16, 3, 9) == bpf.ERRNO | 22
        assert verdict("socket", 16, 3, 0) == bpf.ALLOW
        assert verdict("socket", 2, 3, 9) == bpf.ALLOW
    else:
        assert verdict("socket", 40) == DENIED  # AF_VSOCK
        assert verdict("clone", 0x10000000) == DENIED  # CLONE_NEWUSER
        assert bpf.run(program, arch, 435) == bpf.ENOSYS  # clone3


def test_five_hundred_rules() -> None:
    """Every call by its own rule, most with arguments: still a filter that the kernel takes."""
    names = sorted({name for entry in load("docker-like")["syscalls"] for name in entry["names"]})
    rules: list[dict[str, Any]] = [
        rule("ALLOW", name, args=[arg(0, "NE", 3), arg(1, "LE", 9)]) for name in names
    ]
    rules += [rule("ALLOW", "personality", args=[arg(0, "EQ", v)]) for v in range(500 - len(rules))]
    program = compiled(section("ERRNO", *rules)).program
    assert len(rules) >= 500
    assert bpf.run(program, bpf.X86_64, 0, (4, 9)) == bpf.ALLOW
    assert bpf.run(program, bpf.X86_64, 0, (3, 9)) == DENIED
    assert bpf.run(program, bpf.X86_64, 0, (4, 10)) == DENIED
