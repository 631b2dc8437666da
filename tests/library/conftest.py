"""Fixtures of the library's tests: real containers, made in pytest's own process."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from kit import hostns, leftovers, rootfs
from kit.container import CGROUPS

import kaa

HERE = Path(__file__).parent


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> None:
    """Go to a corner of the machine: see tests/integration/conftest.py."""
    ours = any(HERE in item.path.parents for item in session.items)
    if ours and os.geteuid() == 0 and not session.config.option.collectonly:
        hostns.enter()


def made_up_cgroups() -> set[str]:
    """The cgroups of the containers of this process whose ids kaa made up."""
    return {str(path) for path in CGROUPS.glob(f"*/kaa-{os.getpid()}-*")}


@pytest.fixture(scope="session")
def image(needs_root: None) -> Iterator[Path]:
    """A busybox root for all tests; they get it as a lower layer, or read-only."""
    path = Path(tempfile.mkdtemp(prefix=leftovers.MARK, dir="/tmp"))
    path.chmod(0o711)
    yield rootfs.busybox(path / "image")
    shutil.rmtree(path)


@pytest.fixture(scope="session")
def needs_root() -> None:
    if os.geteuid() != 0:
        pytest.skip("real containers need root")


@pytest.fixture(scope="session")
def warmed_up(image: Path) -> None:
    """What a process keeps after its first container (kaa-init in a memfd) is there already."""
    with tempfile.TemporaryDirectory(dir="/tmp", prefix=leftovers.MARK) as directory:
        kaa.run(["true"], rootfs=image, runtime=kaa.Runtime(directory))


@pytest.fixture
def nothing_is_left(warmed_up: None) -> Iterator[Callable[[], None]]:
    """Fails the test that leaves something on the host; its value checks at once."""
    before = leftovers.Snapshot()

    def check() -> None:
        left = leftovers.since(before)
        assert not left, "left behind:\n" + "\n".join(left)
        assert not made_up_cgroups()

    yield check
    try:
        check()
    finally:
        leftovers.sweep(before)


@pytest.fixture
def tmp(nothing_is_left: object) -> Iterator[Path]:
    """A directory of the test's own, gone afterwards."""
    path = Path(tempfile.mkdtemp(prefix=leftovers.MARK, dir="/tmp"))
    path.chmod(0o711)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def runtime(tmp: Path) -> Iterator[kaa.Runtime]:
    """A runtime with a root of its own, in which no container and no lock may stay."""
    found = kaa.Runtime(tmp / "state")
    yield found
    for container in found.list():
        container.delete(force=True)
        pytest.fail(f"{container} was left")
    locks = tmp / "state/.locks"
    assert not locks.exists() or not list(locks.iterdir())


@pytest.fixture
def config(image: Path) -> kaa.Config:
    """A container that sleeps, on the image, which is read-only."""
    found = kaa.Config()
    found.rootfs = image
    found.args = ["sleep", "1000"]
    return found


@pytest.fixture
def new_id(tmp: Path) -> Callable[[], str]:
    """Ids that nobody else has."""
    count = 0

    def make() -> str:
        nonlocal count
        count += 1
        return f"{tmp.name}-{count}"

    return make
