"""Fixtures of the rootless tests."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from kit.container import Container

from . import ordinary


@pytest.fixture
def user(tmp: Path) -> Iterator[ordinary.UserRuntime]:
    """The runtime as an ordinary user calls it."""
    tmp.chmod(0o755)
    covers = ordinary.Covers(tmp / "etc")
    yield ordinary.UserRuntime(ordinary.own(tmp / "xdg"))
    covers.close()


@pytest.fixture
def new_rootless(user: ordinary.UserRuntime, tmp: Path) -> Iterator[Callable[[], Container]]:
    """Makes containers of the user's."""
    made: list[Container] = []

    def make() -> Container:
        number = len(made)
        made.append(ordinary.container(user, tmp / f"user{number}", f"{tmp.name}-u{number}"))
        return made[-1]

    yield make
    for container in reversed(made):
        container.close()


@pytest.fixture
def rootless(new_rootless: Callable[[], Container]) -> Container:
    """One container of the user's, with one id."""
    return new_rootless()
