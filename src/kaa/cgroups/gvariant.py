"""GVariant's text format, in which the annotations `org.systemd.property.*` write values.

GLib: "GVariant Text Format". Types are D-Bus signatures; dictionaries and maybe
types are left out, as no property of a unit has them. Only imported where such an
annotation is.
"""

import re
from typing import Any

Typed = tuple[str, Any]
"""A signature, and the value in the form in which jeepney sends it."""

_KEYWORDS = {
    "boolean": "b",
    "byte": "y",
    "int16": "n",
    "uint16": "q",
    "int32": "i",
    "uint32": "u",
    "int64": "x",
    "uint64": "t",
    "double": "d",
    "string": "s",
    "objectpath": "o",
    "signature": "g",
}
_RANGES = {
    "y": (0, 2**8 - 1),
    "n": (-(2**15), 2**15 - 1),
    "q": (0, 2**16 - 1),
    "i": (-(2**31), 2**31 - 1),
    "u": (0, 2**32 - 1),
    "x": (-(2**63), 2**63 - 1),
    "t": (0, 2**64 - 1),
}
_LEXEME = re.compile(
    r"""\s*(?:
        (?P<string>'(?:[^'\\]|\\.)*' | "(?:[^"\\]|\\.)*")
      | (?P<type>@[a-z()]+)
      | (?P<word>[a-zA-Z][a-zA-Z0-9]*)
      | (?P<number>[-+]?(?:0[xX][0-9a-fA-F]+ | [0-9.][0-9.eE+-]*))
      | (?P<mark>[][()<>,])
    )""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPES = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|.)", re.DOTALL)
_DEEPEST = 16


def parse(text: str, expected: str = "") -> Typed:
    """The value that `text` stands for, as `expected` if that is given. Raises ValueError."""
    reader = _Reader(text)
    found = reader.value(expected, 0)
    if reader.peek():
        raise ValueError(f"{reader.peek()!r} follows after the end of the value")
    return found


def types_of(signature: str) -> list[str]:
    """The complete types that a signature consists of. Raises ValueError."""
    found = []
    while signature:
        end = _end_of_type(signature)
        found.append(signature[:end])
        signature = signature[end:]
    return found


def _end_of_type(signature: str) -> int:
    at = 0
    while signature[at : at + 1] == "a":
        at += 1
    if signature[at : at + 1] == "(":
        depth = 0
        for end, character in enumerate(signature[at:], at + 1):
            depth += {"(": 1, ")": -1}.get(character, 0)
            if depth == 0:
                return end
    elif signature[at : at + 1] in {*_KEYWORDS.values(), "v"}:
        return at + 1
    raise ValueError(f"{signature!r} is not a type")


class _Reader:
    def __init__(self, text: str) -> None:
        self._lexemes: list[tuple[str, str]] = []
        text = text.rstrip()
        at = 0
        while at < len(text):
            match = _LEXEME.match(text, at)
            if match is None or match.lastgroup is None:
                raise ValueError(f"{text[at:]!r} is not understood")
            self._lexemes.append((match.lastgroup, match[match.lastgroup]))
            at = match.end()
        self._lexemes.reverse()

    def peek(self) -> str:
        return self._lexemes[-1][1] if self._lexemes else ""

    def _take(self) -> tuple[str, str]:
        if not self._lexemes:
            raise ValueError("the value is incomplete")
        return self._lexemes.pop()

    def value(self, expected: str, depth: int) -> Typed:
        if depth > _DEEPEST:
            raise ValueError("the value is nested too deeply")
        kind, lexeme = self._take()
        if kind == "type":
            (given,) = types_of(lexeme[1:])
            return self.value(expected or given, depth)
        if kind == "word" and lexeme in _KEYWORDS:
            return self.value(expected or _KEYWORDS[lexeme], depth)
        if expected == "v" and lexeme != "<":
            raise ValueError("a variant is written <value>")
        if kind == "mark":
            return self._container(lexeme, expected, depth)
        if kind == "string":
            return _string(lexeme, expected)
        if kind == "number":
            return _number(lexeme, expected)
        if lexeme in ("true", "false"):
            return _as("b", expected), lexeme == "true"
        raise ValueError(f"{lexeme!r} is not a value; a string must be quoted")

    def _container(self, lexeme: str, expected: str, depth: int) -> Typed:
        if lexeme == "<":
            inner = self.value("", depth + 1)
            self._expect(">")
            return _as("v", expected), inner
        if lexeme == "[":
            return self._array(expected, depth)
        if lexeme == "(":
            return self._tuple(expected, depth)
        raise ValueError(f"{lexeme!r} begins no value")

    def _array(self, expected: str, depth: int) -> Typed:
        if expected and expected[0] != "a":
            raise ValueError(f"an array where the type is {expected!r}")
        element, values = expected[1:], []
        while self.peek() != "]":
            # the first element decides what the others are
            element, value = self.value(element, depth + 1)
            values.append(value)
            if self.peek() != "]":
                self._expect(",")
        self._take()
        if not element:
            raise ValueError("an empty array needs its type: @as []")
        return "a" + element, bytes(values) if element == "y" else values

    def _tuple(self, expected: str, depth: int) -> Typed:
        wanted = types_of(expected[1:-1]) if expected[:1] == "(" else None
        if expected and wanted is None:
            raise ValueError(f"a tuple where the type is {expected!r}")
        found: list[Typed] = []
        while self.peek() != ")":
            if wanted is not None and len(found) >= len(wanted):
                raise ValueError(f"too many values for {expected!r}")
            found.append(self.value(wanted[len(found)] if wanted else "", depth + 1))
            if self.peek() != ")":
                self._expect(",")
        self._take()
        if not found or (wanted is not None and len(found) < len(wanted)):
            raise ValueError("too few values in a tuple")
        return f"({''.join(t for t, _ in found)})", tuple(v for _, v in found)

    def _expect(self, mark: str) -> None:
        _, lexeme = self._take()
        if lexeme != mark:
            raise ValueError(f"{lexeme!r} where {mark!r} should be")


def _as(found: str, expected: str) -> str:
    if expected and expected != found:
        raise ValueError(f"a value of the type {found!r} where {expected!r} is wanted")
    return found


def _string(lexeme: str, expected: str) -> Typed:
    if expected not in ("", "s", "o", "g"):
        raise ValueError(f"a string where the type is {expected!r}")
    text = _ESCAPE.sub(_unescaped, lexeme[1:-1])
    if "\0" in text:
        raise ValueError("a string cannot have a NUL in it")
    return expected or "s", text


def _unescaped(match: "re.Match[str]") -> str:
    code = match[1]
    if len(code) > 1:
        number = int(code[1:], 16)
        if number > 0x10FFFF or 0xD800 <= number < 0xE000:
            raise ValueError(f"{match[0]!r} is no character")
        return chr(number)
    return _ESCAPES.get(code, code)


def _number(lexeme: str, expected: str) -> Typed:
    hexadecimal = lexeme.lower().lstrip("+-").startswith("0x")
    fraction = not hexadecimal and any(c in ".eE" for c in lexeme)
    kind = expected or ("d" if fraction else "i")
    if kind == "d":
        return "d", float(lexeme)
    if kind not in _RANGES:
        raise ValueError(f"a number where the type is {kind!r}")
    if fraction:
        raise ValueError(f"{lexeme} is not a whole number")
    value = int(lexeme, 16 if hexadecimal else 10)
    least, most = _RANGES[kind]
    if not least <= value <= most:
        raise ValueError(f"{lexeme} is not between {least} and {most}")
    return kind, value
