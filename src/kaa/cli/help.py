"""`--help`, made from the table."""

from collections.abc import Iterator
from textwrap import fill, indent

from kaa.cli.table import FLAG, HELP, KAA, LIST, Command, Option

# From kaa itself to one of its commands.
Route = tuple[Command, ...]

_WIDTH = 78
_MARGIN = "   "


def text(route: Route) -> str:
    """The help of the command that `route` leads to, for a terminal."""
    command = route[-1]
    name = " ".join([c.name for c in route])
    parts = [
        _section("NAME", f"{name} - {command.summary}"),
        _section("USAGE", usage(route)),
        _section("DESCRIPTION", fill(command.description, _WIDTH)),
    ]
    if command.commands:
        rows = [(", ".join(filter(None, (c.name, c.alias))), c.summary) for c in command.commands]
        parts.append(_section("COMMANDS", _columns(rows)))
    shown = [option for option in options(command) if not option.hidden]
    title = "GLOBAL OPTIONS" if len(route) == 1 else "OPTIONS"
    parts.append(_section(title, _columns([(syntax(o), meaning(o)) for o in shown])))
    examples = [f"{what}\n\n    {line}" for what, line in command.examples]
    parts.append(_section("EXAMPLES", "\n\n".join(examples)))
    return "\n\n".join(parts) + "\n"


def walk(route: Route = (KAA,)) -> Iterator[Route]:
    """Every command of the table, groups before what is in them."""
    yield route
    for command in route[-1].commands:
        yield from walk((*route, command))


def usage(route: Route) -> str:
    """One line that says what may be written."""
    command = route[-1]
    name = route[0].name
    if len(route) > 1:
        name += " [global options] " + " ".join([c.name for c in route[1:]])
    if command.commands:
        tail = "[global options] <command> ..." if len(route) == 1 else "<command> ..."
        return f"{name} {tail}"
    shown = [option for option in command.options if not option.hidden]
    return " ".join(filter(None, (name, "[options]" if shown else "", command.operands)))


def options(command: Command) -> tuple[Option, ...]:
    """The command's options, `--help` included."""
    return command.options if HELP in command.options else (*command.options, HELP)


def syntax(option: Option) -> str:
    """The option as it is written: ``--bundle DIR, -b DIR``."""
    value = f" {option.value}" if option.kind != FLAG else ""
    short = f", -{option.short}{value}" if option.short else ""
    return f"--{option.name}{value}{short}"


def meaning(option: Option) -> str:
    """What the option does, with its default."""
    default = option.default if option.kind != LIST else ""
    return f"{option.help} (default: {default})" if default else option.help


def _section(title: str, body: str) -> str:
    return f"{title}:\n{indent(body, _MARGIN)}"


def _columns(rows: list[tuple[str, str]]) -> str:
    """Two columns; a long left cell stands on a line of its own."""
    width = min(28, max([len(left) for left, _ in rows]))
    lines = []
    for left, right in rows:
        body = fill(
            right, _WIDTH, initial_indent=" " * (width + 2), subsequent_indent=" " * (width + 2),
            break_on_hyphens=False, break_long_words=False,
        )  # fmt: skip
        if len(left) <= width:
            lines.append(left.ljust(width) + body[width:])
        else:
            lines += [left, body]
    return "\n".join(lines)
