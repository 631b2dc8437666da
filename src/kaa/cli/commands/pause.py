"""kaa pause"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kaa.cli.main import Session


def command(session: "Session") -> int:
    """Freeze a container."""
    from kaa.container.pause import pause

    pause(session.runtime(), session.args[0])
    return 0
