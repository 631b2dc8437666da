"""Capability names and structs, against the kernel's own header and capget(2)."""

import ctypes
import re
from pathlib import Path

import pytest

from kaa.compile import capabilities
from kaa.errors import ConfigError


def test_numbers_are_the_kernels() -> None:
    header = Path("/usr/include/linux/capability.h")
    if not header.exists():
        pytest.skip("no /usr/include/linux/capability.h (linux-libc-dev)")
    found = dict(
        re.findall(r"^#define (CAP_[A-Z_]+)\s+(\d+)\s*$", header.read_text(), re.MULTILINE)
    )
    found.pop("CAP_REVISION_SHIFT", None)
    assert len(found) >= 35
    for name, number in found.items():
        assert capabilities.NUMBERS[name] == int(number)


def test_the_table() -> None:
    assert len(capabilities.NAMES) == 41
    assert capabilities.NUMBERS["CAP_SYS_ADMIN"] == 21
    assert capabilities.NUMBERS["CAP_CHECKPOINT_RESTORE"] == capabilities.LAST == 40


def test_parse() -> None:
    mask, unknown = capabilities.parse(["CAP_KILL", "CAP_BPF", "CAP_KILL", "CAP_FUTURE"], "/p")
    assert mask == 1 << 5 | 1 << 39
    assert unknown == ["CAP_FUTURE"]
    assert capabilities.parse([], "/p") == (0, [])


def test_an_older_kernel_does_not_know_the_newest() -> None:
    mask, unknown = capabilities.parse(["CAP_AUDIT_READ", "CAP_PERFMON"], "/p", 37)
    assert mask == 1 << 37
    assert unknown == ["CAP_PERFMON"]


@pytest.mark.parametrize("name", ["", "kill", "KILL", "cap_kill", "CAP_KILL ", "5"])
def test_only_the_exact_name_counts(name: str) -> None:
    assert capabilities.parse([name], "/p") == (0, [name])


def test_errors_have_pointers() -> None:
    with pytest.raises(ConfigError) as error:
        capabilities.parse(["CAP_KILL", 5], "/process/capabilities/bounding")  # type: ignore[list-item]
    assert error.value.pointer == "/process/capabilities/bounding/1"
    with pytest.raises(ConfigError) as error:
        capabilities.parse("CAP_KILL", "/process/capabilities/bounding")  # type: ignore[arg-type]
    assert error.value.pointer == "/process/capabilities/bounding"


def test_names_of() -> None:
    assert capabilities.names_of(1 << 5 | 1 << 39) == ["CAP_KILL", "CAP_BPF"]
    assert capabilities.names_of(1 << 63) == ["63"]
    assert capabilities.names_of(0) == []
    assert capabilities.parse(capabilities.names_of(capabilities.full()), "/p") == (
        capabilities.full(),
        [],
    )
    assert capabilities.full(0) == 1


def test_the_structs_are_those_of_the_kernel() -> None:
    """capget fills the data struct for our header; /proc says what it must hold."""
    header, data = capabilities.capset_args(1 << 40, 1 << 40 | 1, 1 << 31)
    assert data == (b"\0\0\0\0\1\0\0\0\0\0\0\x80\0\1\0\0\0\1\0\0\0\0\0\0")
    buffer = ctypes.create_string_buffer(len(data))
    assert ctypes.CDLL(None, use_errno=True).capget(header, buffer) == 0
    status = dict(
        re.findall(r"^(Cap\w+):\s+(\w+)$", Path("/proc/self/status").read_text(), re.MULTILINE)
    )
    sets = [int(status[name], 16) for name in ("CapEff", "CapPrm", "CapInh")]
    assert buffer.raw == capabilities.capset_args(*sets)[1]
