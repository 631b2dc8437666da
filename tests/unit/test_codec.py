"""kaa.codec against the `json` package."""

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaa import codec
from kaa.errors import ConfigError

SOURCE = Path(codec.__file__).parent.parent

# Everything that json can write and read back unchanged.
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20
)


def bare(code: str, *arguments: str) -> str:
    """Run `code` as hot commands are run: without site, with nothing imported."""
    code = f"import sys; sys.path.append(sys.argv[1])\n{code}"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code, str(SOURCE), *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@given(VALUES)
def test_compact_is_json_dumps(value: Any) -> None:
    expected = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    assert codec.dumps(value) == expected.encode()


@given(VALUES, st.sampled_from(["  ", "    ", "\t", ""]))
def test_pretty_is_json_dumps(value: Any, indent: str) -> None:
    assert codec.pretty(value, indent) == json.dumps(value, indent=indent, ensure_ascii=False)


@given(VALUES)
def test_what_is_written_is_read(value: Any) -> None:
    assert codec.loads(codec.dumps(value)) == value
    assert codec.loads(codec.pretty(value).encode()) == value


@given(st.text())
def test_any_text_is_read_as_json_reads_it(text: str) -> None:
    try:
        expected = json.loads(text)
    except ValueError:
        with pytest.raises(ConfigError):
            codec.loads(text.encode())
    else:
        if expected == expected and expected not in (float("inf"), float("-inf")):
            assert codec.loads(text.encode()) == expected


@given(st.binary())
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    with contextlib.suppress(ConfigError):
        codec.loads(data)


@pytest.mark.parametrize("blank", ["", " ", "\n\t\r ", "\ufeff", "\ufeff \n"])
def test_blanks_around_a_document_and_a_byte_order_mark(blank: str) -> None:
    assert codec.loads(f'{blank}{{"a": [1]}} \r\n\t'.encode()) == {"a": [1]}


WRONG = {
    "": "line 1 column 1: expecting value",
    "  \n ": "line 2 column 2: expecting value",
    "\ufeff": "line 1 column 1: expecting value",
    "{": "line 1 column 2",
    '{"a": 1,\n "b" 2}': "line 2 column 6: expecting ':' delimiter",
    '{"a": 1} x': "line 1 column 10: extra data",
    "[1] [2]": "line 1 column 5: extra data",
    '{\n"a": NaN}': "line 2 column 6: NaN is not a number",
    "[-Infinity]": "line 1 column 2: -Infinity is not a number",
    "[NaNx]": "line 1 column 2: NaN is not a number",
    '["NaN \\" 1e999", 0.1e309,\n 1e309]': "line 2 column 2: 1e309 is not a number",
    "-1e999": "line 1 column 1: -1e999 is not a number",
    "[1, " + "9" * 5000 + "]": "line 1 column 5: 99999999999999999999... is not a number",
    '"a\nb"': "line 1 column 3: invalid control character",
    '"\\x"': "line 1 column 2: invalid \\escape",
    "nul": "line 1 column 1: expecting value",
    "'a'": "line 1 column 1: expecting value",
    "[" * 200_000: "nested too deeply",
    '{"a":' * 200_000: "nested too deeply",
}


@pytest.mark.parametrize("text", WRONG, ids=range(len(WRONG)))
def test_errors_say_where_and_what(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        codec.loads(text.encode(), "the file")
    assert str(caught.value).startswith("the file: ")
    assert WRONG[text] in str(caught.value)
    assert caught.value.path == "the file"


def test_what_is_read_can_be_written_however_deep_it_is() -> None:
    deepest = codec.MAX_DEPTH
    for opening, closing in (("[", "]"), ('{"a":', "}")):
        value = codec.loads(f"{opening * deepest}1{closing * deepest}".encode())
        assert codec.loads(codec.dumps(value)) == codec.loads(codec.pretty(value).encode()) == value
        with pytest.raises(ConfigError, match="in more than 200 levels"):
            codec.loads(f"{opening * (deepest + 1)}1{closing * (deepest + 1)}".encode())
    assert len(codec.loads(b"[" + b"[]," * 1000 + b"[]]")) == 1001


def test_bytes_that_are_not_utf_8() -> None:
    with pytest.raises(ConfigError, match="line 2 column 3: this is not UTF-8"):
        codec.loads(b'{\n"\xc3\xa4\xff": 1}'.replace(b"\xc3\xa4", b"a"))


def test_errors_are_the_same_where_json_was_never_imported() -> None:
    """On 3.11 the C scanner alone gives SystemError and StopIteration for wrong documents."""
    code = """
from kaa import codec
from kaa.errors import ConfigError
assert codec.loads(b' {"a": [1.5, "x", null, true]}\\n') == {"a": [1.5, "x", None, True]}
assert "json" not in sys.modules
for text in sys.argv[2:]:
    try:
        codec.loads(text.encode("utf-8", "surrogateescape"), "the file")
    except ConfigError as error:
        print(error)
    del sys.modules["json"], sys.modules["json.decoder"], sys.modules["json.scanner"]
"""
    short = [text for text in WRONG if len(text) < 100]
    printed = bare(code, *short).splitlines()
    assert len(printed) == len(short)
    for text, line in zip(short, printed, strict=True):
        assert WRONG[text] in line


def test_the_common_path_imports_nothing() -> None:
    code = """
before = set(sys.modules)
from kaa import codec
codec.dumps(codec.loads(b'{"a": ["b", 1, 2.5, {}]}'))
codec.pretty({"a": ["b", {}]})
print(*sorted(set(sys.modules) - before))
"""
    assert set(bare(code).split()) <= {"_json", "errno", "posix", "kaa", "kaa.codec", "kaa.errors"}


def test_it_works_without_the_c_core() -> None:
    code = """
sys.modules["_json"] = None
from kaa import codec
from kaa.errors import ConfigError
value = {"a": ["b\\u00e4\\n", 1, 2.5, None, True, {}, []]}
data = codec.dumps(value)
assert data == '{"a":["b\\u00e4\\\\n",1,2.5,null,true,{},[]]}'.encode(), data
assert codec.loads(data) == value == codec.loads(codec.pretty(value).encode())
for wrong in (b"[1,", b"[1] 2", b"NaN"):
    try:
        codec.loads(wrong)
    except ConfigError as error:
        assert "line 1" in str(error)
    else:
        raise AssertionError(wrong)
try:
    codec.dumps([float("nan")])
except ValueError:
    print("done")
"""
    assert bare(code) == "done\n"


def test_undecodable_bytes_survive_a_round_trip() -> None:
    value = {"path": os.fsdecode(b"/a\xff\xc3\xa4")}
    data = codec.dumps(value)
    assert data.isascii()
    assert codec.loads(data) == value


@pytest.mark.parametrize("write", [codec.dumps, codec.pretty])
@pytest.mark.parametrize("value", [b"", {1, 2}, object(), [1, {"a": b""}]])
def test_what_has_no_json_form(write: Any, value: Any) -> None:
    with pytest.raises(TypeError):
        write(value)


@pytest.mark.parametrize("write", [codec.dumps, codec.pretty])
@pytest.mark.parametrize("number", ["nan", "inf", "-inf"])
def test_numbers_without_json_form(write: Any, number: str) -> None:
    with pytest.raises(ValueError, match="JSON"):
        write([float(number)])


@pytest.mark.parametrize("write", [codec.dumps, codec.pretty])
def test_bottomless_values(write: Any) -> None:
    value: list[Any] = []
    value.append(value)
    with pytest.raises(ValueError, match="nested too deeply"):
        write(value)
