"""kaa ns list"""

from kaa import codec
from kaa.errors import UsageError
from kaa.namespaces import machine, nsfs, process

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kaa.cli.main import Session

_TITLES = ("NS", "TYPE", "NPROCS", "PID", "OWNER", "UID", "HELD BY", "COMMAND")


def command(session: "Session") -> int:
    """List the namespaces of the machine, of a type, or of a process."""
    kind = session.options.get("type", "")
    if kind and kind not in nsfs.TYPES:
        raise UsageError(f"--type {kind}: not one of {', '.join(nsfs.TYPES)}")
    wanted = None
    if "pid" in session.options:
        with process.Process(process.parse(session.options["pid"])) as one:
            wanted = set(one.namespaces().values())
    found = [
        space
        for space in machine.scan()
        if (not kind or space.type == kind) and (wanted is None or space.inode in wanted)
    ]
    if session.options.get("json"):
        session.write(codec.dumps([space.record() for space in found]).decode() + "\n")
    else:
        session.write(table(found))
    return 0


def table(found: list[machine.Namespace]) -> str:
    """The namespaces in columns; "-" is for what there is not, or is not told."""
    rows = [_TITLES, *[_row(space) for space in found]]
    widths = [max([len(row[i]) for row in rows]) for i in range(len(_TITLES))]
    return "".join(
        [
            " ".join([c.ljust(w) for c, w in zip(row, widths, strict=True)]).rstrip() + "\n"
            for row in rows
        ]
    )


def _row(space: machine.Namespace) -> tuple[str, ...]:
    where = space.command or " ".join([machine.printable(path) for path in space.mounts])
    return (
        str(space.inode),
        space.type,
        str(len(space.processes)),
        str(space.pid or "-"),
        str(space.owner or "-"),
        "-" if space.owner_uid is None else str(space.owner_uid),
        ",".join(space.held_by()) or "-",
        where,
    )
