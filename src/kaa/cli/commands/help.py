"""kaa help"""

from kaa.cli.help import text
from kaa.cli.parse import UnknownCommand
from kaa.cli.table import KAA, Command, find

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kaa.cli.main import Session


def command(session: "Session") -> int:
    """Show the help of a command, or of kaa."""
    route: tuple[Command, ...] = (KAA,)
    for name in session.args:
        found = find(route[-1].commands, name)
        if found is None:
            raise UnknownCommand(name, route)
        route = (*route, found)
    session.write(text(route))
    return 0
