"""kaa completion"""

from kaa.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kaa.cli.main import Session


def command(session: "Session") -> int:
    """Print the completion script for a shell."""
    from kaa.cli.completion import SHELLS

    shell = session.args[0]
    if shell not in SHELLS:
        raise UsageError(f'no completion for the shell "{shell}": there is {", ".join(SHELLS)}')
    session.write(SHELLS[shell]())
    return 0
