"""Small checkers, and how to compose them into a tree that mirrors a JSON schema.

A checker is a function of one decoded JSON value that returns nothing, or
raises `Wrong`. Composite checkers add their part of the JSON pointer to a
`Wrong` that passes through them, so that a document in order costs no more
than the look at each value.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Checker = Callable[[Any], None]

_SHOWN = 40  # characters of a wrong value that an error repeats


class Wrong(Exception):
    """A value that breaks a rule: the message, and the way to it from where it is raised.

    `tokens` are the reference tokens of the JSON pointer (RFC 6901), the last
    one first.
    """

    def __init__(self, message: str, *way: "str | int") -> None:
        super().__init__(message)
        self.message = message
        self.tokens: list[str | int] = list(reversed(way))

    def pointer(self) -> str:
        """The JSON pointer, escaped; empty for the document itself."""
        return "".join(
            "/" + printable(str(token)).replace("~", "~0").replace("/", "~1")
            for token in reversed(self.tokens)
        )


def wrong(expected: str, found: object, *way: "str | int") -> Wrong:
    """The usual `Wrong`: `expected` in words, and the value that was found instead."""
    return Wrong(f"must be {expected}, not {shown(found)}", *way)


def shown(value: object) -> str:
    """A JSON value as an error repeats it: short, on one line, printable."""
    if value is None or value is True or value is False:
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "an array"
    if isinstance(value, str):
        cut = value if len(value) <= _SHOWN else value[: _SHOWN - 3] + "..."
        return '"' + printable(cut) + '"'
    if isinstance(value, int) and value.bit_length() > 128:
        return "a number of that size"
    return str(value) if isinstance(value, int | float) else f"a {type(value).__name__}"


def printable(text: str) -> str:
    """`text` with everything escaped that could move a terminal's cursor or not be encoded."""
    return "".join(
        char
        if char.isprintable() and not "\ud800" <= char <= "\udfff"
        else char.encode("unicode_escape").decode()
        for char in text
    )


def boolean(value: "Any") -> None:
    """``true`` or ``false``."""
    if value is not True and value is not False:
        raise wrong("true or false", value)


def string(value: "Any") -> None:
    """A string that can be handed to the kernel: no NUL byte, and it can be encoded."""
    if not isinstance(value, str):
        raise wrong("a string", value)
    if "\0" in value:
        raise Wrong(f"must not contain a NUL byte, as {shown(value)} does")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise Wrong(f"must be Unicode, without the lone surrogate in {shown(value)}") from None


def text(expected: str, accepts: "Callable[[str], bool]") -> "Checker":
    """A string that `accepts` says is `expected`."""

    def check(value: "Any") -> None:
        string(value)
        if not accepts(value):
            raise wrong(expected, value)

    return check


def number_list(what: str, most: int) -> "Checker":
    """Numbers up to `most`, and ranges of them, as in cpuset(7), List format; or nothing."""

    def is_list(value: str) -> bool:
        for part in value.split(",") if value else ():
            first, dash, last = part.strip().partition("-")
            for number in (first, last) if dash else (first,):
                if not (number.isascii() and number.isdigit() and len(number) <= len(str(most))):
                    return False
            if not int(first) <= int(last or first) <= most:
                return False
        return True

    return text(f'a list of {what} up to {most} such as "0-3,7"', is_list)


def one_of(*choices: str) -> "Checker":
    """One of these strings."""
    known = frozenset(choices)

    def check(value: "Any") -> None:
        if not isinstance(value, str) or value not in known:
            raise wrong("one of " + ", ".join(f'"{choice}"' for choice in choices), value)

    return check


def integer(low: int, high: int) -> "Checker":
    """A whole number from `low` to `high`, both included; 1.0 and true are none."""

    def check(value: "Any") -> None:
        if type(value) is not int:
            raise wrong("a whole number", value)
        if not low <= value <= high:
            raise wrong(f"from {low} to {high}", value)

    return check


def array(item: "Checker", rule: "Checker | None" = None) -> "Checker":
    """An array whose elements are all `item`, and which as a whole satisfies `rule`."""

    def check(value: "Any") -> None:
        if not isinstance(value, list):
            raise wrong("an array", value)
        for index, element in enumerate(value):
            try:
                item(element)
            except Wrong as error:
                error.tokens.append(index)
                raise
        if rule is not None:
            rule(value)

    return check


_each_string = array(string)


def strings(value: "Any") -> None:
    """An array of strings; one look at all of them together, since seccomp names hundreds."""
    if isinstance(value, list):
        try:
            joined = "\0".join(value)
        except TypeError:
            pass
        else:
            if joined.isascii() and joined.count("\0") == max(len(value) - 1, 0):
                return
    _each_string(value)


def mapping(item: "Checker", key: "Checker" = string) -> "Checker":
    """An object whose names are all `key` and whose values are all `item`."""

    def check(value: "Any") -> None:
        if not isinstance(value, dict):
            raise wrong("an object", value)
        for name, element in value.items():
            try:
                key(name)
                item(element)
            except Wrong as error:
                error.tokens.append(name)
                raise

    return check


def record(
    properties: "dict[str, Checker]",
    required: "tuple[str, ...]" = (),
    rule: "Checker | None" = None,
) -> "Checker":
    """An object with these properties, which as a whole satisfies `rule`.

    Unknown properties are left alone (config.md, "Extensibility"). A known one
    that is ``null`` is removed: to every runtime written in Go, and so to
    everybody who writes config.json for one, null means absent.
    """
    known = properties.get

    def check(value: "Any") -> None:
        if not isinstance(value, dict):
            raise wrong("an object", value)
        absent = []
        for name, element in value.items():
            checker = known(name)
            if checker is None:
                continue
            if element is None:
                absent.append(name)
                continue
            try:
                checker(element)
            except Wrong as error:
                error.tokens.append(name)
                raise
        for name in absent:
            del value[name]
        for name in required:
            if name not in value:
                raise Wrong("is required", name)
        if rule is not None:
            rule(value)

    return check


# --- the types of defs.json ------------------------------------------------

MAX_EXTENTS = 340  # user_namespaces(7): lines of a uid_map

uint16 = integer(0, 2**16 - 1)
uint32 = integer(0, 2**32 - 1)
uint64 = integer(0, 2**64 - 1)
int32 = integer(-(2**31), 2**31 - 1)
int64 = integer(-(2**63), 2**63 - 1)
unix_id = integer(0, 2**32 - 2)  # 4294967295 is -1, "no change" to setresuid(2) and chown(2)
path = text("an absolute path", lambda value: value[:1] == "/")
filled = text("a string that is not empty", bool)


def _extent(value: "Any") -> None:
    for side in ("containerID", "hostID"):
        if value[side] + value["size"] > 2**32 - 1:
            raise wrong(
                f"at most {2**32 - 1 - value[side]} with this {side}", value["size"], "size"
            )


def _extents(value: "Any") -> None:
    if len(value) > MAX_EXTENTS:
        raise Wrong(f"must have at most {MAX_EXTENTS} entries, not {len(value)}")
    for side in ("containerID", "hostID"):
        end = before = 0
        for first, size, index in sorted((e[side], e["size"], i) for i, e in enumerate(value)):
            if first < end:
                raise Wrong(f"overlaps with entry {before}", index, side)
            end, before = first + size, index


id_mappings = array(
    record(
        {"containerID": uint32, "hostID": uint32, "size": integer(1, 2**32 - 1)},
        required=("containerID", "hostID", "size"),
        rule=_extent,
    ),
    rule=_extents,
)
