"""A resident Python process that makes containers with the library, one for each line it reads.

    python resident.py ROOT BUNDLE

Answers each line with the milliseconds that create, start, kill and delete took.
"""

import sys
import time

from kaa.caller import Caller
from kaa.container.create import create
from kaa.container.delete import delete
from kaa.container.kill import kill
from kaa.container.runtime import Runtime
from kaa.container.start import start


def lifecycle(runtime: Runtime, id: str, bundle: str) -> float:
    """One container's life, in milliseconds."""
    begin = time.perf_counter()
    create(runtime, id, bundle=bundle)
    start(runtime, id)
    kill(runtime, id, "KILL")
    delete(runtime, id, force=True)
    return 1000 * (time.perf_counter() - begin)


def main() -> None:
    """Serve until end of file."""
    root, bundle = sys.argv[1:]
    runtime = Runtime(root, Caller.of_this_process())
    for number, _ in enumerate(sys.stdin):
        print(lifecycle(runtime, f"resident-{number}", bundle), flush=True)


if __name__ == "__main__":
    main()
