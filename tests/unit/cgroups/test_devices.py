"""The device list, and the eBPF program for it, against a model of the kernel's v1 code."""

import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kaa.cgroups.device_filter import assemble, load_program
from kaa.cgroups.device_rules import DeviceList, device_list, v1_lines
from kaa.errors import CgroupError
from kaa.program.program import Program
from kaa.program.wire import encode

Json = dict[str, Any]

BITS = {"m": 1, "r": 2, "w": 4}
DENY_ALL: Json = {"allow": False, "access": "rwm"}
ALLOW_ALL: Json = {"allow": True, "access": "rwm"}


class KernelList:
    """What the v1 controller does with lines written to devices.allow and devices.deny."""

    def __init__(self) -> None:
        self.default_allow = True
        self.exceptions: list[list[Any]] = []

    def write(self, file: str, line: str) -> None:
        allow = file == "devices.allow"
        if line.split()[0] == "a":
            self.default_allow = allow
            self.exceptions = []
            return
        kind, numbers, letters = line.split()
        major, minor = [None if n == "*" else int(n) for n in numbers.split(":")]
        bits = sum(BITS[letter] for letter in letters)
        same = [e for e in self.exceptions if e[:3] == [kind, major, minor]]
        if allow == self.default_allow:
            for entry in same:
                entry[3] &= ~bits
            self.exceptions = [e for e in self.exceptions if e[3]]
        elif same:
            same[0][3] |= bits
        else:
            self.exceptions.append([kind, major, minor, bits])

    def permits(self, kind: str, major: int, minor: int, access: int) -> bool:
        fitting = [
            e[3]
            for e in self.exceptions
            if e[0] == kind and e[1] in (None, major) and e[2] in (None, minor)
        ]
        if self.default_allow:
            return not any(access & bits for bits in fitting)
        return any(not access & ~bits for bits in fitting)


def run_bpf(code: bytes, kind: str, major: int, minor: int, access: int) -> int:
    """An interpreter of the instructions that the assembler knows."""
    context = struct.pack("=III", access << 16 | {"b": 1, "c": 2}[kind], major, minor)
    registers = [0] * 11
    at = steps = 0
    while True:
        steps += 1
        assert steps < 100000
        opcode, both, offset, immediate = struct.unpack_from("=BBhi", code, at * 8)
        to, source = both & 15, both >> 4
        at += 1
        if opcode == 0x95:
            return registers[0]
        if opcode == 0x61:
            assert source == 1, "only the context may be read"
            registers[to] = struct.unpack_from("=I", context, offset)[0]
        elif opcode == 0xB7:
            registers[to] = immediate & (1 << 64) - 1
        elif opcode == 0xBF:
            registers[to] = registers[source]
        elif opcode == 0x57:
            registers[to] &= immediate & (1 << 64) - 1
        elif opcode == 0x77:
            registers[to] >>= immediate
        elif opcode in (0x16, 0x56):
            equal = registers[to] & 0xFFFFFFFF == immediate & 0xFFFFFFFF
            assert offset >= 0
            at += offset if equal == (opcode == 0x16) else 0
        else:
            raise AssertionError(f"unknown opcode {opcode:#x}")


def kernel_list(rules: list[Json]) -> KernelList:
    """The rules written one by one, in the order of config.json, then the built-in ones."""
    kernel = KernelList()
    kernel.write("devices.deny", "a")
    for rule in rules:
        file = "devices.allow" if rule["allow"] else "devices.deny"
        numbers = [rule.get("major"), rule.get("minor")]
        letters = rule.get("access", "rwm")
        kind = rule.get("type", "a")
        if kind == "a" and numbers == [None, None] and set(letters) == set("rwm"):
            kernel.write(file, "a")
            continue
        text = ":".join("*" if n in (None, -1) else str(n) for n in numbers)
        for one in "bc" if kind == "a" else kind:
            kernel.write(file, f"{one} {text} {letters}")
    for line in (
        "c *:* m", "b *:* m", "c 1:3 rwm", "c 1:5 rwm", "c 1:7 rwm", "c 1:8 rwm", "c 1:9 rwm",
        "c 5:0 rwm", "c 5:2 rwm", "c 136:* rwm", "c 10:200 rwm",
    ):  # fmt: skip
        kernel.write("devices.allow", line)
    return kernel


