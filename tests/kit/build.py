"""Compiles the kit's C programs, once for each content, into the cache."""

import fcntl
import hashlib
import os
import subprocess
from pathlib import Path

CACHE = Path("/var/cache/kaa-tests")
SOURCES = Path(__file__).parent


def program(name: str) -> Path:
    """The static binary of `kit/NAME.c`."""
    source = SOURCES / f"{name}.c"
    digest = hashlib.sha256(source.read_bytes()).hexdigest()[:16]
    binary = CACHE / "bin" / f"{name}-{digest}"
    if not binary.exists():
        binary.parent.mkdir(parents=True, exist_ok=True)
        fresh = binary.with_suffix(f".{os.getpid()}")
        flags = ["-static", "-O1", "-Wall", "-Wextra", "-Werror"]
        subprocess.run(["cc", *flags, "-o", str(fresh), str(source)], check=True)
        fresh.rename(binary)
    return binary


class Lock:
    """Lets one process at a time fill a part of the cache."""

    def __init__(self, name: str) -> None:
        CACHE.mkdir(parents=True, exist_ok=True)
        self._path = CACHE / f"{name}.lock"

    def __enter__(self) -> None:
        self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._fd, fcntl.LOCK_EX)

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)
