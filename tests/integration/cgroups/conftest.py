"""A tiny process to put into cgroups, and cgroups that are gone after the test."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kaa.cgroups import Layout, detect, files, open_cgroup
from kaa.cgroups.base import Cgroup


class Small:
    """The process of small.c."""

    def __init__(self, binary: Path) -> None:
        self.process = subprocess.Popen(
            [binary], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
        )
        self.pid = self.process.pid
        self._answer()

    def _answer(self) -> int:
        assert self.process.stdout
        byte = self.process.stdout.read(1)
        assert byte, f"the process has died: {self.process.wait()}"
        return int(byte[0])

    def order(self, letter: str) -> int:
        """Obey, and answer with 0 or an errno."""
        assert self.process.stdin
        self.process.stdin.write(letter.encode())
        return self._answer()

    def alive(self) -> bool:
        return self.process.poll() is None

    def wait(self, seconds: float = 5) -> int:
        return self.process.wait(seconds)

    def close(self) -> None:
        if self.alive():
            self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe
            pipe.close()


@pytest.fixture(scope="session")
def small_binary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    binary = tmp_path_factory.mktemp("small") / "small"
    source = Path(__file__).with_name("small.c")
    flags = ["-static", "-nostdlib", "-ffreestanding", "-O1", "-Wall", "-Wextra", "-Werror"]
    flags += ["-fno-stack-protector", "-fno-pie", "-no-pie", "-Wl,-z,noseparate-code"]
    subprocess.run(["cc", *flags, "-o", binary, source], check=True)
    return binary


@pytest.fixture
def small(small_binary: Path, tmp: Path) -> Iterator[Small]:
    process = Small(small_binary)
    yield process
    process.close()


@pytest.fixture(scope="session")
def layout() -> Layout:
    """This machine's."""
    return detect()


@pytest.fixture(scope="session")
def v1_layout(layout: Layout) -> Layout:
    if layout.version == "v2":
        pytest.skip("this machine has cgroup v2 only")
    return layout


@pytest.fixture(scope="session")
def v2_layout(layout: Layout) -> Iterator[Layout]:
    """The v2 hierarchy as if it were the only one; on a hybrid machine it has few controllers.

    What the tests enable for the top's children is disabled in the end, unless systemd has
    passed it on meanwhile.
    """
    if layout.unified is None:
        pytest.skip("no cgroup v2 hierarchy is mounted")
    switches = Path(layout.unified.mountpoint, "cgroup.subtree_control")
    before = set(switches.read_text().split())
    yield Layout("v2", [layout.unified], layout.unified)
    if layout.version == "v2":
        return
    for name in set(switches.read_text().split()) - before:
        switches.write_text(f"-{name}")


@pytest.fixture(params=["v1", "v2"])
def any_layout(request: pytest.FixtureRequest) -> Layout:
    found: Layout = request.getfixturevalue(f"{request.param}_layout")
    return found


New = Callable[..., Cgroup]


@pytest.fixture
def new(tmp: Path, layout: Layout) -> Iterator[New]:
    """Opens cgroups below one of the test's name; kills and removes them at the end."""
    opened: list[Cgroup] = []

    def make(layout: Layout, path: str = "", *, create: bool = True) -> Cgroup:
        found = open_cgroup(layout, f"/{tmp.name}{path}", tmp.name, rootless=False)
        if create:
            found.create()
        opened.append(found)
        return found

    yield make
    for cgroup in reversed(opened):
        cgroup.kill_all()
        cgroup.delete()
    for hierarchy in [*layout.hierarchies, *filter(None, [layout.unified])]:
        files.remove(f"{hierarchy.mountpoint}/{tmp.name}")


def until(true: Callable[[], bool], seconds: float = 5) -> None:
    """Wait for something that takes the kernel a moment."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.005)


def state_of(pid: int) -> str:
    """The letter in /proc/PID/stat."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def exists(path: str) -> bool:
    return os.path.isdir(path)
