"""kaa list"""

import posix

from kaa import codec
from kaa.errors import UsageError, from_oserror

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from kaa.cli.main import Session

_COLUMNS = ("id", "pid", "status", "bundle", "created", "owner")
_LEAST_WIDTH = 12
_PADDING = 3


def command(session: "Session") -> int:
    """List the containers below the root."""
    from kaa.container.state import list_all

    form = session.options.get("format", "table")
    if form not in ("table", "json"):
        raise UsageError("invalid format option")
    if session.root_given:
        try:
            posix.stat(session.root)
        except OSError as error:
            raise from_oserror(error, "open") from error
    found = list_all(session.runtime())
    if session.options.get("quiet"):
        session.write("".join([f"{entry['id']}\n" for entry in found]))
    elif form == "json":
        session.write(codec.dumps(found).decode() + "\n")
    else:
        session.write(table(found))
    return 0


def table(found: "list[dict[str, Any]]") -> str:
    """The containers in columns, laid out as Go's tabwriter does for runc."""
    rows = [[name.upper() for name in _COLUMNS]]
    rows += [[str(entry.get(name, "")) for name in _COLUMNS] for entry in found]
    widths = [
        max(_LEAST_WIDTH, _PADDING + max([len(row[i]) for row in rows]))
        for i in range(len(_COLUMNS) - 1)
    ]
    lines = []
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row[:-1], widths, strict=True)]
        lines.append("".join(cells) + row[-1] + "\n")
    return "".join(lines)
