"""The library for asyncio: the same names, awaited.

No container and no process has a thread. Ends are noticed by the event loop,
which watches the pidfds, and output arrives through its pipes. What has to
block for a few milliseconds (setting up, removing, an operation on the cgroup)
is done by a few threads that all containers share; 1,000 containers need no more
than one does. Whatever is cancelled while it is being set up is removed again.
"""

from kaa.aio.container import Container, Runtime
from kaa.aio.process import Process
from kaa.aio.run import popen, run
from kaa.api.stdio import DEVNULL, PIPE, STDOUT

__all__ = [
    "DEVNULL",
    "PIPE",
    "STDOUT",
    "Container",
    "Process",
    "Runtime",
    "popen",
    "run",
]
