"""Batches that make no sense: exit 70, whatever they are, and nothing else happens."""

import errno
import os
import random
import struct
import time
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from init import driver
from init.driver import MALFORMED, Gone, Init, started

from kaa.program import wire
from kaa.program.calls import CALLS, SPECIAL, SPECIALS
from kaa.program.program import Program

NUMBERS = {name: i for i, name in enumerate(CALLS)} | {
    name: SPECIAL + i for i, name in enumerate(SPECIALS)
}
HEADER = struct.Struct("=6IQ")
OP = struct.Struct("=4HB7B6Q")
BATCH_MAX = 64 << 20


def header(
    size: int, ops: int = 0, relocations: int = 0, data: int = 0, flags: int = 0, reserved: int = 0
) -> bytes:
    return HEADER.pack(wire.MAGIC, size, ops, relocations, data, flags, reserved)


def op(
    call: int = NUMBERS["getpid"],
    store: int = 0xFFFF,
    skip: int = 0,
    kinds: int = 0,
    policy: int = 0,
    args: "tuple[int, ...]" = (),
) -> bytes:
    return OP.pack(call, store, skip, kinds, policy, *bytes(7), *(*args, 0, 0, 0, 0, 0, 0)[:6])


def batch(ops: "list[bytes]", relocations: bytes = b"", data: bytes = b"") -> bytes:
    """A batch whose sizes add up."""
    size = HEADER.size + 64 * len(ops) + len(relocations) + len(data)
    return header(size, len(ops), len(relocations) // 8, len(data)) + b"".join(
        [*ops, relocations, data]
    )


GOOD = op()
RELOCATION = struct.Struct("=2I").pack

MALFORMED_BATCHES: dict[str, bytes] = {
    "wrong magic": HEADER.pack(wire.MAGIC + 1, 32, 0, 0, 0, 0, 0),
    "zeros": bytes(32),
    "size too small": header(31),
    "size zero": header(0),
    "size more than the parts": header(40),
    "size less than the parts": header(32, 0, 0, 8) + bytes(8),
    "ops that wrap around 32 bits": header(32, 1 << 26),
    "relocations that wrap around 32 bits": header(32, 0, 1 << 29),
    "parts that wrap together": header(32, (1 << 25) + (1 << 24), 1 << 27),
    "data not a multiple of 8": header(36, 0, 0, 4) + bytes(4),
    "flags": header(32, flags=1),
    "reserved": header(32, reserved=1),
    "over 64 MiB": header(BATCH_MAX + 8, 0, 0, BATCH_MAX - 24),
    "4 GiB": header(0xFFFFFFF8, 0, 0, 0xFFFFFFD8),
    "unknown call": batch([op(len(CALLS))]),
    "unknown call, high": batch([op(0x7FFF)]),
    "unknown special op": batch([op(SPECIAL + len(SPECIALS))]),
    "unknown special op, high": batch([op(0xFFFF)]),
    "unknown policy": batch([op(policy=3)]),
    "slot to store in": batch([op(store=256)]),
    "slot to store in, high": batch([op(store=0xFFFE)]),
    "slot of an argument": batch([op(kinds=2, args=(256,))]),
    "slot of the last argument": batch([op(kinds=2 << 10, args=(0, 0, 0, 0, 0, 1 << 40))]),
    "unknown kind": batch([op(kinds=3)]),
    "kinds of a seventh argument": batch([op(kinds=1 << 12)]),
    "data past the end": batch([op(kinds=1, args=(9,))], data=bytes(8)),
    "data far past the end": batch([op(kinds=1, args=((1 << 64) - 8,))], data=bytes(8)),
    "data of no data": batch([op(kinds=1, args=(1,))]),
    "skip past the end": batch([op(skip=1)]),
    "skip past the end by one": batch([op(skip=2), GOOD]),
    "skip of the most": batch([op(skip=0xFFFF), GOOD, GOOD]),
    "relocation past the end": batch([], RELOCATION(8, 0), bytes(8)),
    "relocation unaligned": batch([], RELOCATION(4, 0), bytes(16)),
    "relocation to past the end": batch([], RELOCATION(0, 9), bytes(8)),
    "relocation far away": batch([], RELOCATION(0xFFFFFFF8, 0), bytes(8)),
    "relocation without data": batch([], RELOCATION(0, 0)),
    "fork before the end": batch([op(NUMBERS["fork"]), GOOD]),
    "a good op before a bad one": batch([op(NUMBERS["emit_value"]), op(0x7FFF)]),
}


