"""Many containers, and many commands, at once."""

import subprocess
import threading
from collections.abc import Callable

import pytest
from kit.container import Container
from kit.runtime import Runtime


def test_ten_containers_from_ten_threads(new_container: Callable[..., Container]) -> None:
    containers = [new_container("sleep 1000") for _ in range(10)]
    failures: list[BaseException] = []

    def life(container: Container) -> None:
        try:
            container.up()
            assert container.status == "running"
            container.stop()
            container.delete().ok()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=life, args=[container]) for container in containers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures, failures


def test_ten_containers_from_ten_shell_jobs(
    new_container: Callable[..., Container], runtime: Runtime
) -> None:
    containers = [new_container(f"echo {number}") for number in range(10)]
    lines = []
    for container in containers:
        container.write()
        command = runtime.argv("run", "--bundle", container.bundle, container.id)
        lines.append(f"{subprocess.list2cmdline(command)} || echo failed &")
    shell = subprocess.run(
        ["sh", "-c", "\n".join([*lines, "wait"])],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert sorted(shell.stdout.split()) == sorted(map(str, range(10))), shell.stderr


@pytest.mark.kaa_only("runc 1.1 has no lock: two may lose what one made")
def test_one_id_is_won_once(container: Container) -> None:
    """Eight creates of one id: one succeeds, the others say that it is taken."""
    container.process["args"] = ["sleep", "1000"]
    container.write()
    call = ["create", "--bundle", container.bundle, container.id]
    results = container.runtime.together([call] * 8)
    codes = [result.code for result in results]
    assert codes.count(0) == 1, codes
    for result in results:
        if result.code:
            result.failed("already exists")
    container.start().ok()
    assert container.status == "running"


@pytest.mark.kaa_only("the other starts of runc 1.1 wait for ever")
def test_a_container_is_started_once(container: Container) -> None:
    container.script("echo x >> /starts; sleep 1000")
    container.create().ok()
    results = container.runtime.together([["start", container.id]] * 6)
    codes = [result.code for result in results]
    assert codes.count(0) == 1, codes
    assert container.exec("cat", "/starts").ok().out == "x\n"


def test_readers_never_see_half_a_state(container: Container) -> None:
    """state and list while another thread creates and deletes: an answer or 'does not exist'."""
    stop = threading.Event()
    odd: list[str] = []

    def read() -> None:
        while not stop.is_set():
            result = container.runtime("state", container.id)
            if result.code != 0 and "does not exist" not in result.err:
                odd.append(str(result))
            listed = container.runtime("list")
            if listed.code != 0 and container.runtime.root.exists():
                odd.append(str(listed))

    reader = threading.Thread(target=read)
    container.runtime.root.mkdir(exist_ok=True)
    reader.start()
    try:
        for _ in range(8):
            container.create().ok()
            container.delete().ok()
    finally:
        stop.set()
        reader.join()
    assert not odd, odd[0]
