"""The attacker who races: exchanges two paths while the runtime uses them."""

import subprocess
import time
from pathlib import Path

from . import build


class Swapper:
    """While in the `with` block, `first` and `second` trade places, every `pause` seconds."""

    def __init__(self, first: Path, second: Path, pause: float = 0) -> None:
        microseconds = str(round(pause * 1e6))
        self._argv = [str(build.program("swapper")), str(first), str(second), microseconds]

    def __enter__(self) -> "Swapper":
        self._process = subprocess.Popen(self._argv, stderr=subprocess.PIPE)
        time.sleep(0.01)
        return self

    def __exit__(self, failure: object, *_: object) -> None:
        died = self._process.poll()
        self._process.kill()
        err = self._process.communicate()[1]
        assert failure or died is None, f"the swapper ended by itself: {err.decode()}"
