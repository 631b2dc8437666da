"""The manual pages and docs/cli.md, made from the table.

    python -m kaa.cli.documents markdown > docs/cli.md
    python -m kaa.cli.documents share DIRECTORY

The second writes the manual pages and the completion scripts in the layout of
a share/ directory (FHS 4.11); a package's build calls `write_share`.
"""

from collections.abc import Iterator
from pathlib import Path

from kaa.cli.completion import FILES, SHELLS
from kaa.cli.help import Route, meaning, options, syntax, usage, walk


def markdown() -> str:
    """docs/cli.md"""
    parts = [
        "# The command line",
        "This page is made from `src/kaa/cli/table.py` by `python -m kaa.cli.documents markdown`.",
    ]
    for route in walk():
        parts += _chapter(route)
    return "\n\n".join(parts) + "\n"


def _chapter(route: Route) -> Iterator[str]:
    command = route[-1]
    yield f"## {_name(route)}"
    yield f"{_sentence(command.summary)} {command.description}"
    yield f"```\n{usage(route)}\n```"
    if command.commands:
        yield _table(
            ("command", "does"),
            [(f"[{c.name}](#kaa-{c.name})", c.summary) for c in command.commands],
        )
    shown = [option for option in command.options if not option.hidden]
    if shown:
        yield _table(("option", "meaning"), [(f"`{syntax(o)}`", meaning(o)) for o in shown])
    for what, line in command.examples:
        yield f"{what}\n\n```sh\n{line}\n```"


def _table(head: tuple[str, str], rows: list[tuple[str, str]]) -> str:
    lines = [f"| {head[0]} | {head[1]} |", "| --- | --- |"]
    lines += [f"| {left} | {right} |".replace("\\", "\\\\") for left, right in rows]
    return "\n".join(lines)


def manual(route: Route) -> str:
    """The manual page of a command, in the man(7) macros."""
    command = route[-1]
    title = "-".join([c.name for c in route])
    lines = [
        f'.TH {title.upper()} 8 "" "kaa" "System Manager\'s Manual"',
        ".SH NAME",
        _roff(f"{title} - {command.summary}"),
        ".SH SYNOPSIS",
        _roff(usage(route)),
        ".SH DESCRIPTION",
        _roff(command.description),
    ]
    if command.commands:
        lines.append(".SH COMMANDS")
        for inner in command.commands:
            lines += [".TP", f".BR {_roff(f'{title}-{inner.name}')} (8)", _roff(inner.summary)]
    lines.append(".SH OPTIONS")
    for option in options(command):
        if not option.hidden:
            lines += [".TP", f".B {_roff(syntax(option))}", _roff(meaning(option))]
    lines.append(".SH EXAMPLES")
    for what, line in command.examples:
        lines += [".PP", _roff(what), ".PP", ".in +4n", ".EX", _roff(line), ".EE", ".in"]
    above = ["-".join([c.name for c in route[:i]]) for i in range(1, len(route))]
    if above:
        lines += [".SH SEE ALSO", ",\n".join([f".BR {_roff(name)} (8)" for name in above])]
    return "\n".join(lines) + "\n"


def _roff(text: str) -> str:
    """`text` as troff takes it literally."""
    text = text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq")
    return f"\\&{text}" if text.startswith(".") else text


def _sentence(summary: str) -> str:
    return f"{summary[0].upper()}{summary[1:]}."


def _name(route: Route) -> str:
    return " ".join([c.name for c in route])


def share() -> dict[str, str]:
    """The files below share/: path → content."""
    found = {f"man/man8/{'-'.join([c.name for c in route])}.8": manual(route) for route in walk()}
    return found | {FILES[shell]: script() for shell, script in SHELLS.items()}


def write_share(directory: str | Path) -> list[Path]:
    """Write the files of `share` below `directory`; returns their paths. Raises OSError."""
    written = []
    for name, content in share().items():
        path = Path(directory, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
        written.append(path)
    return written


def main(arguments: list[str]) -> int:
    """`python -m kaa.cli.documents`"""
    match arguments:
        case ["markdown"]:
            print(markdown(), end="")
        case ["share", directory]:
            write_share(directory)
        case _:
            print("usage: python -m kaa.cli.documents markdown | share DIRECTORY")
            return 2
    return 0


if __name__ == "__main__":
    import sys

    sys.exit(main(sys.argv[1:]))
