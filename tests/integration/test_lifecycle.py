"""create, start, state, kill, delete, list: what each does and in which order it may be done."""

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from kit import processes
from kit.container import Container, cgroup_of, wait_for
from kit.runtime import Runtime


def test_run_returns_output_and_exit_code(container: Container) -> None:
    result = container.script("echo out; echo err >&2; exit 3").run()
    assert (result.code, result.out, result.err) == (3, "out\n", "err\n")


@pytest.mark.parametrize("code", [0, 1, 126, 127, 255])
def test_run_passes_the_exit_code_on(container: Container, code: int) -> None:
    assert container.script(f"exit {code}").run().code == code


def test_run_says_128_plus_the_signal(container: Container) -> None:
    assert container.script("sh -c 'kill -9 $$'; exit $?").run().code == 137
    # The first process itself, killed from outside (pid 1 cannot kill itself):
    container.script("echo up; sleep 1000").write()
    running = container.runtime.popen(
        "run", "--bundle", container.bundle, container.id, stdout=subprocess.PIPE
    )
    with running:
        assert running.stdout is not None
        assert running.stdout.readline() == b"up\n"
        container.kill("KILL").ok()
        assert running.wait(10) == 128 + 9


def test_run_leaves_nothing(container: Container, nothing_is_left: Callable[[], None]) -> None:
    container.run().ok()
    nothing_is_left()
    assert not (container.runtime.root / container.id).exists()


def test_stdin_reaches_the_process(container: Container) -> None:
    assert container.script("cat; echo end").run(stdin="typed\n").ok().out == "typed\nend\n"


def test_the_phases_of_a_container(container: Container) -> None:
    container.script("echo started > /started; sleep 1000")
    container.create().ok()
    state = container.state()
    assert state["status"] == "created"
    assert state["id"] == container.id
    assert state["bundle"] == str(container.bundle)
    assert Path(f"/proc/{state['pid']}").exists()
    assert not (container.rootfs / "started").exists()

    container.start().ok()
    assert container.status == "running"
    assert container.pid == state["pid"]
    wait_for((container.rootfs / "started").exists, "the process to write")

    container.kill("TERM").ok()
    container.kill("KILL").ok()
    container.wait("stopped")
    assert container.state()["pid"] == 0
    container.delete().ok()
    container.runtime("state", container.id).failed("does not exist", code=1)


