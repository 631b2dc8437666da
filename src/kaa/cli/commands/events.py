"""kaa events"""

from kaa import codec
from kaa.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kaa.cli.main import Session

_INTERVAL = 5.0  # seconds


def command(session: "Session") -> int:
    """Print the container's events, one JSON object a line, until it ends."""
    from kaa.container.events import follow, stats

    interval = session.options.get("interval", _INTERVAL)
    if interval <= 0:
        raise UsageError("duration interval must be greater than 0")
    runtime, id = session.runtime(), session.args[0]
    events = [stats(runtime, id)] if session.options.get("stats") else follow(runtime, id, interval)
    for event in events:
        session.write(codec.dumps(event).decode() + "\n")
    return 0
