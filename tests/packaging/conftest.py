"""kaa built once, for all the ways of installing it."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# What a login shell gives, and nothing of what the tests were started with.
ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/"}

Run = Callable[..., subprocess.CompletedProcess[str]]


def run(*command: object, **how: object) -> subprocess.CompletedProcess[str]:
    """Run a command in a clean environment, with text output captured; `check` is the default."""
    options: dict[str, object] = {
        "check": True,
        "capture_output": True,
        "text": True,
        "timeout": 120,
        "env": ENVIRONMENT,
        "stdin": subprocess.DEVNULL,
    }
    done = subprocess.run([str(c) for c in command], **{**options, **how, "check": False})  # type: ignore[call-overload]
    if {**options, **how}["check"] and done.returncode:
        pytest.fail(f"{' '.join(map(str, command))}: {done.returncode}\n{done.stdout}{done.stderr}")
    return done  # type: ignore[no-any-return]


def build(target: str, directory: Path, source: Path = ROOT, **environ: str) -> Path:
    """Build a "wheel", an "sdist" or an "editable" wheel of `source` (PEP 517, PEP 660)."""
    directory.mkdir(parents=True, exist_ok=True)
    script = f"import sys, hatchling.build as b; b.build_{target}(sys.argv[1])"
    run(sys.executable, "-c", script, directory, cwd=source, env={**ENVIRONMENT, **environ})
    (built,) = directory.iterdir()
    return built


def copy_source(directory: Path) -> Path:
    """A copy of the checkout's files, without what git ignores and without .git."""
    listed = run("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", cwd=ROOT)
    names = [name for name in listed.stdout.split("\0") if name and (ROOT / name).exists()]
    directory.mkdir()
    for name in names:
        target = directory / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((ROOT / name).read_bytes())
        target.chmod((ROOT / name).stat().st_mode & 0o777)
    return directory


def find_python(minor: int) -> Path:
    """An interpreter of Python 3.`minor`, skipping the test where there is none."""
    name = f"python3.{minor}"
    pyenv = Path(os.environ.get("PYENV_ROOT", "/root/.pyenv"), "versions")
    found = [
        *(Path(d, name) for d in ("/usr/bin", "/usr/local/bin")),
        *pyenv.glob(f"3.{minor}.*/bin/{name}"),
    ]
    for path in found:
        if path.exists():
            return path
    pytest.skip(f"no {name} in /usr/bin, /usr/local/bin or {pyenv}")


def pip_install(python: Path, *arguments: object, **environ: str) -> None:
    """Run pip install for `python`, from the files at hand alone."""
    run(
        *(sys.executable, "-m", "pip", "--python", python, "install", "--quiet"),
        *("--no-deps", "--no-index", "--disable-pip-version-check"),
        *arguments,
        env={**ENVIRONMENT, "PIP_BREAK_SYSTEM_PACKAGES": "1", **environ},
    )


def make_venv(python: Path, directory: Path) -> Path:
    """A virtual environment without pip; the path of its interpreter."""
    run(python, "-m", "venv", "--without-pip", directory)
    return directory / "bin" / "python3"


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout."""
    return build("wheel", tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="session")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The command `kaa`, installed in a virtual environment of this Python's version."""
    venv = tmp_path_factory.mktemp("installed") / "venv"
    pip_install(make_venv(find_python(sys.version_info[1]), venv), wheel)
    return venv / "bin" / "kaa"
