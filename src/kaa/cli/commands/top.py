"""kaa top"""

import time
from typing import TYPE_CHECKING, Any

from kaa import codec, site_packages
from kaa.container.top import Sampler
from kaa.errors import KaaError, UsageError

if TYPE_CHECKING:
    from rich.table import Table

    from kaa.cli.main import Session

_INTERVAL = 2.0  # seconds
_FIRST = 0.5  # a rate needs two looks; --once does not wait longer than that between them
_UNITS = ("B", "K", "M", "G", "T", "P")
_PRESSURES = ("cpu", "memory", "io")
_ALARMING = 10.0  # percent of the time that somebody waited


def command(session: "Session") -> int:
    """Show what the containers use, until interrupted; or once; or as JSON, a line a look."""
    interval = session.options.get("interval", _INTERVAL)
    if interval <= 0:
        raise UsageError("duration interval must be greater than 0")
    once = session.options.get("once", False)
    sampler = Sampler(session.runtime())
    sampler.look()
    time.sleep(min(interval, _FIRST))
    try:
        if session.options.get("json"):
            _print_json(session, sampler, interval, once=once)
        else:
            _show(session, sampler, interval, once=once)
    except KeyboardInterrupt:
        pass  # that is how one ends it
    return 0


def _print_json(session: "Session", sampler: Sampler, interval: float, *, once: bool) -> None:
    while True:
        session.write(codec.dumps(sampler.look()).decode() + "\n")
        if once:
            return
        time.sleep(interval)


def _show(session: "Session", sampler: Sampler, interval: float, *, once: bool) -> None:
    site_packages.enable()
    try:
        from rich.console import Console
        from rich.live import Live
    except ImportError:
        raise KaaError(
            "the Python package rich is needed to draw the table",
            hint="install it (pip install rich; Debian: apt install python3-rich), or use --json",
        ) from None
    fd = session.caller.stdio[1]
    with open(fd, "w", closefd=False, encoding="utf-8", errors="replace") as out:
        console = Console(file=out)
        if once or not console.is_terminal:
            console.print(table(sampler.look()))
            return
        with Live(console=console, screen=True, auto_refresh=False) as live:
            while True:
                live.update(table(sampler.look()), refresh=True)
                time.sleep(interval)


def table(found: list[dict[str, Any]]) -> "Table":
    """The containers as a table of rich's."""
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=None, pad_edge=False, header_style="bold")
    for name, justify in (
        ("CONTAINER", "left"), ("STATUS", "left"), ("CPU%", "right"), ("MEMORY", "right"),
        ("LIMIT", "right"), ("PIDS", "right"), ("READ/s", "right"), ("WRITE/s", "right"),
        ("PSI cpu", "right"), ("mem", "right"), ("io", "right"),
    ):  # fmt: skip
        drawn.add_column(
            name,
            justify=justify,  # type: ignore[arg-type]
            no_wrap=True,
            overflow="ellipsis" if name == "CONTAINER" else "fold",
        )
    for entry in found:
        pressure = entry.get("pressure", {})
        limit = entry["pids_limit"]
        drawn.add_row(
            Text(entry["id"]),
            Text(entry["status"], style="" if entry["status"] == "running" else "yellow"),
            "-" if entry["cpu"] is None else f"{entry['cpu']:.1f}",
            size(entry["memory"]),
            size(entry["memory_limit"]),
            f"{entry['pids']}/{limit}" if limit else str(entry["pids"]),
            size(entry["read"]),
            size(entry["written"]),
            *[_share(pressure.get(name)) for name in _PRESSURES],
        )
    return drawn


def size(number: int | None) -> str:
    """A number of bytes in at most five characters; "-" for None."""
    if number is None:
        return "-"
    value = float(number)
    for unit in _UNITS:
        if value < 1000 or unit == _UNITS[-1]:
            break
        value /= 1024
    return f"{value:.0f}{unit}" if unit == "B" or value >= 100 else f"{value:.1f}{unit}"


def _share(percent: float | None) -> "Any":
    from rich.text import Text

    if percent is None:
        return "-"
    return Text(f"{percent:.1f}", style="red" if percent >= _ALARMING else "")
