"""Fixtures of the tests that run rootfs programs."""

from pathlib import Path

import pytest

from .rig import Rig


@pytest.fixture
def rig(tmp: Path) -> Rig:
    """A bundle with a busybox root."""
    return Rig(tmp)
