"""kaa delete"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kaa.cli.main import Session


def command(session: "Session") -> int:
    """Delete a container."""
    from kaa.container.delete import delete

    delete(session.runtime(), session.args[0], force=session.options.get("force", False))
    return 0
