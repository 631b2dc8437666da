"""kaa-init as it is in the source tree now, built once for all tests."""

import os
import runpy
from collections.abc import Iterator
from pathlib import Path

import pytest
from init import driver

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session", autouse=True)
def _built(tmp_path_factory: pytest.TempPathFactory) -> None:
    if os.geteuid():
        pytest.exit("the tests of kaa-init need root: namespaces, mounts, owners")
    build = runpy.run_path(str(ROOT / "src/kaa/init/build.py"))["build"]
    driver.BINARY = build(os.environ.get("CC", "cc"), tmp_path_factory.mktemp("kaa-init"))


@pytest.fixture
def init() -> Iterator[driver.Init]:
    """A fresh kaa-init."""
    with driver.started() as running:
        yield running