def ended(init: Init) -> int:
    with pytest.raises(Gone):
        init.reply()
    return init.status()


@pytest.mark.parametrize("name", MALFORMED_BATCHES)
def test_it_exits_and_says_nothing(init: Init, name: str) -> None:
    init.send(MALFORMED_BATCHES[name])
    assert ended(init) == MALFORMED


def test_nothing_runs_before_all_is_checked(init: Init, tmp_path: "os.PathLike[str]") -> None:
    path = f"{os.fspath(tmp_path)}/made".encode() + b"\0"
    path += bytes(-len(path) % 8)
    mkdir = op(NUMBERS["mkdirat"], kinds=1 << 2, args=(0, 0, 0o755))
    init.send(batch([mkdir, op(0x7FFF)], data=path))
    assert ended(init) == MALFORMED
    assert not os.path.exists(f"{os.fspath(tmp_path)}/made")
    with started() as second:
        second.send(batch([mkdir], data=path))
        assert second.reply().err == 0
    assert os.path.isdir(f"{os.fspath(tmp_path)}/made")


@pytest.mark.parametrize("length", [1, 31, 33, 40, 100])
def test_a_truncated_batch(init: Init, length: int) -> None:
    whole = batch([GOOD, GOOD], data=bytes(64))
    init.send(whole[:length])
    init.socket.shutdown(1)
    assert ended(init) == MALFORMED


def test_the_edges_are_not_malformed(init: Init) -> None:
    for good in (
        batch([op(kinds=1, args=(8,))], data=bytes(8)),  # an empty buffer at the end
        batch([op(skip=1), GOOD]),
        batch([op(store=255, kinds=2, args=(255,))]),
        batch([], RELOCATION(0, 8), bytes(8)),
        batch([], RELOCATION(8, 0) * 3, bytes(16)),
        header(32),
    ):
        init.send(good)
        assert init.reply().err == 0


def test_a_batch_of_64_mib(init: Init) -> None:
    data = bytearray(BATCH_MAX - HEADER.size - 64)
    data[-8:] = b"the last"
    init.socket.settimeout(60)
    init.send(batch([op(NUMBERS["emit"], kinds=1, args=(len(data) - 8, 8))], data=bytes(data)))
    assert init.reply().data == b"the last"


def test_a_batch_that_comes_byte_by_byte(init: Init) -> None:
    program = init.program()
    program.emit(program.bytes(b"slowly.."), 8)
    for byte in wire.encode(program):
        init.send(bytes([byte]))
        time.sleep(0)
    assert init.reply().data == b"slowly.."


def test_two_batches_in_one_piece(init: Init) -> None:
    pieces = []
    for n in (1, 2):
        program = init.program()
        program.emit_value(n)
        pieces.append(wire.encode(program))
    init.send(b"".join(pieces))
    assert [init.reply().data[0] for _ in pieces] == [1, 2]


# -- mutations against the real binary -----------------------------------------

HARMLESS = [
    "getpid", "getuid", "emit", "poke", "check", "jump", "emit_value", "decimal", "mark",
    "find_executable", "home", "peek",
]  # fmt: skip
_CALL_NUMBERS = [NUMBERS[name] for name in HARMLESS] + [len(CALLS), SPECIAL + len(SPECIALS), 0xFFFF]


