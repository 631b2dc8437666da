"""The builder and its encoding: pure, no root needed."""

import struct

import pytest

from kaa.program.calls import CALLS, SPECIAL, SPECIALS
from kaa.program.describe import explain, path_of
from kaa.program.op import NO_SLOT
from kaa.program.program import ANY, SLOTS, Program, Ref
from kaa.program.wire import MAGIC, encode

HEADER = struct.Struct("=6IQ")
OP = struct.Struct("=4HB7B6Q")


def ops_of(batch: bytes) -> list[tuple[int, ...]]:
    count = HEADER.unpack_from(batch)[2]
    return [OP.unpack_from(batch, HEADER.size + i * OP.size) for i in range(count)]


def test_header_says_what_follows() -> None:
    p = Program()
    p.sethostname("box", 3)
    p.vector(["a", "b"])
    batch = encode(p)
    magic, size, ops, relocations, data, flags, reserved = HEADER.unpack_from(batch)
    assert (magic, size, flags, reserved) == (MAGIC, len(batch), 0, 0)
    assert (ops, relocations) == (1, 2)
    assert size == HEADER.size + ops * OP.size + 8 * relocations + data
    assert data % 8 == 0


def test_arguments_are_immediates_data_and_slots() -> None:
    p = Program()
    fd = p.openat(-100, "/etc", 0, 0)
    p.close(fd)
    first, second = ops_of(encode(p))
    assert first[0] == list(CALLS).index("openat")
    assert first[1] == fd.number
    assert first[3] == 0b0100  # the second argument is data
    assert first[12] == 2**64 - 100
    assert second[1] == NO_SLOT
    assert second[3] == 0b10  # the first is a slot


def test_specials_are_numbered_from_their_own_base() -> None:
    p = Program()
    p.mark(4)
    assert ops_of(encode(p))[0][0] == SPECIAL + list(SPECIALS).index("mark")


def test_equal_strings_are_placed_once() -> None:
    p = Program()
    p.chdir("/a")
    size = len(p.data)
    p.chdir("/a")
    assert len(p.data) == size


def test_policies() -> None:
    p = Program()
    p.chdir("/a", ok=(2, 13))
    p.chdir("/a", ok=ANY)
    label = p.label()
    p.chdir("/a", goto=(label, 2))
    p.chdir("/b")
    p.chdir("/c")
    p.place(label)
    ops = ops_of(encode(p))
    assert ops[0][4:8] == (1, 2, 13, 0)
    assert ops[1][4:8] == (1, 0, 0, 0)
    assert ops[2][2] == 2 and ops[2][4:6] == (2, 2)


def test_more_errnos_than_an_op_holds_are_refused() -> None:
    p = Program()
    with pytest.raises(ValueError, match="errnos"):
        p.chdir("/a", ok=(1, 2, 3, 4, 5, 6, 7, 8))


def test_slots_are_reused_and_limited() -> None:
    p = Program()
    fd = p.openat(-100, "/", 0, 0)
    p.close(fd)
    assert p.openat(-100, "/", 0, 0).number == fd.number
    for _ in range(SLOTS - 1):
        p.openat(-100, "/", 0, 0)
    with pytest.raises(OverflowError):
        p.openat(-100, "/", 0, 0)


def test_unknown_calls_and_arguments_are_refused() -> None:
    p = Program()
    with pytest.raises(AttributeError):
        p.no_such_call(1)
    with pytest.raises(TypeError):
        p.chdir(1.5)
    with pytest.raises(TypeError, match="takes"):
        p.chdir("/a", "/b")


def test_a_vector_points_at_its_strings() -> None:
    p = Program()
    ref = p.vector(["x", "yy"])
    (w1, t1), (w2, t2) = p.relocations
    assert (w1, w2) == (ref.offset, ref.offset + 8)
    assert p.data[t1 : t1 + 2] == b"x\0"
    assert p.data[t2 : t2 + 3] == b"yy\0"
    assert p.data[ref.offset + 16 : ref.offset + 24] == bytes(8)


def test_explain_names_the_reason_the_call_and_its_arguments() -> None:
    p = Program()
    p.at("/hostname", "set the hostname to box")
    p.sethostname("box", 3)
    p.at("/mounts/0", "mount /x")
    p.openat(-100, "/x", 0, 0, ok=(2,))
    text = explain(p)
    assert "# set the hostname to box  [/hostname]" in text
    assert 'sethostname(name="box", length=3)' in text
    assert "s0 = openat(dirfd=AT_FDCWD" in text
    assert "ENOENT: go on" in text


def test_the_path_of_a_failed_call_is_found() -> None:
    p = Program()
    p.openat(-100, "/x/y", 0, 0)
    p.write(3, Ref(0), 1)
    assert path_of(p.ops[0], p) == "/x/y"
    assert path_of(p.ops[1], p) is None
