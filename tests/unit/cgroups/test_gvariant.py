"""The text format of GVariant, as far as properties of units need it."""

from typing import Any

import pytest

from kaa.cgroups.gvariant import parse, types_of


@pytest.mark.parametrize(
    ("text", "signature", "value"),
    [
        ("true", "b", True),
        ("false", "b", False),
        ("7", "i", 7),
        ("-7", "i", -7),
        ("0x1F", "i", 31),
        ("1.5", "d", 1.5),
        ("1e3", "d", 1000.0),
        ("uint64 90000000", "t", 90_000_000),
        ("byte 0xff", "y", 255),
        ("@u 5", "u", 5),
        ("'inactive-or-failed'", "s", "inactive-or-failed"),
        ('"a \\"b\\" \\n \\u00e4"', "s", 'a "b" \n ä'),
        ("'it''s'"[:4], "s", "it"),
        ("['a.service', 'b.service']", "as", ["a.service", "b.service"]),
        ("@as []", "as", []),
        ("[uint64 1, 2]", "at", [1, 2]),
        ("@ay [1, 0x80]", "ay", b"\x01\x80"),
        ("[('/dev/sda', uint64 5)]", "a(st)", [("/dev/sda", 5)]),
        ("  ( 1 , 'x' )  ", "(is)", (1, "x")),
        ("<'x'>", "v", ("s", "x")),
        ("objectpath '/a'", "o", "/a"),
    ],
)
def test_values(text: str, signature: str, value: Any) -> None:
    assert parse(text) == (signature, value)


@pytest.mark.parametrize(
    ("text", "expected", "value"),
    [
        ("90000000", "t", 90_000_000),
        ("int32 5", "t", 5),
        ("[1, 2]", "ay", b"\x01\x02"),
        ("[]", "as", []),
        ("[('/dev/sda', 5)]", "a(st)", [("/dev/sda", 5)]),
        ("5", "d", 5.0),
    ],
)
def test_the_type_that_is_wanted_counts(text: str, expected: str, value: Any) -> None:
    assert parse(text, expected) == (expected, value)


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "[", "(", "()", "[1", "[1,", "'a", "'a\\", "a", "foo 5", "byte 256", "byte -1",
        "uint64 -1", "2147483648", "1.5.5", "uint32 1.5", "[]", "[1, 'a']", "1 2", "@z 1", "@ 1",
        "@a 1", "@( 1", "{'a': 1}", "<1", "'\\ud800'", "'a\0'", "[" * 5000, "true false", "]",
        "0x", "--1", "@as ['a', 1]", "@(ss) ('a',)", "@(s) ('a', 'b')", "\x00", "1e999999999i",
    ],
)  # fmt: skip
def test_nonsense_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse(text)


def test_a_wrong_type_is_refused() -> None:
    for text, expected in (("'a'", "t"), ("true", "s"), ("1", "b"), ("[1]", "i"), ("(1,2)", "as")):
        with pytest.raises(ValueError, match=r"."):
            parse(text, expected)


def test_signatures() -> None:
    assert types_of("sa(st)aayb") == ["s", "a(st)", "aay", "b"]
    for bad in ("a", "(s", "z", "a(", ")"):
        with pytest.raises(ValueError, match=r"."):
            types_of(bad)
