"""Real software in real roots: Debian, and a redis from a document of 2016."""

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from kit import rootfs
from kit.container import Container, wait_for
from kit.terminal import Session

REDIS = Path(__file__).parents[1] / "data/redis-0.4.0/config.json"


@pytest.fixture
def debian_container(new_container: Callable[..., Container], debian_root: Path) -> Container:
    found = new_container(root=debian_root)
    found.process["env"].append("LANG=C.UTF-8")
    return found


def bash(container: Container, text: str) -> str:
    container.process["args"] = ["bash", "-c", text]
    return container.run().ok().out


def test_apt(debian_container: Container) -> None:
    debian_container.process["args"] = ["apt-get", "--version"]
    assert debian_container.run().ok().out.startswith("apt 2.")


def test_pipelines(debian_container: Container) -> None:
    out = bash(
        debian_container,
        "seq 1 1000 | grep 7 | sort -rn | head -n 3; "
        "cat <(echo substitution) | tr a-z A-Z; diff <(echo a) <(echo b) | wc -l; "
        "false | true; echo ${PIPESTATUS[0]}; getent passwd root | cut -d: -f1",
    )
    assert out.split() == ["997", "987", "979", "SUBSTITUTION", "4", "1", "root"]


def test_a_python_program(debian_container: Container) -> None:
    program = (
        "import os, sys, socket, tempfile, threading; "
        "t = [threading.Thread(target=os.getpid) for _ in range(5)]; "
        "[x.start() for x in t]; [x.join() for x in t]; "
        "s = socket.socketpair(); s[0].send(b'hello'); print(s[1].recv(5).decode()); "
        "open(tempfile.mkstemp()[1], 'w').write('x'); "
        "pid = os.fork(); pid or os._exit(7); print(os.waitpid(pid, 0)[1] >> 8); "
        "print(os.getpid(), socket.gethostname(), len(os.listdir('/proc/self/fd')))"
    )
    debian_container.process["args"] = ["python3", "-c", program]
    assert debian_container.run().ok().out.split() == ["hello", "7", "1", "kaa-test", "7"]


def test_dpkg_works_on_the_root(debian_container: Container) -> None:
    debian_container.process["capabilities"] = {
        kind: ["CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_SETUID", "CAP_SETGID"]
        for kind in ("bounding", "effective", "permitted")
    }
    out = bash(debian_container, "dpkg --list | grep -c ^ii; useradd -m someone; id -u someone")
    installed, uid = out.split()
    assert int(installed) > 60
    assert uid == "1000"


def test_ps_sees_only_the_container(debian_container: Container) -> None:
    lines = bash(debian_container, "ps -e -o pid=,comm=; true").splitlines()
    assert lines[0].split() == ["1", "bash"]
    assert len(lines) <= 3


def test_an_interactive_bash(debian_container: Container) -> None:
    debian_container.process["terminal"] = True
    debian_container.process["args"] = ["bash", "--norc", "-i"]
    debian_container.process["env"] += ["PS1=READY: ", "INPUTRC=/dev/null"]
    debian_container.write()
    argv = debian_container.runtime.argv(
        "run", "--bundle", debian_container.bundle, debian_container.id
    )
    terminal = Session(argv, 28, 111)
    try:
        terminal.expect("READY: ")
        terminal.line("bind 'set enable-bracketed-paste off'; tty; stty size")
        terminal.expect(r"/dev/(pts/0|console)\r+\n28 111\r+\n")
        terminal.line("sleep 300 & jobs; sleep 301")
        terminal.expect(r"\[1\]\+? +Running +sleep 300")
        wait_for(
            lambda: "sleep 301" in debian_container.runtime("ps", debian_container.id).out,
            "the foreground job",
        )
        terminal.type("\x03")
        terminal.line("echo alive $((6 * 7))")
        terminal.expect("alive 42")
        terminal.line("sleep 302")
        wait_for(
            lambda: "sleep 302" in debian_container.runtime("ps", debian_container.id).out,
            "the foreground job",
        )
        terminal.type("\x1a")
        terminal.expect(r"\[2\]\+ +Stopped +sleep 302")
        terminal.line("bg; kill %1 %2; wait; exit 3")
        assert terminal.wait() == 3
        assert terminal.restored
    finally:
        terminal.close()


def redis_cli(*words: str) -> str:
    """redis over the host's loopback: the container has no network namespace of its own."""
    return subprocess.run(
        ["redis-cli", "-h", "127.0.0.1", *words], capture_output=True, text=True, check=False
    ).stdout.strip()


@pytest.fixture
def redis(new_container: Callable[..., Container], debian: Path, tmp: Path) -> Iterator[Container]:
    """The document as it stands, its "rootfs" a Debian with redis-server."""
    bundle = tmp / "redis"
    overlay = rootfs.Overlay(debian, tmp / "layers", bundle / "rootfs")
    found = new_container(root=overlay.root)
    found.bundle = bundle
    found.config = json.loads(REDIS.read_text())
    yield found
    found.delete("--force")
    overlay.close()


def test_redis_from_a_document_of_2016(redis: Container) -> None:
    """0.4.0: capabilities are a list, the root is read-only, the process wants a terminal."""
    if not redis.runtime.is_kaa:  # runc 1.1 does not read this form
        names = redis.process["capabilities"]
        redis.process["capabilities"] = {"bounding": names, "permitted": names}
    redis.write()
    terminal = Session(redis.runtime.argv("run", "--bundle", redis.bundle, redis.id))
    try:
        terminal.expect("Ready to accept connections")
        assert redis_cli("PING") == "PONG"
        assert redis_cli("SET", "kaa", "the answer") == "OK"
        assert redis_cli("GET", "kaa") == "the answer"
        assert redis.exec("redis-cli", "GET", "kaa").ok().out == "the answer\n"
        assert "process_id:1\n" in redis_cli("INFO", "server").replace("\r", "")
        redis.kill("TERM").ok()
        terminal.expect("Read-only file system")  # it cannot save, and so goes on
        redis_cli("SHUTDOWN", "NOSAVE")
        assert terminal.wait() == 0
    finally:
        terminal.close()
