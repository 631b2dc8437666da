"""Fixtures of the rootless tests."""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from kit.container import Container

from . import ordinary


@pytest.fixture(scope="module")
def known_user(corner_of_the_machine: None) -> Iterator[None]:
    """The machine knows the user. For the whole module: it is there before the tests look."""
    directory = Path(tempfile.mkdtemp(prefix="kt-etc-", dir="/tmp"))
    covers = ordinary.Covers(directory)
    yield
    covers.close()
    shutil.rmtree(directory)


@pytest.fixture
def user(known_user: None, tmp: Path) -> ordinary.UserRuntime:
    """The runtime as an ordinary user calls it."""
    tmp.chmod(0o755)
    return ordinary.UserRuntime(ordinary.own(tmp / "xdg"))


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
