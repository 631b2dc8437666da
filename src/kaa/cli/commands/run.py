"""kaa run"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kaa.cli.main import Session


def command(session: "Session") -> int:
    """Create, start and (unless detached) wait; the exit code is the process's."""
    from kaa.container.run import run

    return run(
        session.runtime(),
        session.args[0],
        detach=session.options.get("detach", False),
        keep=session.options.get("keep", False),
        **session.creation(),
    )