def test_state_has_what_engines_read(container: Container) -> None:
    container.config["annotations"] = {"org.example.key": "value"}
    container.create().ok()
    state = container.state()
    assert re.fullmatch(r"\d+\.\d+\.\d+.*", state["ociVersion"])
    assert state["annotations"] == {"org.example.key": "value"}
    assert state["rootfs"] == str(container.rootfs)
    # RFC 3339, and close to now
    created = state["created"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", created)
    assert state["owner"] == ""


def test_a_process_that_ends_by_itself_is_stopped(container: Container) -> None:
    container.up()
    container.wait("stopped")
    container.start().failed("stopped", code=1)
    container.delete().ok()


def test_start_twice(container: Container) -> None:
    container.sleeping()
    container.start().failed("cannot start an already running container", code=1)
    assert container.status == "running"


def test_delete_of_a_running_container_needs_force(container: Container) -> None:
    container.sleeping()
    container.delete().failed("not stopped", code=1)
    assert container.status == "running"
    pid = container.pid
    container.delete("--force").ok()
    wait_for(lambda: processes.gone(pid), "the process to end")
    container.runtime("state", container.id).failed("does not exist")


def test_delete_of_a_created_container(
    container: Container, nothing_is_left: Callable[[], None]
) -> None:
    container.create().ok()
    container.delete().ok()
    nothing_is_left()


def test_delete_removes_cgroups_that_the_container_made(container: Container) -> None:
    container.sleeping()
    group = cgroup_of(container.pid, "pids")
    (group / "below").mkdir()
    (group / "below/deeper").mkdir()
    container.delete("--force").ok()
    assert not group.exists()


def test_create_twice(container: Container) -> None:
    container.create().ok()
    pid = container.pid
    container.create().failed("container with given ID already exists", code=1)
    assert (container.status, container.pid) == ("created", pid)


def test_an_id_is_free_again_after_delete(container: Container) -> None:
    for _ in range(2):
        container.create().ok()
        container.delete().ok()


def test_kill_sends_the_named_signal(container: Container) -> None:
    container.script(
        'trap "echo USR1 >> /got" USR1; trap "echo TERM >> /got; exit" TERM; '
        "echo ready > /got; while :; do sleep 0.05; done"
    ).up()
    got = container.rootfs / "got"
    wait_for(lambda: got.exists() and "ready" in got.read_text(), "the traps")
    for name in ("USR1", "SIGUSR1", "usr1", "10"):
        before = got.read_text()
        container.kill(name).ok()
        wait_for(lambda was=before: got.read_text() != was, f"signal {name}")  # type: ignore[misc]
    container.kill().ok()  # SIGTERM when none is named
    container.wait("stopped")
    assert got.read_text().split() == ["ready", *["USR1"] * 4, "TERM"]
    container.kill("KILL").failed("container not running", code=1)


def test_kill_zero_only_asks(container: Container) -> None:
    container.sleeping()
    container.kill(0).ok()
    assert container.status == "running"


def test_kill_of_a_created_container(container: Container) -> None:
    container.create().ok()
    container.kill("TERM").ok()
    container.wait("stopped")


def test_kill_kills_everything_without_a_pid_namespace(container: Container) -> None:
    linux = container.linux
    linux["namespaces"] = [entry for entry in linux["namespaces"] if entry["type"] != "pid"]
    container.script("setsid sleep 1000 & setsid sleep 1000 & echo > /up; wait").up()
    wait_for((container.rootfs / "up").exists, "the processes")
    group = container.cgroup("pids")
    wait_for(lambda: len((group / "cgroup.procs").read_text().split()) == 3, "three processes")
    container.kill("KILL").ok()
    container.wait("stopped")
    container.delete().ok()
    assert not group.exists()


def test_ps_lists_the_processes(container: Container) -> None:
    container.script("sleep 1000 & sleep 1000 & wait").up()
    wait_for(lambda: len(_pids(container)) == 3, "three processes")
    assert container.pid in _pids(container)
    table = container.runtime("ps", container.id).ok().out.splitlines()
    assert "PID" in table[0]
    assert len(table) == 4
    narrow = container.runtime("ps", container.id, "-eo", "pid,comm").ok().out.splitlines()
    assert narrow[0].split() == ["PID", "COMMAND"]
    assert len(narrow) == 4


def test_pause_and_resume(container: Container) -> None:
    container.script("while :; do echo >> /ticks; sleep 0.02; done").up()
    ticks = container.rootfs / "ticks"
    wait_for(ticks.exists, "the first tick")
    container.runtime("pause", container.id).ok()
    assert container.status == "paused"
    size = ticks.stat().st_size
    time.sleep(0.2)
    assert ticks.stat().st_size == size
    container.runtime("exec", container.id, "true").failed("paused")
    container.runtime("resume", container.id).ok()
    assert container.status == "running"
    wait_for(lambda: ticks.stat().st_size > size, "more ticks")
    container.runtime("resume", container.id).failed("not paused", code=1)


def test_a_paused_container_can_be_killed_and_deleted(container: Container) -> None:
    container.sleeping()
    container.runtime("pause", container.id).ok()
    container.delete("--force").ok()
    container.runtime("state", container.id).failed("does not exist")


def test_list(new_container: Callable[..., Container], runtime: Runtime) -> None:
    one, two = new_container(), new_container()
    one.create().ok()
    two.sleeping()
    shown = json.loads(runtime("list", "--format", "json").ok().out)
    found = {entry["id"]: entry for entry in shown}
    assert {id: entry["status"] for id, entry in found.items()} == {
        one.id: "created",
        two.id: "running",
    }
    assert found[two.id]["pid"] == two.pid
    assert found[one.id]["bundle"] == str(one.bundle)
    assert set(runtime("list", "-q").ok().out.split()) == {one.id, two.id}
    table = runtime("list").ok().out.splitlines()
    assert table[0].split() == ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"]
    assert len(table) == 3
    assert re.search(rf"{re.escape(two.id)}\s+{two.pid}\s+running", "\n".join(table))


def test_pid_file(container: Container) -> None:
    path = container.bundle / "pid"
    container.create("--pid-file", path).ok()
    assert path.read_text() == str(container.pid)


def test_detach(container: Container) -> None:
    container.process["args"] = ["sleep", "1000"]
    path = container.bundle / "pid"
    container.run("--detach", "--pid-file", path).ok()
    assert container.status == "running"
    assert path.read_text() == str(container.pid)


def test_keep(container: Container) -> None:
    assert container.script("exit 7").run("--keep").code == 7
    assert container.status == "stopped"
    container.delete().ok()


def test_run_forwards_signals(container: Container) -> None:
    container.script(
        'trap "echo HUP" HUP; trap "echo TERM; exit 5" TERM; echo ready; '
        "while :; do sleep 0.05; done"
    ).write()
    running = container.runtime.popen(
        "run", "--bundle", container.bundle, container.id, stdout=subprocess.PIPE
    )
    with running:
        assert running.stdout is not None
        assert running.stdout.readline() == b"ready\n"
        running.send_signal(signal.SIGHUP)
        assert running.stdout.readline() == b"HUP\n"
        running.send_signal(signal.SIGTERM)
        assert running.stdout.readline() == b"TERM\n"
        assert running.wait(10) == 5


def test_the_bundle_is_the_current_directory_when_not_said(container: Container) -> None:
    container.script("echo here").write()
    result = container.runtime("run", container.id, cwd=container.bundle).ok()
    assert result.out == "here\n"


def test_the_ids_process_may_be_gone_behind_our_back(container: Container) -> None:
    container.sleeping()
    os.kill(container.pid, signal.SIGKILL)
    container.wait("stopped")
    container.runtime("exec", container.id, "true").failed("stopped")
    container.delete().ok()


def _pids(container: Container) -> list[int]:
    found: list[int] = json.loads(
        container.runtime("ps", "--format", "json", container.id).ok().out
    )
    return found
