"""What is made from the table: help, docs/cli.md, manual pages, completion."""

import os
import pty
import re
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kaa.cli import documents
from kaa.cli.completion import SHELLS, bash
from kaa.cli.help import text, walk
from kaa.cli.table import KAA, Command, Option

ROOT = Path(__file__).parents[3]
ROUTES = list(walk())


def test_docs_cli_md_is_up_to_date() -> None:
    written = (ROOT / "docs" / "cli.md").read_text()
    assert written == documents.markdown(), "python -m kaa.cli.documents markdown > docs/cli.md"


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route[-1].name)
def test_help(route: tuple[Command, ...]) -> None:
    shown = text(route)
    assert all(len(line) <= 85 for line in shown.splitlines())
    for option in route[-1].options:
        assert (f"--{option.name}" in shown) == (not option.hidden)
    assert "EXAMPLES:" in shown
    for _, line in route[-1].examples:
        assert line in shown


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route[-1].name)
def test_manual_pages(route: tuple[Command, ...]) -> None:
    page = documents.manual(route)
    if shutil.which("groff") is None:
        pytest.skip("groff is not installed")
    done = subprocess.run(
        ["groff", "-man", "-Tutf8", "-ww", "-P-cbou"], input=page.encode(), capture_output=True,
        check=True,
    )  # fmt: skip
    assert done.stderr == b""
    shown = done.stdout.decode()
    for option in route[-1].options:
        assert (f"--{option.name}" in shown) == (not option.hidden), option.name
    for _, line in route[-1].examples:
        assert line.split("; ")[0] in " ".join(shown.split())


def test_share(tmp_path: Path) -> None:
    written = documents.write_share(tmp_path / "share")
    names = {str(path.relative_to(tmp_path / "share")) for path in written}
    assert {"man/man8/kaa.8", "man/man8/kaa-exec.8", "zsh/site-functions/_kaa"} <= names
    assert all(path.stat().st_size > 200 for path in written)


def test_the_module_as_a_program(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "kaa.cli.documents"]
    environ = os.environ | {"PYTHONPATH": f"{ROOT}/src"}
    done = subprocess.run(
        [*command, "markdown"], env=environ, capture_output=True, text=True, check=True
    )
    assert done.stdout == documents.markdown()
    subprocess.run([*command, "share", str(tmp_path)], env=environ, check=True)
    assert (tmp_path / "man" / "man8" / "kaa.8").exists()
    assert subprocess.run(command, env=environ, capture_output=True, check=False).returncode == 2


# -- completion ----------------------------------------------------------------


@pytest.fixture
def shell_environ(tmp_path: Path) -> dict[str, str]:
    """An environment in which `kaa` is a command that lists two containers below /r."""
    command = tmp_path / "bin" / "kaa"
    command.parent.mkdir()
    command.write_text(
        '#!/bin/sh\n[ "$*" = "--root /r list -q" ] && echo box && echo bottle\n'
        '[ "$*" = "list -q" ] && echo plain\ntrue\n'
    )
    command.chmod(0o755)
    home = tmp_path / "home"
    home.mkdir()
    return {"PATH": f"{command.parent}:{os.environ['PATH']}", "HOME": str(home), "TERM": "dumb"}


CASES = [
    ("kaa ev", {"events"}),
    ("kaa --root /r ru", {"run"}),
    ("kaa --log-format ", {"text", "json"}),
    ("kaa list --for", {"--format"}),
    ("kaa list --format j", {"json"}),
    ("kaa --root /r start bo", {"box", "bottle"}),
    ("kaa start pl", {"plain"}),
    ("kaa kill box KI", {"KILL"}),
    ("kaa kill --all box KI", {"KILL"}),
    ("kaa exec --no-n", {"--no-new-privs"}),
    ("kaa completion z", {"zsh"}),
    ("kaa help feat", {"features"}),
]