def a_batch() -> bytes:
    program = Program()
    room = program.buffer(64)
    program.pointer(room, program.string("/bin/sh"))
    program.emit(room + 8, 16)
    program.poke(room + 16, 8, program.getpid(keep=True))
    label = program.label()
    program.check(room, 8, 0, 1, errno.EIO, goto=(label, errno.EIO))
    program.find_executable(room, ok=(errno.ENOENT,))
    program.place(label)
    program.decimal(room + 24, 24, 12345)
    return wire.encode(program)


WHOLE = a_batch()
_OPS = HEADER.unpack_from(WHOLE)[2]


def _keep_calls_harmless(mutant: bytearray) -> None:
    """A random call might end or change the machine: only harmless ones, or none at all."""
    count = HEADER.unpack_from(mutant)[2]
    for i in range(min(count, (len(mutant) - 32) // 64)):
        at = 32 + 64 * i
        call = struct.unpack_from("=H", mutant, at)[0]
        if call not in _CALL_NUMBERS:
            struct.pack_into("=H", mutant, at, _CALL_NUMBERS[call % len(_CALL_NUMBERS)])


def _survives_or_exits(init: Init, mutant: bytes) -> bool:
    """Send it. True: kaa-init answered and goes on; else it must have ended with 70."""
    (size,) = struct.unpack_from("=I", mutant, 4)
    whole: bool = size == len(mutant)
    init.send(mutant)
    if not whole:
        init.socket.shutdown(1)
    try:
        init.reply()
    except Gone:
        assert init.status() in (MALFORMED, 0)
        return False
    return whole


def _change_byte(rng: random.Random, mutant: bytearray) -> None:
    mutant[rng.randrange(len(mutant))] = rng.randrange(256)


def _change_header(rng: random.Random, mutant: bytearray) -> None:
    number = rng.choice([0, 1, 8, 1 << 26, 1 << 31])
    struct.pack_into("=I", mutant, rng.randrange(8) * 4, number)


def _change_argument(rng: random.Random, mutant: bytearray) -> None:
    at = 32 + 64 * rng.randrange(_OPS) + 16 + 8 * rng.randrange(6)
    number = rng.choice([0, 8, 255, 256, 4096, 0x400000, 1 << 47, (1 << 64) - 8])
    struct.pack_into("=Q", mutant, at, number)


def _change_op(rng: random.Random, mutant: bytearray) -> None:
    at = 32 + 64 * rng.randrange(_OPS) + 2 * rng.randrange(4)
    struct.pack_into("=H", mutant, at, rng.randrange(1 << 16))


def _change_relocation(rng: random.Random, mutant: bytearray) -> None:
    at = 32 + 64 * _OPS + 4 * rng.randrange(2)
    struct.pack_into("=I", mutant, at, rng.randrange(1 << 32))


MUTATIONS: "list[Callable[[random.Random, bytearray], None]]" = [
    _change_byte,
    _change_header,
    _change_argument,
    _change_op,
    _change_relocation,
]


def test_random_mutations() -> None:
    seed = int(os.environ.get("KAA_FUZZ_SEED", time.time_ns() & 0xFFFFFFFF))
    print(f"KAA_FUZZ_SEED={seed}")
    rng = random.Random(seed)
    end = time.monotonic() + 10
    init = Init()
    try:
        while time.monotonic() < end:
            mutant = bytearray(WHOLE)
            for _ in range(rng.choice([1, 1, 2, 3, 8])):
                rng.choice(MUTATIONS)(rng, mutant)
            _keep_calls_harmless(mutant)
            if not _survives_or_exits(init, bytes(mutant)):
                init.close()
                init = Init()
    finally:
        init.close()


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.binary(max_size=200), st.booleans())
def test_arbitrary_bytes(raw: bytes, with_magic: bool) -> None:
    mutant = bytearray(raw)
    if with_magic and len(mutant) >= 32:
        struct.pack_into("=2I", mutant, 0, wire.MAGIC, len(mutant))
        _keep_calls_harmless(mutant)
    with started() as init:
        init.send(bytes(mutant))
        init.socket.shutdown(1)
        try:
            init.reply()
        except Gone:
            pass
        assert init.status() in (0, MALFORMED)
        assert driver.is_alive(init.pid) is False
