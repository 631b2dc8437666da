"""The command starts, on the right Python, wherever and however it was installed."""

import json
import os
import shutil
import sys
from pathlib import Path

import pytest
from kit import hostns, rootfs

from .conftest import ENVIRONMENT, build, copy_source, find_python, make_venv, pip_install, run

HERE = sys.version_info[1]
MARK = "9.9.9+of-the-installed-copy"


def version(kaa: Path | str, minor: int | None, **environ: str) -> str:
    """What `kaa --version` calls itself; that it runs on Python 3.`minor` is asserted."""
    lines = run(kaa, "--version", env={**ENVIRONMENT, **environ}).stdout.splitlines()
    facts = dict(line.split(": ", 1) for line in lines if ": " in line)
    if minor is not None:
        assert facts["python"].startswith(f"3.{minor}.")
    return lines[0].removeprefix("kaa version ")


def mark(kaa_package: Path) -> None:
    """Give an installed copy a version by which it is known."""
    init = kaa_package / "__init__.py"
    init.write_text(init.read_text() + f"\n__version__ = {MARK!r}\n")


@pytest.mark.parametrize("minor", [11, 12, 13])
def test_virtual_environment_also_when_moved(minor: int, wheel: Path, tmp_path: Path) -> None:
    pip_install(make_venv(find_python(minor), tmp_path / "venv"), wheel)
    mark(tmp_path / f"venv/lib/python3.{minor}/site-packages/kaa")
    assert version(tmp_path / "venv/bin/kaa", minor) == MARK
    (tmp_path / "venv").rename(tmp_path / "moved")
    assert version(tmp_path / "moved/bin/kaa", minor) == MARK
    (tmp_path / "link").symlink_to("moved/bin/kaa")
    (tmp_path / "links").symlink_to(".")
    assert version(tmp_path / "links/link", minor) == MARK
    assert version("kaa", minor, PATH=f"{tmp_path}/moved/bin:/usr/bin") == MARK


def test_user(wheel: Path, tmp_path: Path) -> None:
    python = find_python(HERE)
    pip_install(python, "--user", wheel, HOME=str(tmp_path))
    (package,) = tmp_path.glob(".local/lib/python3.*/site-packages/kaa")
    mark(package)
    assert version(tmp_path / ".local/bin/kaa", None, HOME=str(tmp_path)) == MARK


def test_target(wheel: Path, tmp_path: Path) -> None:
    pip_install(find_python(HERE), "--target", tmp_path / "target", wheel)
    mark(tmp_path / "target/kaa")
    assert version(tmp_path / "target/bin/kaa", None) == MARK


def test_prefix_as_the_system_python_lays_it_out(wheel: Path, tmp_path: Path) -> None:
    """Debian's pip installs into PREFIX/local/lib/python3.X/dist-packages."""
    pip_install(Path("/usr/bin/python3"), "--prefix", tmp_path, wheel)
    (package,) = tmp_path.glob("**/*-packages/kaa")
    mark(package)
    (command,) = tmp_path.glob("**/bin/kaa")
    assert version(command, None) == MARK


def test_debian_package_layout(wheel: Path, tmp_path: Path) -> None:
    pip_install(find_python(HERE), "--target", tmp_path / "built", wheel)
    (tmp_path / "usr/lib/python3/dist-packages").mkdir(parents=True)
    (tmp_path / "usr/bin").mkdir()
    shutil.move(tmp_path / "built/kaa", tmp_path / "usr/lib/python3/dist-packages/kaa")
    shutil.move(tmp_path / "built/bin/kaa", tmp_path / "usr/bin/kaa")
    mark(tmp_path / "usr/lib/python3/dist-packages/kaa")
    assert version(tmp_path / "usr/bin/kaa", None) == MARK


def test_editable(tmp_path: Path) -> None:
    source = copy_source(tmp_path / "source")
    # Where pip got `--editable source`, it would have to download hatchling for the build.
    editable = build("editable", tmp_path / "wheel", source)
    pip_install(make_venv(find_python(HERE), tmp_path / "venv"), editable)
    assert (source / "src/kaa/init/kaa-init").exists()
    mark(source / "src/kaa")
    assert version(tmp_path / "venv/bin/kaa", HERE) == MARK
    (tmp_path / "venv").rename(tmp_path / "moved")
    assert version(tmp_path / "moved/bin/kaa", HERE) == MARK
    imported = "import kaa; print(kaa.__version__)"
    assert run(tmp_path / "moved/bin/python3", "-c", imported).stdout.strip() == MARK


def test_what_is_installed_runs_containers(installed: Path, tmp_path: Path) -> None:
    """The wheel's own kaa-init does it, with nothing of the checkout."""
    rootfs.busybox(tmp_path / "rootfs")
    run(installed, "spec", cwd=tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["process"].update(args=["echo", "inside"], terminal=False)
    (tmp_path / "config.json").write_text(json.dumps(config))
    command = [installed, "--root", tmp_path / "state", "run", f"kaa-packaging-{os.getpid()}"]
    assert run(*command, cwd=tmp_path).stdout == "inside\n"


def test_as_a_module(installed: Path) -> None:
    for flags in (["-m"], ["-I", "-m"]):
        done = run(installed.parent / "python3", *flags, "kaa", "--version")
        assert done.stdout == run(installed, "--version").stdout


@pytest.mark.slow
def test_pipx(wheel: Path, tmp_path: Path) -> None:
    """pipx brings a pip of its own and wants the dependencies too: this one downloads."""
    if not shutil.which("pipx"):
        pytest.skip("pipx is not installed")
    directories = {
        "PIPX_HOME": str(tmp_path / "home"),
        "PIPX_BIN_DIR": str(tmp_path / "bin"),
        "HOME": str(tmp_path),
    }
    command = hostns.with_network(["pipx", "install", str(wheel)])
    run(*command, env={**os.environ, **directories})
    mark(next((tmp_path / "home").glob("venvs/kaa/lib/python3.*/site-packages/kaa")))
    assert version(tmp_path / "bin/kaa", None) == MARK


LAYOUTS = {
    "venv": "venv/bin/kaa",
    "user": ".local/bin/kaa",
    "target": "target/bin/kaa",
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_third_party_packages_can_be_had(layout: str, wheel: Path, tmp_path: Path) -> None:
    """`site_packages.enable()` finds what is installed beside kaa, and only then."""
    python = find_python(HERE)
    if layout == "venv":
        python = make_venv(python, tmp_path / "venv")
        pip_install(python, wheel)
    elif layout == "user":
        pip_install(python, "--user", wheel, HOME=str(tmp_path))
    else:
        pip_install(python, "--target", tmp_path / "target", wheel)
    (package,) = tmp_path.glob("**/kaa/_boot.py")
    package.parent.with_name("third_party.py").write_text("name = 'third party'")
    package.parent.with_name("colorsys.py").write_text("name = 'hides the standard library'")
    (package.parent / "cli/main.py").write_text(
        "def main(argv):\n"
        "    from kaa.site_packages import enable\n"
        "    try:\n"
        "        import third_party\n"
        "        raise SystemExit('importable before enable()')\n"
        "    except ModuleNotFoundError:\n"
        "        pass\n"
        "    enable()\n"
        "    enable()\n"
        "    import colorsys, sys, third_party\n"
        "    twice = len(sys.path) - len(set(sys.path))\n"
        "    print(third_party.name, hasattr(colorsys, 'name'), twice)\n"
        "    return 0\n"
    )
    done = run(tmp_path / LAYOUTS[layout], env={**ENVIRONMENT, "HOME": str(tmp_path)})
    assert done.stdout == "third party False 0\n"
