"""The same corner of the machine, and the same fixtures, as the integration tests."""

import os
from pathlib import Path

import pytest
from integration.conftest import (  # noqa: F401 (what is imported here, the tests here can use)
    container,
    corner_of_the_machine,
    new_container,
    nothing_is_left,
    pytest_collection_modifyitems,
    pytest_configure,
    runtime,
    tmp,
)
from kit import hostns


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> None:
    """Go there; between tests, because it forks (no timers run now)."""
    here = Path(__file__).parent
    ours = any(here in item.path.parents for item in session.items)
    if ours and os.geteuid() == 0 and not session.config.option.collectonly:
        hostns.enter()
