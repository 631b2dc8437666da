"""The words and exit codes that clients match (docs/conformance.md, "Words and exit codes")."""

import json
import re

import pytest
from conformance.containers.texts import CASES, ID, Case
from kit.container import Container
from kit.runtime import Runtime

RFC3339 = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)"
NEWER = "these words came after runc 1.1"


def bring(container: Container, state: str) -> None:
    """Have the container in that state; "missing" is one that never was."""
    container.write()
    if state == "missing":
        return
    if state == "created":
        container.create().ok()
        return
    container.sleeping()
    if state == "paused":
        container.runtime("pause", container.id).ok()
    elif state == "stopped":
        container.stop()


@pytest.mark.kaa_only(NEWER)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_words_and_exit_codes(container: Container, case: Case) -> None:
    bring(container, case.state)
    words = [word.replace(ID, container.id) for word in case.line.split(" ")]
    result = container.runtime(*words, cwd=container.bundle)
    assert result.code == case.code, str(result)
    expected = case.words.replace(ID, container.id)
    if expected:
        found = re.search(r'level=error msg=(?:"((?:[^"\\]|\\.)*)"|(\S+))$', result.err.strip())
        assert found, str(result)
        message = (found[1] or found[2]).replace('\\"', '"')
        assert message.endswith(expected), str(result)
        assert result.err.count("\n") == 1
    else:
        assert result.err == "", str(result)


@pytest.mark.kaa_only(NEWER)
@pytest.mark.parametrize(
    ("line", "prefix"),
    [("create", "kaa create failed: "), ("run", "kaa run failed: ")],
)
def test_a_program_that_is_not_there(container: Container, line: str, prefix: str) -> None:
    """At create, in the words that engines turn into 127 and 126."""
    for program, words in (
        ("nonsense", 'exec: "nonsense": executable file not found in $PATH'),
        ("/no/such", 'exec: "/no/such": no such file or directory'),
        ("/etc/passwd", 'exec: "/etc/passwd": permission denied'),
        ("/etc", 'exec: "/etc": permission denied'),
    ):
        container.process["args"] = [program]
        container.write()
        result = container.runtime(line, "--bundle", container.bundle, container.id)
        result.failed(code=1)
        said = result.err.replace('\\"', '"')
        assert prefix in said, said
        assert words in said or (program == "/etc" and "is a directory" in said), said


def test_state_of_every_moment(container: Container) -> None:
    container.process["args"] = ["sleep", "1000"]
    container.config["annotations"] = {"a": "b"}
    container.create().ok()
    pid = container.pid
    seen = []
    for step in (None, "start", "pause", "resume"):
        if step:
            container.runtime(step, container.id).ok()
        state = container.state()
        assert state["pid"] == pid
        seen.append(state["status"])
    container.stop()
    state = container.state()
    assert [*seen, state["status"]] == ["created", "running", "paused", "running", "stopped"]
    assert state["pid"] == 0
    assert re.fullmatch(RFC3339, state["created"])
    assert isinstance(state["owner"], str)
    assert {"ociVersion", "id", "bundle", "rootfs", "annotations"} <= set(state)


def test_ps_of_a_stopped_container_is_empty(container: Container) -> None:
    bring(container, "stopped")
    shown = container.runtime("ps", "--format", "json", container.id).ok().out
    assert json.loads(shown) in ([], None)


@pytest.mark.parametrize("form", ["json", "text"])
def test_the_log_has_the_error_and_stderr_too(runtime: Runtime, form: str) -> None:
    log = runtime.root.parent / "log"
    log.write_text("what was there\n")
    result = runtime("--log", log, "--log-format", form, "state", "nobody")
    result.failed("container does not exist", code=1)
    before, line = log.read_text().splitlines()
    assert before == "what was there"
    if form == "json":
        entry = json.loads(line)
        assert entry["level"] == "error"
        assert re.fullmatch(RFC3339, entry["time"])
        assert entry["msg"].endswith("container does not exist")
    else:
        assert re.search(r"level=error .*container does not exist", line)


@pytest.mark.kaa_only("runc 1.1 says nothing")
def test_a_list_when_there_is_no_root(runtime: Runtime) -> None:
    """A root that was named, and is not there, is a mistake; without containers it is not."""
    runtime("list", "--format", "json").failed("no such file", code=1)
    runtime.root.mkdir()
    assert json.loads(runtime("list", "--format", "json").ok().out) in ([], None)
    assert runtime("list", "-q").ok().out == ""


@pytest.mark.parametrize("value", ["--detach=false", "--keep=false", "--no-pivot=false"])
def test_a_flag_that_is_false(container: Container, value: str) -> None:
    assert container.script("echo here").run(value).ok().out == "here\n"


@pytest.mark.kaa_only('runc 1.1 takes "--" for the program')
def test_what_follows_the_commands_first_word_is_the_commands(container: Container) -> None:
    container.sleeping()
    assert container.exec("--", "echo", "-t", "--cwd", "/x").ok().out == "-t --cwd /x\n"
    shown = container.runtime("exec", container.id, "--", "echo", "-d").ok()
    assert shown.out == "-d\n"
