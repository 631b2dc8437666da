"""argv → the command, its options and operands.

The syntax is Go's: `--name=value`, `--name value`, both also with one dash;
a flag may be `--name=false`; of options given twice the last one counts, except
lists, which grow; `--` ends the options. Global options come before the command.
"""

from kaa.cli.table import DURATION, FLAG, HELP, KAA, LIST, NUMBER, Command, Option, find
from kaa.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_TRUE = ("1", "t", "T", "true", "TRUE", "True")
_FALSE = ("0", "f", "F", "false", "FALSE", "False")
_UNITS = (
    ("ns", 1e-9), ("us", 1e-6), ("µs", 1e-6), ("μs", 1e-6), ("ms", 1e-3),
    ("s", 1.0), ("m", 60.0), ("h", 3600.0),
)  # fmt: skip
_MOST_SECONDS = 9223372036.0  # a Go duration is an int64 of nanoseconds
_MOST_NUMBER = 2**31 - 1


class Misuse(UsageError):
    """The command line makes no sense.

    `shown` is what stands above the help of the command `route` ("": no help is
    shown), `globals` the global options, as far as they were understood.
    """

    def __init__(self, message: str, route: tuple[Command, ...], shown: str | None = None) -> None:
        super().__init__(message)
        self.route = route
        self.shown = f"Incorrect Usage: {message}" if shown is None else shown
        self.globals: dict[str, Any] = {}


class UnknownCommand(Misuse):
    """There is no such command."""

    exit_code = 3

    def __init__(self, name: str, route: tuple[Command, ...]) -> None:
        super().__init__(f"No help topic for '{name}'", route, shown="")


class Parsed:
    """A command line. Options that were not given are absent from the dicts.

    `route` goes from kaa itself to the command, which is its last item.
    """

    __slots__ = ("args", "globals", "options", "route")

    def __init__(self, route: tuple[Command, ...], found: "dict[str, Any]") -> None:
        self.route = route
        self.globals = found
        self.options: dict[str, Any] = {}
        self.args: list[str] = []


def parse(argv: list[str], root: Command = KAA) -> Parsed:
    """Parse the arguments that follow the program's name.

    Where help or the version is asked for, the rest is not looked at: `options`
    then holds "help" or "version", and `route` says of what.

    Raises Misuse and UnknownCommand.
    """
    given, args = _scan((root,), argv, stop=0, group=True)
    parsed = Parsed((root,), given)
    if "help" in given or given.get("version"):
        parsed.options = given
        return parsed
    try:
        _parse_command(parsed, args)
    except Misuse as error:
        error.globals = given
        raise
    return parsed


def _parse_command(parsed: Parsed, args: list[str]) -> None:
    """Follow the names of commands into the table, as far as they go."""
    route = parsed.route
    while args and route[-1].commands:
        command = find(route[-1].commands, args[0])
        if command is None:
            raise UnknownCommand(args[0], route)
        route = (*route, command)
        given, args = _scan(route, args[1:], command.stop, bool(command.commands))
        parsed.route, parsed.options = route, given
        if "help" in given:
            return
    parsed.args = args
    if not route[-1].commands:
        _count(route, len(args))


def _scan(
    route: tuple[Command, ...], argv: list[str], stop: int, group: bool
) -> "tuple[dict[str, Any], list[str]]":
    """The options and the operands of one command; of a group, up to its first operand."""
    given: dict[str, Any] = {}
    operands: list[str] = []
    at = 0
    while at < len(argv):
        word = argv[at]
        at += 1
        if word == "--":
            return given, operands + argv[at:]
        if len(word) < 2 or word[0] != "-":
            operands.append(word)
            if group or len(operands) == stop:
                break
            continue
        name, assigned, value = word[2 if word[1] == "-" else 1 :].partition("=")
        if not name or name[0] == "-":
            raise Misuse(f"bad flag syntax: {word}", route)
        option = _option(route[-1], name)
        if option is None:
            raise Misuse(f"flag provided but not defined: -{name}", route)
        if not assigned:
            if option.kind == FLAG:
                value = "true"
            elif at == len(argv):
                raise Misuse(f"flag needs an argument: -{name}", route)
            else:
                value = argv[at]
                at += 1
        _store(given, option, value, name, route)
        if "help" in given:
            break
    return given, operands + argv[at:]


def _option(command: Command, name: str) -> Option | None:
    for option in command.options:
        if name == option.name or name == option.short:
            return option
    return HELP if name == HELP.name or name == HELP.short else None


def _store(
    given: "dict[str, Any]", option: Option, text: str, name: str, route: tuple[Command, ...]
) -> None:
    """Put the option's value, converted, into `given`."""
    kind = option.kind
    if kind == LIST:
        given.setdefault(option.name, []).append(text)
    elif kind == FLAG:
        if text not in _TRUE and text not in _FALSE:
            raise Misuse(f'invalid boolean value "{text}" for -{name}: parse error', route)
        given[option.name] = text in _TRUE
        if option is HELP and not given["help"]:
            del given["help"]
    elif kind in (NUMBER, DURATION):
        value = decimal(text, _MOST_NUMBER) if kind == NUMBER else seconds(text)
        if value is None:
            raise Misuse(f'invalid value "{text}" for flag -{name}: parse error', route)
        given[option.name] = value
    else:
        given[option.name] = text


def _count(route: tuple[Command, ...], count: int) -> None:
    command = route[-1]
    most = command.most
    if command.least <= count and (most is None or count <= most):
        return
    if command.least == most:
        wanted = f"exactly {most}"
    else:
        wanted = (
            f"a minimum of {command.least}" if count < command.least else f"a maximum of {most}"
        )
    name = " ".join([c.name for c in route[1:]])
    raise Misuse(
        f'{route[0].name}: "{name}" requires {wanted} argument(s)', route, shown="Incorrect Usage."
    )


def decimal(text: str, most: int) -> int | None:
    """`text` as a number of ASCII digits from 0 to `most`, else None."""
    if not (text.isascii() and text.isdigit()) or len(text) > 40:
        return None
    value = int(text)
    return value if value <= most else None


def seconds(text: str) -> float | None:
    """A Go duration ("1m30s", "100ms", "-5s", "0") in seconds; None if it is none."""
    sign = -1.0 if text[:1] == "-" else 1.0
    rest = text[1:] if text[:1] in ("-", "+") else text
    if rest == "0":
        return 0.0
    total = 0.0
    if not rest:
        return None
    while rest:
        number = rest[: _span(rest)]
        rest = rest[len(number) :]
        if len(number) > 40 or number.count(".") > 1 or not number.strip("."):
            return None
        unit = rest[: _letters(rest)]
        rest = rest[len(unit) :]
        for name, scale in _UNITS:
            if unit == name:
                total += float(number) * scale
                break
        else:
            return None
    return sign * total if total <= _MOST_SECONDS else None


def _span(text: str) -> int:
    """How many characters at the beginning are digits or dots."""
    for at, character in enumerate(text):
        if character not in "0123456789.":
            return at
    return len(text)


def _letters(text: str) -> int:
    """How many characters at the beginning are neither digits nor dots."""
    for at, character in enumerate(text):
        if character in "0123456789.":
            return at
    return len(text)
