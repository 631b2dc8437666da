"""kaa ns show"""

from kaa import codec
from kaa.namespaces.process import Process, parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from kaa.cli.main import Session


def command(session: "Session") -> int:
    """Show what namespaces a process is in, perhaps beside those of another."""
    with Process(parse(session.args[0])) as process:
        record = process.record()
    if "diff" in session.options:
        with Process(parse(session.options["diff"])) as other:
            theirs = other.namespaces()
        record["diff"] = {
            "pid": other.pid,
            "same": [n for n, i in record["namespaces"].items() if theirs.get(n) == i],
            "different": {
                n: theirs.get(n) for n, i in record["namespaces"].items() if theirs.get(n) != i
            },
        }
    if session.options.get("json"):
        session.write(codec.dumps(record).decode() + "\n")
    else:
        session.write(text(record))
    return 0


def text(record: "dict[str, Any]") -> str:
    """The record for a person."""
    lines = [f"process {record['pid']}", "namespaces"]
    diff = record.get("diff")
    for name, inode in record["namespaces"].items():
        line = f"  {name:<18}{inode}"
        if diff and name in diff["different"]:
            line += f"   process {diff['pid']}: {diff['different'][name] or '-'}"
        lines.append(line)
    pids = ", ".join([f"{p['pid']} in {p['inode'] or '?'}" for p in record["pids"]])
    lines.append(f"pid, outermost first: {pids}")
    for kind in ("uid", "gid"):
        lines.append(f"{kind}s")
        lines += [f"  {words(kind, *part)}" for part in record[f"{kind}_map"]] or ["  none mapped"]
    mounts = ", ".join([f"{count} {name}" for name, count in record["propagation"].items()])
    lines.append(f"mounts: {mounts}")
    return "\n".join(lines) + "\n"


def words(kind: str, inside: int, outside: int, count: int) -> str:
    """One range of a uid or gid map as a sentence; `outside` is seen from the reader's."""
    if (inside, outside, count) == (0, 0, 0xFFFFFFFF):
        return f"every {kind} is itself"
    if count == 1:
        return f"{kind} {inside} inside is {outside} outside"
    return (
        f"{kind}s {inside} to {inside + count - 1} inside are "
        f"{outside} to {outside + count - 1} outside"
    )
