"""kaa features"""

import kaa
from kaa import codec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kaa.cli.main import Session


def command(session: "Session") -> int:
    """Print the features structure (features.md)."""
    from kaa.spec.features import document

    session.write(codec.pretty(document(kaa.__version__), "    ") + "\n")
    return 0
