"""The lines of the log, as engines read them."""

import json
import os
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaa.cli.log import Log, escape

TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"


class Captured:
    """A log whose standard error is a pipe."""

    def __init__(self) -> None:
        self.end, stderr = os.pipe()
        self.log = Log(stderr)
        self.stderr = stderr

    def text(self) -> str:
        os.close(self.stderr)
        with open(self.end, "rb") as file:
            return file.read().decode()


@pytest.fixture
def captured() -> Captured:
    return Captured()


def test_without_a_file_the_line_goes_to_stderr(captured: Captured) -> None:
    captured.log.error('container "x" does not exist\n')
    line = captured.text()
    assert re.fullmatch(
        rf'time="{TIME}" level=error msg="container \\"x\\" does not exist\\n"\n', line
    )


def test_a_bare_word_is_not_quoted(captured: Captured) -> None:
    captured.log.warn("oops")
    assert re.fullmatch(rf'time="{TIME}" level=warning msg=oops\n', captured.text())


def test_json_on_stderr(captured: Captured) -> None:
    captured.log.json = True
    captured.log.error("no", record={"errno": "EPERM"})
    assert json.loads(captured.text())["errno"] == "EPERM"


def test_json_file(tmp_path: Path, captured: Captured) -> None:
    log = captured.log
    path = tmp_path / "log"
    path.write_text("before\n")
    log.json = True
    log.open(str(path))
    log.warn("careful")
    parts = {"error": "KaaError", "msg": "x", "path": "/a\udcff"}
    log.error("it failed: /proc/self \udcff", record=parts)
    log.close()
    before, warning, error = path.read_text().splitlines()
    assert before == "before"
    assert re.fullmatch(rf'\{{"level":"warning","msg":"careful","time":"{TIME}"\}}', warning)
    assert error.startswith('{"level":"error","msg":"it failed: /proc/self ?","time":"')
    assert list(json.loads(error)) == ["level", "msg", "time", "error", "path"]
    assert captured.text() == "it failed: /proc/self \\xff\n"


def test_the_file_is_made_private_to_writers_and_appended(tmp_path: Path) -> None:
    path = tmp_path / "log"
    old = os.umask(0)
    try:
        for _ in range(2):
            log = Log(2)
            log.open(str(path))
            log.warn("x y")
            log.close()
    finally:
        os.umask(old)
    assert path.stat().st_mode & 0o7777 == 0o644
    assert len(path.read_text().splitlines()) == 2


def test_the_levels(captured: Captured) -> None:
    captured.log.debug("one")
    captured.log.set_level("debug")
    captured.log.debug("two")
    captured.log.set_level("error")
    captured.log.warn("three")
    captured.log.error("four")
    assert re.findall(r"msg=(\w+)", captured.text()) == ["two", "four"]


def test_a_full_disk_does_not_matter() -> None:
    log = Log(os.open("/dev/null", os.O_RDONLY))
    log.open("/dev/full")
    log.error("nobody can read this")
    log.close()


@given(st.text(st.characters(), max_size=30), st.booleans())
def test_any_message_is_one_line(text: str, json: bool) -> None:
    captured = Captured()
    captured.log.json = json
    captured.log.error(text, record={"path": text})
    assert captured.text().count("\n") == 1


@given(st.text(max_size=30))
def test_nothing_that_a_terminal_obeys_is_printed(text: str) -> None:
    for shown in (escape(text), escape(text, quoted=True)):
        assert shown.isprintable()
    if '"' not in text and "\\" not in text and text.isprintable():
        assert escape(text, quoted=True) == text


def test_control_characters() -> None:
    assert escape("a\x1b[31m\x00\u202e\udcfe") == "a\\x1b[31m\\x00\\u202e\\xfe"
