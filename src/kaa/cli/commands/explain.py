"""kaa explain"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kaa.cli.main import Session

_ANY_ID = "container"


def command(session: "Session") -> int:
    """Print the program that the bundle compiles to."""
    from kaa.container.explain import explain

    id = session.args[0] if session.args else _ANY_ID
    session.write(explain(session.runtime(), session.bundle(), id).rstrip("\n") + "\n")
    return 0
