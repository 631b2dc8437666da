"""docs/library.md is true: its blocks are executed, in order, and print what it says."""

import contextlib
import io
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from kit.runtime import Runtime as Command

import kaa
from kaa.api import runtime as runtime_module

PAGE = Path(__file__).resolve().parents[2] / "docs/library.md"
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass
class Block:
    """A fenced block, the line it begins at, and what it prints."""

    language: str
    text: str
    line: int
    prints: str


def blocks() -> list[Block]:
    page = PAGE.read_text()
    found: list[Block] = []
    for match in _BLOCK.finditer(page):
        language, text = match[1], match[2]
        if language == "text":
            found[-1].prints = text
        else:
            found.append(Block(language, text, page.count("\n", 0, match.start()) + 2, ""))
    return found


def test_there_are_only_blocks_that_can_be_executed() -> None:
    kinds = [block.language for block in blocks()]
    assert set(kinds) == {"python", "json"}
    assert kinds.count("python") == PAGE.read_text().count("```python") > 8


def test_the_tutorial(
    nothing_is_left: Callable[[], None], tmp: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp)
    monkeypatch.setattr(runtime_module, "_STATE_ROOT", str(tmp / "state"))
    names: dict[str, Any] = {"__name__": "tutorial"}
    for block in blocks():
        if block.language != "python":
            continue
        # the lines of a traceback are those of the page
        code = compile("\n" * (block.line - 1) + block.text, str(PAGE), "exec")
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            exec(code, names)  # noqa: S102
        assert said.getvalue() == block.prints, f"{PAGE}:{block.line}"


def test_the_annotations(
    nothing_is_left: Callable[[], None], tmp: Path, config: kaa.Config
) -> None:
    (block,) = [block for block in blocks() if block.language == "json"]
    config.annotations.update(json.loads(block.text))
    config.args = ["sh", "-c", "ip -o address; ip route"]
    config.routes = [*config.routes]  # the property reads what the page has written
    config.annotations["run.kaa.networks"] = json.loads(block.text)["run.kaa.networks"].replace(
        "}]", ', "gateways": ["10.88.0.1"]}]'
    )
    config.save(tmp)
    done = Command(tmp / "state")("run", "--bundle", tmp, f"{tmp.name}-docs").ok()
    assert "10.88.0.9/24" in done.out
    assert "10.1.0.0/16 via 10.88.0.1" in done.out


def test_every_row_of_the_table_names_what_exists() -> None:
    page = PAGE.read_text()
    rows = page.split("## For those who know libcontainer")[1].splitlines()[4:]
    assert len(rows) > 25
    for row in rows:
        right = row.split("|")[2]
        for owner, member in re.findall(r"`(?:kaa\.)?([A-Z]\w+)(?:\(root\))?\.(\w+)", right):
            parts = (*dir(getattr(kaa, owner)), *getattr(kaa, owner).__annotations__)
            made = ("id", "pid", "process")  # set by __init__
            assert member in parts or member in made, f"{owner}.{member}"
        for name in re.findall(r"`kaa\.(\w+)", right):
            assert name in kaa.__all__, name


def test_every_exception_of_the_page_exists() -> None:
    page = PAGE.read_text()
    table = page.split("| exception | says |")[1].split("\n\n")[0]
    names = re.findall(r"`([A-Z]\w+)`", table)
    assert len(names) > 10
    for name in names:
        assert issubclass(getattr(kaa, name), kaa.KaaError)
