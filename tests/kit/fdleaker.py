"""A careless caller: runs a command with descriptors of the host open in it.

    python3 fdleaker.py COMMAND ARG...

Descriptors 3 to 40 lead to `/`, /etc/shadow, a cgroup directory and a UNIX
socket in turn, none of them close-on-exec. `prefix()` is the command line to
put before that of the runtime.
"""

import os
import socket
import sys
from pathlib import Path

HOST_PATHS = ("/", "/etc/shadow", "/sys/fs/cgroup")


def prefix() -> list[str]:
    """What to put before a command line."""
    return [sys.executable, "-I", "-S", str(Path(__file__).resolve())]


def main(argv: list[str]) -> None:
    ours, _theirs = socket.socketpair()
    sources = [os.open(path, os.O_RDONLY) for path in HOST_PATHS] + [ours.fileno()]
    high = [os.dup2(fd, 100 + number) for number, fd in enumerate(sources)]
    for target in range(3, 41):
        os.dup2(high[target % len(high)], target)
    os.execvp(argv[0], argv)


if __name__ == "__main__":
    main(sys.argv[1:])
