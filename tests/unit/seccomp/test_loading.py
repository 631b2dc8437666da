"""The op that loads a filter, and the library that makes it."""

import struct
import subprocess
import sys

import pytest
from unit.seccomp.profiles import compiled, rule, section

from kaa.compile import libseccomp, seccomp
from kaa.errors import ConfigError
from kaa.program.op import NO_SLOT
from kaa.program.program import Program, Ref, Slot
from kaa.program.wire import encode


def test_append() -> None:
    program = Program()
    made = compiled(section("ERRNO", rule("ALLOW", "read")))
    assert seccomp.append(program, made) is None
    (op,) = program.ops
    assert (op.call, op.pointer, op.store) == ("seccomp", "/linux/seccomp", NO_SLOT)
    operation, flags, fprog = op.args
    assert (operation, flags) == (1, 4)
    assert type(fprog) is Ref
    ((where, target),) = program.relocations
    assert where == fprog.offset + 8
    (count,) = struct.unpack_from("=H", program.data, fprog.offset)
    assert count == len(made.program) // 8
    assert program.data[target : target + len(made.program)] == made.program
    assert len(encode(program)) > len(made.program)


def test_append_of_a_filter_that_notifies() -> None:
    program = Program()
    made = compiled(section("ALLOW", rule("NOTIFY", "mkdir"), listenerPath="/l"))
    listener = seccomp.append(program, made, "/process")
    assert type(listener) is Slot
    assert program.ops[0].store == listener.number
    assert program.ops[0].args[1] == 4 | 8
    assert program.ops[0].pointer == "/process"


def test_a_missing_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libseccomp, "_loaded", None)
    monkeypatch.setattr(libseccomp, "SONAME", "libseccomp.so.999")
    with pytest.raises(ConfigError) as error:
        compiled(section("ALLOW"))
    assert error.value.pointer == "/linux/seccomp"
    assert "apt install libseccomp2" in str(error.value)


def test_a_library_that_is_something_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libseccomp, "_loaded", None)
    monkeypatch.setattr(libseccomp, "SONAME", "libc.so.6")
    with pytest.raises(ConfigError, match="too old"):
        compiled(section("ALLOW"))


def test_a_library_that_is_too_old(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libseccomp, "_loaded", None)
    monkeypatch.setattr(libseccomp, "OLDEST", (99, 1, 0))
    with pytest.raises(ConfigError, match=r"99\.1\.0 is needed"):
        compiled(section("ALLOW"))


def test_a_python_without_ctypes() -> None:
    script = f"""
import sys
sys.path[:0] = {sys.path!r}
sys.modules["ctypes"] = None
from kaa.compile import seccomp
from kaa.errors import ConfigError
try:
    seccomp.filter_for({section("ALLOW")!r}, cache_dir="", uid=0, machine="x86_64")
except ConfigError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("/linux/seccomp: ")
    assert "ctypes" in done.stdout


def test_a_wrong_profile_is_found_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libseccomp, "_loaded", None)
    monkeypatch.setattr(libseccomp, "SONAME", "libseccomp.so.999")
    with pytest.raises(ConfigError) as error:
        compiled({"defaultAction": "?"})
    assert error.value.pointer == "/linux/seccomp/defaultAction"


def test_the_version() -> None:
    assert libseccomp.load().version >= libseccomp.OLDEST
    assert libseccomp.load() is libseccomp.load()
    assert sys.modules["ctypes"]
