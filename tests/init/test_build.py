"""The binary, and what tools say about its source."""

import os
import platform
import re
import runpy
import shutil
import struct
import subprocess
from pathlib import Path
from typing import Any

import pytest
from init import driver
from init.test_malformed import MALFORMED_BATCHES, WHOLE

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src/kaa/init"
BUILD: "dict[str, Any]" = runpy.run_path(str(SOURCE / "build.py"))
LIMIT = 32 << 10


def tool(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not installed")
    return path


def segments(binary: Path) -> "list[tuple[int, int]]":
    """Type and flags of each program header of a 64-bit ELF file."""
    raw = binary.read_bytes()
    assert raw[:6] == b"\x7fELF\x02\x01"
    (offset,) = struct.unpack_from("<Q", raw, 32)
    size, count = struct.unpack_from("<HH", raw, 54)
    return [struct.unpack_from("<II", raw, offset + i * size) for i in range(count)]


def check_binary(binary: Path) -> None:
    assert binary.stat().st_size < LIMIT
    found = segments(binary)
    assert {kind for kind, _ in found} <= {1, 4, 7, 0x6474E551}  # LOAD, NOTE, TLS, GNU_STACK
    for kind, flags in found:
        assert flags & 3 != 3, "a segment is writable and executable"
        if kind == 0x6474E551:
            assert not flags & 1, "the stack is executable"
    assert 0x6474E551 in {kind for kind, _ in found}


def test_it_is_small_static_and_has_no_writable_code() -> None:
    check_binary(driver.BINARY)


@pytest.mark.parametrize(
    "cc",
    ["aarch64-linux-gnu-gcc", "x86_64-linux-gnu-gcc", "clang", "clang --target=aarch64-linux-gnu"],
)
def test_other_compilers_and_the_other_architecture(tmp_path: Path, cc: str) -> None:
    if "target" in cc:
        tool("aarch64-linux-gnu-ld")
        cc += " -fuse-ld=bfd -idirafter /usr/aarch64-linux-gnu/include"
    tool(cc.split()[0])
    check_binary(BUILD["build"](cc, tmp_path))
    assert os.listdir(tmp_path) == ["kaa-init"]


def test_the_other_architecture_runs(tmp_path: Path) -> None:
    """Under qemu's user mode: the entry, the calls, the replies. Its kernel is this one's, as
    far as qemu passes things through."""
    if platform.machine() != "x86_64":
        pytest.skip("this is the other architecture")
    qemu = tool("qemu-aarch64-static")
    binary = BUILD["build"](tool("aarch64-linux-gnu-gcc"), tmp_path)
    wrapper = tmp_path / "run"
    wrapper.write_text(f"#!/bin/sh\nexec {qemu} {binary} 3\n")
    wrapper.chmod(0o755)
    with driver.started(wrapper) as init:
        program = init.program()
        pid = program.getpid(keep=True)
        program.emit_value(pid)
        program.openat(-100, "/nonexistent", 0, 0, ok=(2,))
        room = program.buffer(16)
        program.decimal(room, 16, 42)
        program.emit(room, 16)
        program.send_fd(0)
        reply = init.ok(program)
        assert reply.data == struct.pack("=q", init.pid) + b"42".ljust(16, b"\0")
        assert len(reply.fds) == 1
        os.close(reply.fds[0])
        init.send(MALFORMED_BATCHES["unknown kind"])
        assert init.status() == driver.MALFORMED


def test_the_same_source_gives_the_same_binary(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        shutil.copytree(SOURCE, tmp_path / name / "init")
        (tmp_path / name / "program").mkdir()
        shutil.copy(ROOT / "src/kaa/program/calls.py", tmp_path / name / "program")
        subprocess.run(
            ["python3", "-I", tmp_path / name / "init/build.py"], check=True, capture_output=True
        )
    a, b = (tmp_path / name / "init/kaa-init" for name in "ab")
    assert a.read_bytes() == b.read_bytes()


def test_a_compiler_that_is_missing_or_fails(tmp_path: Path) -> None:
    error = BUILD["BuildError"]
    with pytest.raises(error, match="cannot run the C compiler nonexistent-cc"):
        BUILD["build"]("nonexistent-cc", tmp_path)
    with pytest.raises(error, match="could not compile"):
        BUILD["build"]("false", tmp_path)
    assert os.listdir(tmp_path) == []


def test_every_call_has_a_number_of_its_own() -> None:
    header = BUILD["calls_header"]()
    names = re.findall(r"^    __NR_(\w+),$", header, re.M)
    calls = runpy.run_path(str(ROOT / "src/kaa/program/calls.py"))
    assert names == list(calls["CALLS"])
    specials = re.findall(r"^    SPECIAL_(\w+),$", header, re.M)
    assert specials == list(calls["SPECIALS"])


def test_the_numbers_of_newer_calls_are_the_kernel_headers_own(tmp_path: Path) -> None:
    checks = "".join(
        f'\n#ifdef __NR_{name}\n_Static_assert(__NR_{name} == {number}, "{name}");\n#endif'
        for name, number in BUILD["NUMBERS"].items()
    )
    source = tmp_path / "numbers.c"
    source.write_text(f"#include <asm/unistd.h>{checks}\n")
    subprocess.run([tool("cc"), "-fsyntax-only", source], check=True)


def test_cppcheck(tmp_path: Path) -> None:
    (tmp_path / "calls.h").write_text(BUILD["calls_header"]())
    command = [
        tool("cppcheck"), "--quiet", "--std=c11", "--error-exitcode=1", "--inline-suppr",
        "--enable=warning,style,performance,portability", "--suppress=unusedStructMember",
        "--suppress=missingIncludeSystem", f"-D__{platform.machine()}__", f"-I{tmp_path}",
        *(str(SOURCE / name) for name in BUILD["SOURCES"]),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_libfuzzer_with_sanitizers(tmp_path: Path) -> None:
    clang = tool("clang")
    fuzzer = tmp_path / "fuzz"
    (tmp_path / "calls.h").write_text(BUILD["calls_header"]())
    done = subprocess.run(
        [
            clang, "-g", "-O1", "-fsanitize=fuzzer,address,undefined",
            "-fno-sanitize-recover=all", f"-I{tmp_path}", f"-I{SOURCE}",
            Path(__file__).parent / "fuzz/fuzz_batch.c", SOURCE / "batch.c", "-o", fuzzer,
        ],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode and "libclang_rt" in done.stderr:
        pytest.skip("clang has no libFuzzer here")
    assert done.returncode == 0, done.stderr
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    (corpus / "whole").write_bytes(WHOLE)
    for i, raw in enumerate(MALFORMED_BATCHES.values()):
        (corpus / str(i)).write_bytes(raw[:4096])
    done = subprocess.run(
        [fuzzer, "-max_total_time=8", "-max_len=2048", f"-artifact_prefix={tmp_path}/", corpus],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    assert re.search(r"DONE +cov: \d+", done.stderr) or "Done " in done.stderr
