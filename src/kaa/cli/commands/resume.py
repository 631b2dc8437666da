"""kaa resume"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kaa.cli.main import Session


def command(session: "Session") -> int:
    """Let a paused container go on."""
    from kaa.container.pause import resume

    resume(session.runtime(), session.args[0])
    return 0
