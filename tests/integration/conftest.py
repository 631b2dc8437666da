"""Fixtures of the tests that run real containers."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from kit import hostns, leftovers, rootfs
from kit.container import Container
from kit.hostcanary import HostCanary
from kit.runtime import Runtime, command_line, is_kaa


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "kaa_only(reason): beyond what runc 1.1, which validates the tests, can do"
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if os.geteuid() != 0 or all(item.get_closest_marker("kaa_only") is None for item in items):
        return
    if is_kaa():
        return
    for item in items:
        marker = item.get_closest_marker("kaa_only")
        if marker is not None:
            reason = marker.args[0] if marker.args else "not a feature of runc 1.1"
            item.add_marker(pytest.mark.skip(reason=f"{command_line()[0]}: {reason}"))


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> None:
    """Go to a corner of the machine; between tests, because it forks (no timers run now)."""
    here = Path(__file__).parent
    ours = any(here in item.path.parents for item in session.items)
    if ours and os.geteuid() == 0 and not session.config.option.collectonly:
        hostns.enter()


@pytest.fixture(scope="session", autouse=True)
def corner_of_the_machine() -> None:
    """What hostns.enter() makes; without root there is none."""
    if os.geteuid() != 0:
        pytest.skip("real containers need root")


@pytest.fixture(autouse=True)
def nothing_is_left(corner_of_the_machine: None) -> Iterator[Callable[[], None]]:
    """Fails the test that leaves something on the host.

    Its value checks at once, for a test that wants to know before its own
    clean-up (`delete --force`) runs.
    """
    before = leftovers.Snapshot()

    def check() -> None:
        left = leftovers.since(before)
        assert not left, "left behind:\n" + "\n".join(left)

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
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def runtime(tmp: Path) -> Runtime:
    """The runtime under test, with its own --root."""
    return Runtime(tmp / "state")


@pytest.fixture
def new_container(runtime: Runtime, tmp: Path) -> Iterator[Callable[..., Container]]:
    """Makes containers: a bundle each, with a busybox root unless `root` is given."""
    made: list[Container] = []

    def make(script: str | None = None, root: Path | None = None) -> Container:
        number = len(made)
        found = Container(runtime, tmp / f"bundle{number}", f"{tmp.name}-{number}", root)
        made.append(found)
        return found.script(script) if script is not None else found

    yield make
    for container in reversed(made):
        container.close()


@pytest.fixture
def container(new_container: Callable[..., Container]) -> Container:
    """One container, not yet created."""
    return new_container()


@pytest.fixture
def canary(tmp: Path) -> Iterator[HostCanary]:
    """A directory of the host that nothing may touch; checked after the test."""
    found = HostCanary(tmp / "canary")
    yield found
    found.intact()


@pytest.fixture(scope="session")
def debian(corner_of_the_machine: None) -> Path:
    """The cached Debian root (read-only use; see `debian_root`)."""
    return rootfs.debian()


@pytest.fixture
def debian_root(debian: Path, tmp: Path) -> Iterator[Path]:
    """A writable Debian root: an overlay over the cached one."""
    overlay = rootfs.Overlay(debian, tmp / "debian", tmp / "debian/root")
    yield overlay.root
    overlay.close()
