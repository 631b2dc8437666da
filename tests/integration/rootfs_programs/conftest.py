"""Fixtures of the tests that run rootfs programs."""

from pathlib import Path

import pytest

from kaa.caller import Caller
from kaa.program.init import Init

from .rig import Rig


@pytest.fixture(scope="session", autouse=True)
def sealed_init(corner_of_the_machine: None) -> None:
    """The sealed copy of kaa-init that a process makes once and keeps."""
    Init.spawn(Caller.of_this_process()).end()


@pytest.fixture
def rig(tmp: Path) -> Rig:
    """A bundle with a busybox root."""
    return Rig(tmp)
