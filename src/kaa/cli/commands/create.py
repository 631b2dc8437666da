"""kaa create"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kaa.cli.main import Session


def command(session: "Session") -> int:
    """Create a container."""
    from kaa.container.create import create

    create(session.runtime(), session.args[0], **session.creation())
    return 0