@pytest.mark.parametrize(
    ("line", "offered"),
    [*CASES, ("kaa exec box ls --no-n", set()), ("kaa exec --env A=b pl", {"plain"}),
     ("kaa list --format=j", {"json"}), ("kaa create --bundle fol", {"folder"}),
     ("kaa create --pid-file fi", {"file"}), ("kaa nosuch ", set())],
)  # fmt: skip
def test_bash(line: str, offered: set[str], shell_environ: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    words = [w for w in re.split(r"\s+|(=)", line) if w]  # as readline splits them
    if line.endswith(" "):
        words.append("")
    quoted = " ".join([f"'{word}'" for word in words])
    script = (
        f"compopt() {{ :; }}\n{bash()}\nCOMP_WORDS=({quoted}); COMP_CWORD={len(words) - 1}\n"
        "_kaa; printf '%s\\n' \"${COMPREPLY[@]}\""
    )
    done = subprocess.run(
        ["bash", "--norc", "-c", script], env=shell_environ, cwd=tmp_path, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert done.stderr == ""
    assert set(done.stdout.split()) == offered


@pytest.mark.skipif(shutil.which("fish") is None, reason="fish is not installed")
@pytest.mark.parametrize(("line", "offered"), CASES)
def test_fish(line: str, offered: set[str], shell_environ: dict[str, str], tmp_path: Path) -> None:
    script = tmp_path / "kaa.fish"
    script.write_text(SHELLS["fish"]())
    done = subprocess.run(
        ["fish", "--no-config", "-c", f"source {script}; complete -C '{line}'"],
        env=shell_environ, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stderr == ""
    assert {found.split("\t")[0] for found in done.stdout.splitlines()} == offered


class Zsh:
    """An interactive zsh on a pty that completes kaa."""

    def __init__(self, environ: dict[str, str], script: Path) -> None:
        self._pid, self._fd = pty.fork()
        if self._pid == 0:
            os.execvpe("zsh", ["zsh", "-f", "-i"], environ)
        self.send("PS1='READY> '; setopt no_always_last_prompt; unsetopt zle_bracketed_paste\n")
        self.send(f"autoload -Uz compinit; compinit -D -u; source {script}; echo do''ne\n", "done")

    def send(self, keys: str, until: str = "", timeout_s: float = 20.0) -> str:
        """Type; return what is shown until `until` appears, or nothing more does."""
        os.write(self._fd, keys.encode())
        shown = ""
        end = time.monotonic() + timeout_s
        while time.monotonic() < end:
            quiet = 0.7 if not until or until in shown else 5.0
            if not select.select([self._fd], [], [], quiet)[0]:
                break
            shown += os.read(self._fd, 4096).decode(errors="replace")
        return shown

    def close(self) -> None:
        os.close(self._fd)
        os.waitpid(self._pid, 0)


@pytest.mark.skipif(shutil.which("zsh") is None, reason="zsh is not installed")
def test_zsh(shell_environ: dict[str, str], tmp_path: Path) -> None:
    script = tmp_path / "kaa.zsh"
    script.write_text(SHELLS["zsh"]())
    subprocess.run(["zsh", "-n", script], check=True)
    zsh = Zsh(shell_environ, script)
    try:
        for typed, shown in [
            ("kaa ev\t", "kaa events "),
            ("kaa kill x KI\t", "kaa kill x KILL "),
            ("kaa --root /r start bot\t", "kaa --root /r start bottle "),
            ("kaa exec --no-n\t", "kaa exec --no-new-privs "),
            ("kaa list --format j\t", "kaa list --format json "),
        ]:
            assert shown in zsh.send(typed, until=shown), typed
            zsh.send("\x15")
    finally:
        zsh.close()


def test_nested_groups_are_documented(monkeypatch: pytest.MonkeyPatch) -> None:
    enter = Command("enter", "go in", options=(Option("deep", "flag", "very"),), description="D.",
                    examples=(("Go:", "kaa ns enter"),))  # fmt: skip
    group = Command("ns", "namespaces", commands=(enter,), description="N.")
    root = Command("kaa", "r", commands=(group,), options=KAA.options, description="K.")
    assert [r[-1].name for r in walk((root,))] == ["kaa", "ns", "enter"]
    assert "kaa [global options] ns enter [options]" in text((root, group, enter))
    assert "KAA-NS-ENTER" in documents.manual((root, group, enter))
