"""kaa ns tree"""

from kaa import codec
from kaa.namespaces import machine

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from kaa.cli.main import Session


def command(session: "Session") -> int:
    """Print the hierarchies of user and of pid namespaces."""
    spaces = machine.scan()
    trees = {kind: forest([s for s in spaces if s.type == kind]) for kind in ("user", "pid")}
    if session.options.get("json"):
        session.write(codec.dumps(trees).decode() + "\n")
        return 0
    for kind, roots in trees.items():
        session.write(f"{kind}\n" + "".join(_lines(roots, "")))
    return 0


def forest(spaces: list[machine.Namespace]) -> "list[dict[str, Any]]":
    """The records of `spaces`, each with those below it in `below`; the topmost are returned."""
    records = {space.inode: {**space.record(), "below": []} for space in spaces}
    roots: list[dict[str, Any]] = []
    for record in records.values():
        above = records.get(record["parent"])
        (roots if above is None else above["below"]).append(record)
    return roots


def _lines(records: "list[dict[str, Any]]", indent: str) -> list[str]:
    lines = []
    for record in records:
        last = record is records[-1]
        who = f"{record['pid']} {record['command']}" if record["pid"] else "no process"
        uid = f", uid {record['owner_uid']}" if record["type"] == "user" else ""
        lines.append(
            f"{indent}{'└─' if last else '├─'} {record['inode']} "
            f"({record['processes']} processes{uid}) {who}\n"
        )
        lines += _lines(record["below"], indent + ("   " if last else "│  "))
    return lines
