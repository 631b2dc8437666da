"""kaa state"""

from kaa import codec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kaa.cli.main import Session


def command(session: "Session") -> int:
    """Print the OCI state (runtime.md, State)."""
    from kaa.container.state import state

    session.write(codec.pretty(state(session.runtime(), session.args[0]), "  ") + "\n")
    return 0
