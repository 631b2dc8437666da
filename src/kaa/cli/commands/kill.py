"""kaa kill"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kaa.cli.main import Session


def command(session: "Session") -> int:
    """Send a signal; its name is looked at after the container, as runc does."""
    from kaa.container.kill import kill

    signal = session.args[1] if len(session.args) > 1 else "SIGTERM"
    kill(session.runtime(), session.args[0], signal, all=session.options.get("all", False))
    return 0
