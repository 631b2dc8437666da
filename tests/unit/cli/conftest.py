"""Fixtures of the command line's tests."""

from pathlib import Path

import pytest
from unit.cli.recorder import Kaa


@pytest.fixture
def kaa(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Kaa:
    return Kaa(monkeypatch, str(tmp_path))
