"""kaa ns pids"""

from kaa import codec
from kaa.namespaces.process import Process, parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kaa.cli.main import Session


def command(session: "Session") -> int:
    """Print the pid of a process in every pid namespace it can be seen from."""
    with Process(parse(session.args[0])) as process:
        found = process.pids()
    if session.options.get("json"):
        session.write(codec.dumps(found).decode() + "\n")
        return 0
    session.write(f"{'LEVEL':<6}{'NS':<12}PID\n")
    for entry in found:
        session.write(f"{entry['level']:<6}{entry['inode'] or '-':<12}{entry['pid']}\n")
    return 0
