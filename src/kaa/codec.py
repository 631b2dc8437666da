"""JSON without the `json` package.

Importing `json` costs as much as starting the interpreter; the C core below it
(`_json`) costs nothing. That core alone is careless about what surrounds a
document and, on some versions, about how it reports an error. So `loads`
believes it only when it is sure, and hands everything doubtful to `json`,
which then explains what is wrong. Where there is no `_json`, `json` does it all.
"""

from kaa.errors import ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn

MAX_DEPTH = 200  # far more than any configuration has, and far less than Python's stack

_BLANK = " \t\n\r"
_INFINITY = float("inf")


class _Number(ValueError):
    """A literal that is no JSON number, or none that can be represented."""

    def __init__(self, literal: str) -> None:
        super().__init__(literal)
        self.literal = literal


def _float(literal: str) -> float:
    value = float(literal)
    if value in (_INFINITY, -_INFINITY):
        raise _Number(literal)
    return value


def _int(literal: str) -> int:
    try:
        return int(literal)
    except ValueError:  # sys.set_int_max_str_digits
        raise _Number(literal) from None


def _constant(literal: str) -> "NoReturn":
    raise _Number(literal)


class _Context:
    """What `make_scanner` asks of a json.JSONDecoder."""

    strict = True
    object_hook = None
    object_pairs_hook = None
    array_hook = None
    parse_float = staticmethod(_float)
    parse_int = int
    parse_constant = staticmethod(_constant)


def _refuse(value: object) -> "NoReturn":
    raise TypeError(f"{type(value).__name__} has no JSON form")


_scan: "Callable[[str, int], tuple[Any, int]] | None"
_encode: "Callable[[Any, int], Any]"
_quote: "Callable[[str], str]"
try:
    import _json as _core

    _scan = _core.make_scanner(_Context())  # type: ignore[arg-type]
    _quote = _core.encode_basestring
    _encode = _core.make_encoder(None, _refuse, _quote, None, ":", ",", False, False, False)
except (ImportError, AttributeError, TypeError):  # not CPython, or a CPython that changed it
    from json.encoder import JSONEncoder
    from json.encoder import encode_basestring as _quote

    def _encode(value: "Any", _level: int) -> "Any":
        return _python.iterencode(value)

    _python = JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    _scan = None


def loads(data: bytes, where: str = "JSON") -> "Any":
    """The value of a JSON document (RFC 8259) in UTF-8, with or without a byte order mark.

    NaN, infinities and numbers too large for a double are refused, and so is
    what is nested so deeply that `dumps` or `pretty` might fail on it later.
    `where` names the document in errors. Raises ConfigError saying line, column
    and what was wrong.
    """
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        line, column = _position(data[: error.start].decode())
        raise _error(where, line, column, "this is not UTF-8") from None
    if text[:1] == "\ufeff":
        text = text[1:]
    try:
        value = _decode(text, where)
    except RecursionError:
        deep = True
    else:
        deep = data.count(b"[") + data.count(b"{") > MAX_DEPTH and _is_deep(value)
    if deep:
        message = f"{where}: it is nested too deeply, in more than {MAX_DEPTH} levels"
        raise ConfigError(message, path=where)
    return value


def _decode(text: str, where: str) -> "Any":
    if _scan is not None:
        start = len(text) - len(text.lstrip(_BLANK))
        try:
            value, end = _scan(text, start)
            if not text[end:].strip(_BLANK):
                return value
        except (ValueError, StopIteration, SystemError):
            pass
    return _explain(text, where)


def _is_deep(value: "Any") -> bool:
    """Whether there is anything below MAX_DEPTH levels; without recursion, level by level."""
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        inner: list[Any] = []
        for item in level:
            if isinstance(item, list):
                inner += item
            elif isinstance(item, dict):
                inner += item.values()
        if not inner:
            return False
        level = inner
    return True


def _explain(text: str, where: str) -> "Any":
    """`_decode` by way of `json`: the value after all, or the reason why there is none."""
    import json

    try:
        return json.loads(text, parse_float=_float, parse_int=_int, parse_constant=_constant)
    except json.JSONDecodeError as error:
        reason = error.msg[:1].lower() + error.msg[1:]
        raise _error(where, error.lineno, error.colno, reason) from None
    except _Number as error:
        line, column = _position(text[: _find(text, error.literal)])
        shown = error.literal if len(error.literal) < 24 else f"{error.literal[:20]}..."
        raise _error(where, line, column, f"{shown} is not a number that JSON allows") from None


def _find(text: str, literal: str) -> int:
    """The offset of the first number or constant in `text` that begins with `literal`."""
    import re

    for found in re.finditer(rf'"(?:[^"\\]|\\.)*"|(?<![\w.+-]){re.escape(literal)}', text):
        if found[0] == literal:
            return found.start()
    return 0


def _position(before: str) -> tuple[int, int]:
    """Line and column, from 1, of what comes after `before`."""
    return before.count("\n") + 1, len(before) - before.rfind("\n")


def _error(where: str, line: int, column: int, message: str) -> ConfigError:
    return ConfigError(f"{where}: line {line} column {column}: {message}", path=where)


def dumps(value: "Any") -> bytes:
    r"""The compact JSON of `value`, in UTF-8.

    A string that has no UTF-8 form (the lone surrogates that stand for
    undecodable bytes) makes the whole document ASCII with ``\uDCxx`` escapes,
    which `loads` turns back into the same string. Raises TypeError for what
    has no JSON form, ValueError for NaN, infinities and bottomless nesting.
    """
    try:
        return "".join(_encode(value, 0)).encode()
    except UnicodeEncodeError:
        from json import dumps as json_dumps

        return json_dumps(value, separators=(",", ":"), allow_nan=False).encode()
    except RecursionError:
        raise ValueError("the value is nested too deeply for JSON") from None


def pretty(value: "Any", indent: str = "  ") -> str:
    """The JSON of `value` over several lines, as ``json.dumps(indent=..., ensure_ascii=False)``.

    Keys must be strings. There is no newline at the end. Raises what `dumps` raises.
    """
    parts: list[str] = []
    try:
        _write(value, "\n", indent, parts.append)
    except RecursionError:
        raise ValueError("the value is nested too deeply for JSON") from None
    return "".join(parts)


def _write(value: "Any", newline: str, indent: str, put: "Callable[[str], None]") -> None:
    """Put `value`, whose own line begins with `newline` (a line end and the indentation)."""
    if isinstance(value, dict) and value:
        inner = newline + indent
        before = "{" + inner
        for key, item in value.items():
            put(before + _quote(key) + ": ")
            _write(item, inner, indent, put)
            before = "," + inner
        put(newline + "}")
    elif isinstance(value, list | tuple) and value:
        inner = newline + indent
        before = "[" + inner
        for item in value:
            put(before)
            _write(item, inner, indent, put)
            before = "," + inner
        put(newline + "]")
    else:
        put("".join(_encode(value, 0)))
