"""The way in and the way out of the command: what is imported, and what is told at the end."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from .conftest import ENVIRONMENT, ROOT, find_python, run

BOOT = ROOT / "src/kaa/_boot.py"


def imported(*arguments: object) -> set[str]:
    """The modules that a command imports before it ends (-X importtime tells on stderr)."""
    command = [sys.executable, "-IS", "-X", "importtime", BOOT, *arguments]
    lines = run(*command, check=False).stderr.splitlines()
    return {line.rsplit("|", 1)[1].strip() for line in lines if line.startswith("import time:")}


def test_neither_site_nor_os_is_imported(tmp_path: Path) -> None:
    modules = imported("--root", tmp_path, "state", "nobody")
    assert "kaa.cli.main" in modules
    assert not modules & {"site", "os", "_sitebuiltins", "runpy", "importlib", "__future__"}


def test_the_package_is_whole(tmp_path: Path) -> None:
    """Made by hand in _boot.py, it is what `import kaa` gives."""
    script = (
        "import kaa, sys; print(kaa.__version__, kaa.__file__, kaa.__path__, kaa.__spec__.name)"
    )
    boot = BOOT.read_text().partition("from kaa.__main__")[0] + script
    done = run(sys.executable, "-IS", "-c", f"__file__ = {str(BOOT)!r}\n{boot}")
    normal = run(sys.executable, "-c", script, env={**ENVIRONMENT, "PYTHONPATH": f"{ROOT}/src"})
    assert done.stdout == normal.stdout


def test_an_old_python_is_refused_in_words() -> None:
    for minor in (8, 9, 10):
        for python in Path("/root/.pyenv/versions").glob(f"3.{minor}.*/bin/python3"):
            done = run(python, "-IS", BOOT, "--version", check=False)
            assert done.returncode == 1
            assert done.stderr.startswith("kaa: needs Python 3.11 or newer, and ")
            assert done.stderr.count("\n") == 1
            return
    pytest.skip("no Python older than 3.11 to be found")


def test_is_called_kaa_in_the_list_of_processes(installed: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "log")  # opening it waits for a reader, which gives time to look
    seen = set()
    with subprocess.Popen([installed, "--log", tmp_path / "log", "state", "nobody"]) as process:
        about = Path(f"/proc/{process.pid}")
        deadline = time.monotonic() + 10
        # The launcher is called kaa too, so look for Python, which has its -IS by then.
        while (b"-IS", "kaa\n") not in seen and time.monotonic() < deadline:
            time.sleep(0.01)
            arguments = (about / "cmdline").read_bytes().split(b"\0")
            seen.add((arguments[1], (about / "comm").read_text()))
        process.kill()
    assert (b"-IS", "kaa\n") in seen


@pytest.mark.parametrize(
    ("redirection", "reason"),
    [(">/dev/full", "no space left on device"), ("| true", "broken pipe")],
)
def test_lost_output_is_a_failure(installed: Path, redirection: str, reason: str) -> None:
    # The pipe's reader is gone before kaa, which waits for a line, writes anything.
    script = f'set -o pipefail; {{ sleep 0.3; "{installed}" --version; }} {redirection}'
    done = run("bash", "-c", script, check=False)
    assert done.returncode == 1
    assert done.stdout == ""
    assert reason in done.stderr.lower()
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_standard_descriptors(installed: Path, tmp_path: Path, closed: str) -> None:
    script = f'"{installed}" --root {tmp_path} state nobody {closed}'
    assert run("sh", "-c", script, check=False).returncode == 1


@pytest.mark.parametrize("minor", [11, 12, 13])
def test_runs_from_a_checkout(minor: int) -> None:
    done = run(find_python(minor), "-IS", BOOT, "--version")
    assert f"python: 3.{minor}." in done.stdout
    assert done.stderr == ""


def test_the_public_names_are_imported_when_used() -> None:
    script = """
import sys, kaa
assert not [name for name in sys.modules if name.startswith("kaa.")]
for name in kaa._HOME:
    assert name in dir(kaa)
    assert getattr(kaa, name) is getattr(sys.modules[kaa._HOME[name]], name)
from kaa import Program
assert kaa.Program is sys.modules["kaa.program.program"].Program
try:
    kaa.nothing
except AttributeError as error:
    print(error)
"""
    done = run(sys.executable, "-c", script, env={**ENVIRONMENT, "PYTHONPATH": f"{ROOT}/src"})
    assert done.stdout == "module 'kaa' has no attribute 'nothing'\n"
