"""Hooks: six kinds, their order, namespaces, input, time limit, and failures."""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kit import config
from kit.container import Container, wait_for

HOST_KINDS = ("prestart", "createRuntime", "poststart", "poststop")
INSIDE_KINDS = ("createContainer", "startContainer")
ORDER = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")

RECORD = """#!/bin/sh
# Appends its kind, the state, its namespaces and cwd to the record.
{
    echo "kind $1"
    echo "state $(tr -d '\\n\\t')"
    echo "mnt $(readlink /proc/self/ns/mnt)"
    echo "net $(readlink /proc/self/ns/net)"
    echo "cwd $(pwd)"
    echo "env $(env | sort | tr '\\n' ' ')"
} >> RECORD.$1
echo "$1" >> RECORD.order
"""


def hook(path: object, *args: str, **more: Any) -> config.Config:
    return {"path": str(path), "args": [os.path.basename(str(path)), *args], **more}


def shell(text: str, **more: Any) -> config.Config:
    return {"path": "/bin/sh", "args": ["sh", "-c", text], **more}


@pytest.fixture
def recorded(container: Container, tmp: Path) -> Callable[[str], dict[str, str]]:
    """Puts a recording hook of each kind into the config; its value reads one's record."""
    shared = tmp / "shared"
    shared.mkdir()
    container.mounts.append(config.bind(shared, str(shared)))
    script = shared / "record"
    script.write_text(RECORD.replace("RECORD", f"{shared}/log"))
    script.chmod(0o755)
    environment = [config.PATH, "OF=hook"]
    container.config["hooks"] = {kind: [hook(script, kind, env=environment)] for kind in ORDER}

    def read(kind: str) -> dict[str, str]:
        lines = (shared / f"log.{kind}").read_text().splitlines()
        return dict(line.partition(" ")[::2] for line in lines)

    return read


def order(container: Container) -> list[str]:
    return (container.bundle.parent / "shared/log.order").read_text().split()


@pytest.mark.kaa_only("runc 1.1 runs poststart at create")
def test_all_kinds_in_order(container: Container, recorded: object) -> None:
    container.process["args"] = ["sleep", "1000"]
    container.create().ok()
    assert order(container) == list(ORDER[:3])
    container.start().ok()
    assert order(container) == list(ORDER[:5])
    container.delete("--force").ok()
    assert order(container) == list(ORDER)


def test_run_runs_them_all(container: Container, recorded: object) -> None:
    container.run().ok()
    assert sorted(order(container)) == sorted(ORDER)


def test_namespaces(container: Container, recorded: Callable[[str], dict[str, str]]) -> None:
    container.sleeping()
    inside = {kind: os.readlink(f"/proc/{container.pid}/ns/{kind}") for kind in ("mnt", "net")}
    outside = {kind: os.readlink(f"/proc/self/ns/{kind}") for kind in ("mnt", "net")}
    container.delete("--force").ok()
    for kind in ORDER:
        record = recorded(kind)
        expected = inside if kind in INSIDE_KINDS else outside
        assert {name: record[name] for name in ("mnt", "net")} == expected, kind


def test_the_state_on_stdin(
    container: Container, recorded: Callable[[str], dict[str, str]]
) -> None:
    container.config["annotations"] = {"a": "b"}
    container.sleeping()
    pid = container.pid
    container.delete("--force").ok()
    statuses = {}
    for kind in ORDER:
        state = json.loads(recorded(kind)["state"])
        assert state["id"] == container.id
        assert state["bundle"] == str(container.bundle)
        assert state["annotations"] == {"a": "b"}
        assert state["ociVersion"]
        if kind in HOST_KINDS and kind != "poststop":
            assert state["pid"] == pid, kind
        statuses[kind] = state["status"]
    assert statuses["prestart"] in ("creating", "created")
    assert statuses["createRuntime"] in ("creating", "created")
    assert statuses["startContainer"] == "created"
    assert statuses["poststart"] in ("running", "created")
    assert statuses["poststop"] == "stopped"


def test_env_is_exactly_the_hooks(
    container: Container, recorded: Callable[[str], dict[str, str]]
) -> None:
    container.run().ok()
    for kind in ORDER:
        shown = recorded(kind)["env"]
        assert "OF=hook" in shown
        assert "CANARY_OF_THE_HOST" not in shown


def test_startcontainer_runs_in_the_containers_root(container: Container) -> None:
    (container.rootfs / "only-here").write_text('#!/bin/sh\necho "$0" > /ran\n')
    (container.rootfs / "only-here").chmod(0o755)
    container.config["hooks"] = {"startContainer": [hook("/only-here", env=[config.PATH])]}
    container.run().ok()
    assert (container.rootfs / "ran").exists()


