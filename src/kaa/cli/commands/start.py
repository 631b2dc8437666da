"""kaa start"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kaa.cli.main import Session


def command(session: "Session") -> int:
    """Run the program of a created container."""
    from kaa.container.start import start

    start(session.runtime(), session.args[0])
    return 0
