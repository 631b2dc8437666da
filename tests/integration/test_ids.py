"""Container ids: what is an id, and what is an attack."""

import json
from collections.abc import Callable

import pytest
from kit.container import Container
from kit.runtime import Runtime

BAD = [
    "",
    ".",
    "..",
    "../x",
    "x/../../y",
    "/etc",
    "a/b",
    "a b",
    "a\nb",
    "ä",
    "a:b",
    "a*",
    "%s",
    "$(id)",
]
COMMANDS = ("state", "start", "kill", "delete", "pause", "resume", "ps")


@pytest.mark.parametrize("id", BAD)
def test_create_refuses(container: Container, id: str, nothing_is_left: Callable[[], None]) -> None:
    container.write()
    for command in ("create", "run"):
        result = container.runtime(command, "--bundle", container.bundle, id)
        result.failed("container id", "container ID", code=1)
    nothing_is_left()


@pytest.mark.parametrize("id", BAD)
def test_every_command_refuses(runtime: Runtime, id: str) -> None:
    for command in COMMANDS:
        runtime(command, id).failed("container id", "does not exist", code=1)
    runtime("exec", id, "true").failed("container id", "does not exist")


def test_an_id_never_leads_out_of_the_state_directory(container: Container) -> None:
    container.sleeping()
    inner = container.runtime.root / "inner"
    inner.mkdir()
    other = Runtime(inner)
    for command in (["state"], ["kill"], ["delete", "--force"]):
        result = other(*command, f"../{container.id}")
        assert "running" not in result.out
    assert container.status == "running"


def test_a_very_long_id(container: Container, nothing_is_left: Callable[[], None]) -> None:
    container.write()
    container.runtime("run", "--bundle", container.bundle, "x" * 5000).failed(code=1)
    nothing_is_left()


@pytest.mark.parametrize("suffix", ["_.+-", ".hidden", "A9", "x" * 60])
def test_every_legal_character(container: Container, suffix: str) -> None:
    container.id += suffix
    container.create().ok()
    assert container.state()["id"] == container.id
    container.delete().ok()


@pytest.mark.parametrize("command", COMMANDS)
def test_an_unknown_id(runtime: Runtime, command: str) -> None:
    runtime(command, "nobody").failed("does not exist", code=1)


def test_delete_force_of_an_unknown_id_is_silent(runtime: Runtime) -> None:
    result = runtime("delete", "--force", "nobody").ok()
    assert (result.out, result.err) == ("", "")


def test_a_broken_container_does_not_spoil_the_list(
    new_container: Callable[..., Container], runtime: Runtime
) -> None:
    good = new_container()
    good.create().ok()
    (runtime.root / "broken").mkdir()
    (runtime.root / "broken/state.json").write_text("{")
    shown = runtime("list", "--format", "json").ok()
    assert good.id in {entry["id"] for entry in json.loads(shown.out)}


@pytest.mark.kaa_only("runc 1.1 cannot delete what it cannot read")
def test_a_broken_container_can_be_deleted(runtime: Runtime) -> None:
    (runtime.root / "broken").mkdir(parents=True)
    (runtime.root / "broken/state.json").write_text("{")
    runtime("delete", "--force", "broken").ok()
    assert not (runtime.root / "broken").exists()


@pytest.mark.parametrize("signal", ["FOO", "SIGFOO", "1.5", "0x9", "-", "SIG", "9 "])
def test_a_bad_signal(container: Container, signal: str) -> None:
    container.sleeping()
    container.runtime("kill", container.id, "--", signal).failed("signal", code=1)
    assert container.status == "running"


def test_usage_errors(runtime: Runtime) -> None:
    runtime("state").failed()
    runtime("create", "one", "two", "three").failed()
    runtime("state", "--no-such-flag", "x").failed("no-such-flag")
    runtime("no-such-command").failed()


def test_a_json_log_of_the_error(runtime: Runtime) -> None:
    log = runtime.root.parent / "log"
    runtime("--log", log, "--log-format", "json", "state", "nobody").failed("does not exist")
    entry = json.loads(log.read_text().splitlines()[-1])
    assert entry["level"] == "error"
    assert "does not exist" in entry["msg"]
    assert entry["time"]