def test_createcontainer_runs_before_the_root_changes(container: Container, tmp: Path) -> None:
    """Its path is the host's, its mounts are the container's, the root is not yet "/"."""
    container.config["hooks"] = {
        "createContainer": [shell(f"cat /proc/self/mountinfo > {tmp}/seen")]
    }
    container.run().ok()
    assert f"{container.rootfs}/proc" in (tmp / "seen").read_text()


@pytest.mark.parametrize("kind", ORDER[:4])
def test_a_failure_stops_everything(
    container: Container, tmp: Path, kind: str, nothing_is_left: Callable[[], None]
) -> None:
    container.config["hooks"] = {
        kind: [shell("echo the reason >&2; exit 9")],
        "poststop": [shell(f"touch {tmp}/poststop")],
    }
    container.script("echo never")
    result = container.run()
    result.failed("the reason")
    assert "9" in result.err
    assert "hook" in result.err
    assert "never" not in result.out
    container.delete("--force")
    nothing_is_left()


def test_a_failure_of_poststop_is_only_said(
    container: Container, nothing_is_left: Callable[[], None]
) -> None:
    container.config["hooks"] = {"poststop": [shell("exit 1")]}
    container.run()
    container.runtime("state", container.id).failed("does not exist")
    nothing_is_left()


@pytest.mark.parametrize("kind", ["prestart", "createRuntime", "createContainer", "startContainer"])
def test_a_timeout_kills_the_group(
    container: Container, kind: str, nothing_is_left: Callable[[], None]
) -> None:
    # runc 1.1 kills the hook, but not what it started
    text = "sleep 100 & sleep 100" if container.runtime.is_kaa else "exec sleep 100"
    container.config["hooks"] = {kind: [shell(text, env=[config.PATH], timeout=1)]}
    begin = time.monotonic()
    container.run().failed("timeout", "timed out")
    assert 1 <= time.monotonic() - begin < 15
    container.delete("--force")
    nothing_is_left()


def test_a_hook_in_time_is_left_alone(container: Container) -> None:
    container.config["hooks"] = {"prestart": [shell("sleep 0.2", env=[config.PATH], timeout=30)]}
    container.run().ok()


@pytest.mark.parametrize("kind", ["prestart", "createContainer", "startContainer"])
def test_a_missing_hook(
    container: Container, kind: str, nothing_is_left: Callable[[], None]
) -> None:
    container.config["hooks"] = {kind: [{"path": "/no/such/hook"}]}
    container.run().failed("/no/such/hook", "no such file")
    container.delete("--force")
    nothing_is_left()


def test_a_hook_that_does_not_read_its_input(container: Container) -> None:
    container.config["annotations"] = {"long": "x" * 200_000}
    container.config["hooks"] = {
        kind: [shell("exec 0<&-; exit 0")] for kind in ("prestart", "createContainer", "poststop")
    }
    container.run().ok()


def test_a_hook_that_says_much(container: Container) -> None:
    container.config["hooks"] = {
        kind: [shell("seq 1 100000; seq 1 100000 >&2", env=[config.PATH])]
        for kind in ("prestart", "createContainer")
    }
    assert container.script("echo done").run().ok().out == "done\n"


def test_several_hooks_of_a_kind_run_in_order(container: Container, tmp: Path) -> None:
    container.config["hooks"] = {
        "createRuntime": [shell(f"echo {number} >> {tmp}/order") for number in range(4)]
    }
    container.run().ok()
    assert (tmp / "order").read_text().split() == ["0", "1", "2", "3"]


def test_a_failing_hook_stops_the_ones_after_it(container: Container, tmp: Path) -> None:
    container.config["hooks"] = {
        "createRuntime": [shell("exit 1"), shell(f"touch {tmp}/second")],
        "createContainer": [shell(f"touch {tmp}/third")],
    }
    container.run().failed("hook")
    assert not (tmp / "second").exists()
    assert not (tmp / "third").exists()


def test_a_prestart_hook_may_set_up_the_network(container: Container) -> None:
    """What engines use it for: it finds the container's namespaces by the pid on its stdin."""
    container.config["hooks"] = {
        "prestart": [
            shell(
                "pid=$(sed 's/.*\"pid\": *\\([0-9]*\\).*/\\1/;t;d' | head -n 1); "
                "nsenter --net=/proc/$pid/ns/net ip addr add 10.9.8.7/32 dev lo",
                env=[config.PATH],
            )
        ]
    }
    shown = container.script("ip -o addr show lo").run().ok().out
    assert "10.9.8.7/32" in shown


@pytest.mark.kaa_only("runc 1.1 runs poststart at create")
def test_poststart_runs_after_the_process_began(container: Container, tmp: Path) -> None:
    container.script("touch /began; sleep 1000")
    container.config["hooks"] = {
        "poststart": [
            shell(
                f"for i in $(seq 100); do test -e {container.rootfs}/began && touch {tmp}/seen "
                "&& exit; sleep 0.1; done",
                env=[config.PATH],
            )
        ]
    }
    container.up()
    wait_for((tmp / "seen").exists, "the poststart hook")
