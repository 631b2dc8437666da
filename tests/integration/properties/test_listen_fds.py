"""LISTEN_FDS and LISTEN_PID: the descriptors of socket activation (sd_listen_fds(3))."""

import os
import socket
import sys
from collections.abc import Iterator

import pytest
from kit import config
from kit.container import Container

# Becomes the runtime, as systemd does it: the pid is the one that execs.
LAUNCHER = """
import os, sys
for number, fd in enumerate(map(int, sys.argv[1].split(","))):
    os.dup2(fd, 3 + number)
if sys.argv[2]:
    os.environ["LISTEN_FDS"] = sys.argv[2]
if sys.argv[3]:
    os.environ["LISTEN_PID"] = sys.argv[3].replace("self", str(os.getpid()))
os.execvp(sys.argv[4], sys.argv[4:])
"""
SHOW = "echo $LISTEN_FDS $LISTEN_PID; ls /proc/self/fd | tr '\\n' ' '"


@pytest.fixture
def sockets() -> Iterator[list[int]]:
    """Two listening sockets, with numbers that nothing else gets."""
    made = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    high = [os.dup2(entry.fileno(), 50 + number) for number, entry in enumerate(made)]
    yield high
    for fd in high:
        os.close(fd)
    for entry in made:
        entry.close()


def run(container: Container, fds: list[int], count: str, pid: str, *options: str) -> list[str]:
    prefix = [sys.executable, "-c", LAUNCHER, ",".join(map(str, fds)), count, pid]
    return container.run(*options, prefix=prefix, pass_fds=fds).ok().out.split("\n")


def test_they_arrive(container: Container, sockets: list[int]) -> None:
    container.script(SHOW)
    words, fds = run(container, sockets, "2", "self")
    assert words == "2 1"
    assert {"3", "4"} <= set(fds.split())


def test_they_are_the_sockets(container: Container, sockets: list[int]) -> None:
    container.script("readlink /proc/self/fd/3")
    inode = os.fstat(sockets[0]).st_ino
    assert run(container, sockets, "2", "self")[0] == f"socket:[{inode}]"


def test_meant_for_another(container: Container, sockets: list[int]) -> None:
    container.script(SHOW)
    words, fds = run(container, sockets, "2", "1")
    assert words == ""
    assert not {"3", "4"} & set(fds.split()) or len(fds.split()) == 4  # ls has one of its own


def test_with_preserved_ones_behind(container: Container, sockets: list[int]) -> None:
    container.script(SHOW)
    words, fds = run(container, sockets, "1", "self", "--preserve-fds", "1")
    assert words == "1 1"
    assert {"3", "4"} <= set(fds.split())


def test_in_a_user_namespace(container: Container, sockets: list[int]) -> None:
    config.add_user_namespace(container.config)
    os.chown(container.rootfs, 200000, 200000)
    container.script(SHOW)
    assert run(container, sockets, "2", "self")[0] == "2 1"


@pytest.mark.kaa_only("runc 1.1 takes what atoi makes of it")
@pytest.mark.parametrize("count", ["-1", "x", "2x", ""])
def test_no_number(container: Container, sockets: list[int], count: str) -> None:
    container.script("echo ${LISTEN_FDS-none}")
    assert run(container, sockets, count, "self")[0] == "none"


@pytest.mark.kaa_only("runc 1.1 does not look")
def test_more_than_there_are(container: Container, sockets: list[int]) -> None:
    prefix = [sys.executable, "-c", LAUNCHER, ",".join(map(str, sockets)), "9", "self"]
    container.script("true").run(prefix=prefix, pass_fds=sockets).failed("fd", code=1)
