"""kaa.Runtime and kaa.Container: the life of a container, step by step."""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from kit.runtime import Runtime as Command

import kaa

NewId = Callable[[], str]


def until(what: Callable[[], bool], seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "never happened"
        time.sleep(0.01)


def test_a_whole_life(runtime: kaa.Runtime, config: kaa.Config, new_id: NewId) -> None:
    config.args = ["sh", "-c", "echo up; read line; exit $line"]
    id = new_id()
    container = runtime.create(id, config, stdin=kaa.PIPE, stdout=kaa.PIPE, text=True)
    state = container.state()
    assert (state.id, state.status) == (id, "created")
    assert state.rootfs == config.rootfs
    assert state.pid == container.pid > 0
    container.start()
    assert container.stdout and container.stdin
    assert container.stdout.readline() == "up\n"
    assert container.status == "running"
    with pytest.raises(kaa.NotRunning):
        container.start()
    with pytest.raises(kaa.NotRunning):
        container.delete()
    container.stdin.write("5\n")
    container.stdin.close()
    assert container.wait(10) == 5
    assert container.status == "stopped"
    assert container.pid == 0
    with pytest.raises(kaa.NotRunning):
        container.kill()
    container.delete()
    container.stdout.close()
    with pytest.raises(kaa.ContainerNotFound):
        container.state()
    assert container.wait() == 5


def test_an_id_is_taken(runtime: kaa.Runtime, config: kaa.Config, new_id: NewId) -> None:
    with runtime.create(new_id(), config) as container:
        with pytest.raises(kaa.ContainerExists):
            runtime.create(container.id, config)
        with pytest.raises(kaa.ContainerExists):
            kaa.run(["true"], config=config, id=container.id, runtime=runtime)
        assert container.status == "created"


def test_a_block_removes_what_runs(runtime: kaa.Runtime, config: kaa.Config, new_id: NewId) -> None:
    with runtime.create(new_id(), config) as container:
        container.start()
        pid = container.pid
    assert container.wait() == -signal.SIGKILL
    assert not os.path.exists(f"/proc/{pid}")
    assert runtime.list() == []


def test_load_and_list(runtime: kaa.Runtime, config: kaa.Config, new_id: NewId) -> None:
    with pytest.raises(kaa.ContainerNotFound):
        runtime.load("nobody")
    with runtime.create(new_id(), config) as one, runtime.create(new_id(), config) as two:
        assert [found.id for found in runtime.list()] == sorted([one.id, two.id])
        same = runtime.load(one.id)
        one.start()
        assert same.status == "running"
        same.kill("KILL")
        assert same.wait(10) == one.wait(10) == -9


def test_containers_of_the_command_line(
    runtime: kaa.Runtime, config: kaa.Config, new_id: NewId, tmp: Path
) -> None:
    """One root, two ways in; the exit status belongs to the parent."""
    command = Command(Path(runtime.root))
    bundle = tmp / "bundle"
    bundle.mkdir()
    config.save(bundle)
    id = new_id()
    command("create", "--bundle", bundle, id).ok()
    container = runtime.load(id)
    container.start()
    assert container.exec(["echo", "in"], stdout=kaa.PIPE).stdout == b"in\n"
    assert container.poll() is None
    container.kill(signal.SIGKILL)
    assert container.wait(10) is None
    container.delete()
    with runtime.create(new_id(), config) as ours:
        assert ours.id in command("list", "-q").ok().out.split()
        command("start", ours.id).ok()
        command("kill", ours.id, "KILL").ok()
        assert ours.wait(10) == -9


def test_exec(runtime: kaa.Runtime, config: kaa.Config, new_id: NewId) -> None:
    with runtime.create(new_id(), config) as container:
        container.start()
        done = container.exec(
            ["sh", "-c", "cat; id -u; pwd; echo $COLOUR; echo no >&2; exit 4"],
            input="fed\n",
            capture_output=True,
            user=1000,
            cwd="/tmp",
            env={"COLOUR": "green"},
        )
        assert done.returncode == 4
        assert done.stdout == "fed\n1000\n/tmp\ngreen\n"
        assert done.stderr == "no\n"
        with pytest.raises(kaa.ContainerFailed):
            container.exec(["false"], check=True)
        with pytest.raises(kaa.SyscallError, match="executable file not found"):
            container.exec(["no-such-program"])
        with pytest.raises(kaa.TimeoutExpired):
            container.exec(["sleep", "100"], timeout=0.3)
        with container.popen(["cat"], stdin=kaa.PIPE, stdout=kaa.PIPE) as process:
            assert process.pid in container.processes()
            assert process.communicate(b"x") == (b"x", None)
        whole = {"args": ["id", "-g"], "cwd": "/", "user": {"uid": 5, "gid": 6}}
        process_env = {**whole, "env": ["PATH=/bin"]}
        assert container.exec(process=process_env, stdout=kaa.PIPE).stdout == b"6\n"
        until(lambda: len(container.processes()) == 1)
    with pytest.raises(kaa.ContainerNotFound):
        container.exec(["true"])


def test_exec_in_a_stopped_container(
    runtime: kaa.Runtime, config: kaa.Config, new_id: NewId
) -> None:
    with runtime.create(new_id(), config) as container:
        container.start()
        container.kill("KILL")
        container.wait()
        with pytest.raises(kaa.NotRunning):
            container.exec(["true"])


def test_pause_and_resume(runtime: kaa.Runtime, config: kaa.Config, new_id: NewId) -> None:
    config.args = ["sh", "-c", "while echo tick; do sleep 0.05; done"]
    with runtime.create(new_id(), config, stdout=kaa.PIPE) as container:
        container.start()
        assert container.stdout
        container.stdout.read(5)
        container.pause()
        assert container.status == "paused"
        with pytest.raises(kaa.NotRunning):
            container.exec(["true"])
        container.resume()
        assert container.status == "running"
        with pytest.raises(kaa.NotRunning):
            container.resume()
        container.pause()
        # deleting it must end what is frozen


def test_update_and_stats(runtime: kaa.Runtime, config: kaa.Config, new_id: NewId) -> None:
    config.set_limits(memory="64M", pids=20, cpus=0.5)
    with runtime.create(new_id(), config) as container:
        container.start()
        stats = container.stats()
        assert stats.memory_limit == 64 << 20
        assert stats.pids_limit == 20
        assert stats.pids == 1
        assert 0 < stats.memory <= stats.memory_peak <= 64 << 20
        assert stats.cpu_s > 0
        container.update(memory="128M", pids=30)
        stats = container.stats()
        assert (stats.memory_limit, stats.pids_limit) == (128 << 20, 30)
        assert container.config.resources["cpu"]["quota"] == 50_000
        with pytest.raises(kaa.ConfigError) as raised:
            container.update(resources={"pids": {"limit": "many"}})
        assert raised.value.pointer == "/pids/limit"
        assert container.stats().pids_limit == 30


def test_a_terminal(runtime: kaa.Runtime, config: kaa.Config, new_id: NewId) -> None:
    config.args = ["sh", "-c", "tty; stty size"]
    config.terminal = True
    config.document["process"]["consoleSize"] = {"height": 30, "width": 90}
    with runtime.create(new_id(), config) as container:
        master = container.take_terminal()
        container.start()
        assert container.wait(10) == 0
        said = b""
        try:
            while chunk := os.read(master, 1000):
                said += chunk
        except OSError:
            pass  # EIO: nobody holds the other end
        finally:
            os.close(master)
        assert said.split() == [b"/dev/pts/0", b"30", b"90"]


def test_create_fails_and_leaves_nothing(
    runtime: kaa.Runtime, config: kaa.Config, new_id: NewId
) -> None:
    config.add_hook("createRuntime", "/bin/sh", "-c", "echo refused; exit 3")
    with pytest.raises(kaa.HookError, match="refused"):
        runtime.create(new_id(), config)
    assert runtime.list() == []


def test_hooks_and_annotations(
    runtime: kaa.Runtime, config: kaa.Config, new_id: NewId, tmp: Path
) -> None:
    config.annotations["org.example.colour"] = "green"
    config.add_hook("poststop", "/bin/sh", "-c", f"cat > {tmp}/said", timeout=10)
    with runtime.create(new_id(), config) as container:
        assert container.state().annotations == {"org.example.colour": "green"}
    assert '"green"' in (tmp / "said").read_text()


def test_a_user_namespace(runtime: kaa.Runtime, config: kaa.Config, new_id: NewId) -> None:
    config.map_ids(0, 200000, 65536)
    with runtime.create(new_id(), config) as container:
        container.start()
        assert os.stat(f"/proc/{container.pid}").st_uid == 200000
        assert container.exec(["id", "-u"], stdout=kaa.PIPE).stdout == b"0\n"


def test_many_threads_at_one_container(
    runtime: kaa.Runtime, config: kaa.Config, new_id: NewId
) -> None:
    """Whoever comes too late is told so; nobody hangs, and the status is everybody's."""
    with runtime.create(new_id(), config) as container:
        container.start()
        statuses: list[int | None] = []
        waiting = [
            threading.Thread(target=lambda: statuses.append(container.wait(20))) for _ in range(4)
        ]
        execs = [
            threading.Thread(
                target=lambda: statuses.append(container.exec(["true"]).returncode - 9)
            )
            for _ in range(4)
        ]
        for thread in (*waiting, *execs):
            thread.start()
        for thread in execs:
            thread.join()
        container.kill("KILL")
        for thread in waiting:
            thread.join()
        assert statuses == [-9] * 8


def test_whoever_kills_our_init(runtime: kaa.Runtime, config: kaa.Config, new_id: NewId) -> None:
    with runtime.create(new_id(), config) as container:
        container.start()
        subprocess.run(["kill", "-9", str(container.pid)], check=True)
        assert container.wait(10) == -9
        container.delete()
        assert container.wait() == -9