NUMBER = st.sampled_from([None, 0, 1, 3, 8, 10, 136, 200, 0xFFFFFFFF])
ACCESS = st.sampled_from(["r", "w", "m", "rw", "rm", "wm", "rwm"])
RULE = st.fixed_dictionaries(
    {"allow": st.booleans(), "access": ACCESS},
    optional={"type": st.sampled_from("abc"), "major": NUMBER, "minor": NUMBER},
)
DEVICES = [
    (kind, major, minor)
    for kind in "bc"
    for major in (0, 1, 5, 8, 10, 136, 0xFFFFFFFF)
    for minor in (0, 2, 3, 200, 0xFFFFFFFF)
]


@settings(max_examples=150, deadline=None)
@given(st.lists(RULE, max_size=8))
def test_all_ways_to_the_same_verdict(rules: list[Json]) -> None:
    """The rules one by one on v1, the state on v1, and the program on v2 agree."""
    try:
        state = device_list({"devices": rules})
    except CgroupError:
        return  # a hole in a wider rule: see below
    stepwise, direct, code = kernel_list(rules), KernelList(), assemble(state)
    for file, line, _ in v1_lines(state):
        direct.write(file, line)
    for kind, major, minor in DEVICES:
        for access in range(8):
            verdict = direct.permits(kind, major, minor, access)
            assert verdict == stepwise.permits(kind, major, minor, access)
            assert verdict == run_bpf(code, kind, major, minor, access)


def test_without_rules_only_the_usual_devices() -> None:
    code = assemble(device_list({}))
    assert run_bpf(code, "c", 1, 3, 6) == 1
    assert run_bpf(code, "c", 10, 200, 7) == 1
    assert run_bpf(code, "b", 8, 0, 1) == 1, "mknod is harmless"
    assert run_bpf(code, "b", 8, 0, 2) == 0
    assert run_bpf(code, "c", 1, 1, 2) == 0, "/dev/mem"


def test_a_privileged_container_has_them_all() -> None:
    state = device_list({"devices": [DENY_ALL, ALLOW_ALL]})
    assert v1_lines(state) == [("devices.allow", "a", "/linux/resources/devices")]
    assert run_bpf(assemble(state), "b", 8, 0, 7) == 1


def test_an_allowed_device() -> None:
    rule = {"allow": True, "type": "b", "major": 8, "minor": 0, "access": "r"}
    state = device_list({"devices": [DENY_ALL, rule]})
    assert ("devices.allow", "b 8:0 r", "/linux/resources/devices/1") in v1_lines(state)
    code = assemble(state)
    assert [run_bpf(code, "b", 8, 0, access) for access in (2, 4, 6, 1)] == [1, 0, 0, 1]


def test_minus_one_is_any() -> None:
    rule = {"allow": True, "type": "c", "major": -1, "minor": -1, "access": "r"}
    assert run_bpf(assemble(device_list({"devices": [rule]})), "c", 200, 7, 2) == 1


def test_a_hole_that_the_list_cannot_have() -> None:
    wide = {"allow": True, "type": "c", "major": 8, "access": "rwm"}
    narrow = {"allow": False, "type": "c", "major": 8, "minor": 3, "access": "w"}
    with pytest.raises(CgroupError, match="only a part") as caught:
        device_list({"devices": [DENY_ALL, wide, narrow]})
    assert caught.value.pointer == "/linux/resources/devices/2"
    assert "/linux/resources/devices/1" in str(caught.value)


@pytest.mark.parametrize(
    ("rule", "where"),
    [
        ({"allow": True, "type": "x"}, "type"),
        ({"allow": True, "type": "c", "access": ""}, "access"),
        ({"allow": True, "type": "c", "access": "rx"}, "access"),
        ({"allow": True, "type": "c", "major": -2}, "major"),
        ({"allow": True, "type": "c", "minor": 1 << 32}, "minor"),
    ],
)
def test_impossible_rules(rule: Json, where: str) -> None:
    with pytest.raises(CgroupError) as caught:
        device_list({"devices": [rule]})
    assert caught.value.pointer == f"/linux/resources/devices/0/{where}"


@pytest.mark.parametrize("replace", [False, True])
def test_the_program_that_loads_it_is_well_formed(replace: bool) -> None:
    program = Program()
    load_program(program, assemble(DeviceList()), "/sys/fs/cgroup/x", replace=replace)
    assert encode(program)
    assert {op.pointer for op in program.ops} == {"/linux/resources/devices"}
    calls = [op.call for op in program.ops]
    assert calls.count("close") == calls.count("openat") + 1 + (16 if replace else 0)
    for _ in range(20):  # slots are given back, or a long-lived init would run out of them
        load_program(program, assemble(DeviceList()), "/sys/fs/cgroup/x", replace=replace)
