"""The launcher by itself, in a root file system where nothing is but what a test puts there.

It is static, so it runs in an empty chroot; the Pythons it finds there are
programs that print their arguments.
"""

import runpy
import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from .conftest import ROOT, run

PYTHON_C = r"""
#include <stdio.h>
#include <stdlib.h>
int main(int argc, char **argv)
{
    for (int i = 0; i < argc; i++)
        puts(argv[i]);
    puts(getenv("CHECK") ? getenv("CHECK") : "");
    return 42;
}
"""

build = runpy.run_path(str(ROOT / "src/kaa/init/launcher.py"))["build"]


@pytest.fixture(scope="module")
def launcher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = build("cc", tmp_path_factory.mktemp("launcher") / "kaa")
    return path


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("python")
    (directory / "python.c").write_text(PYTHON_C)
    run("cc", "-static", "-o", directory / "python", directory / "python.c")
    return directory / "python"


class Machine:
    """A root directory with a launcher, boot files and Pythons."""

    def __init__(self, root: Path, launcher: Path, python: Path) -> None:
        self.root = root
        self.launcher = launcher
        self.python = python
        (root / "proc").mkdir()

    def file(self, path: str) -> Path:
        found = self.root / path.lstrip("/")
        found.parent.mkdir(parents=True, exist_ok=True)
        return found

    def command(self, path: str) -> None:
        shutil.copy(self.launcher, self.file(path))

    def code(self, *paths: str) -> None:
        for path in paths:
            self.file(path).touch()

    def interpreters(self, *paths: str) -> None:
        for path in paths:
            shutil.copy(self.python, self.file(path))

    def link(self, path: str, target: str) -> None:
        self.file(path).symlink_to(target)

    has_proc = True

    def run(self, *command: str, **environ: str) -> subprocess.CompletedProcess[str]:
        mount = '/bin/mount --bind /proc "$0/proc" && ' if self.has_proc else ""
        script = f'{mount}exec /usr/sbin/chroot "$0" "$@"'
        return run(
            *("/usr/bin/unshare", "--mount", "/bin/sh", "-c", script, self.root, *command),
            env=environ,
            check=False,
        )

    def started(self, *command: str, **environ: str) -> list[str]:
        """The arguments of the Python that the command became."""
        done = self.run(*command, **environ)
        assert done.returncode == 42, done.stderr
        return done.stdout.splitlines()[:-1]


@pytest.fixture
def machine(tmp_path: Path, launcher: Path, python: Path) -> Machine:
    return Machine(tmp_path, launcher, python)


def code(minor: int, packages: str = "site-packages", lib: str = "lib") -> str:
    return f"{lib}/python3.{minor}/{packages}/kaa/_boot.py"


def test_becomes_python_with_all_its_arguments(machine: Machine) -> None:
    machine.command("/opt/venv/bin/kaa")
    machine.code(f"/opt/venv/{code(11)}")
    machine.interpreters("/opt/venv/bin/python3.11")
    arguments = ["run", "", "a b", "--", "-x=ü\n", *map(str, range(3000))]
    done = machine.run("/opt/venv/bin/kaa", *arguments, CHECK="of the environment")
    python = "/opt/venv/bin/python3.11"
    expected = [python, "-IS", f"/opt/venv/{code(11)}", *arguments, "of the environment"]
    assert done.stdout == "\n".join(expected) + "\n"


@pytest.mark.parametrize(
    "boot",
    [
        code(11),
        code(11, lib="lib64"),
        code(12, "dist-packages"),
        "lib/python3/dist-packages/kaa/_boot.py",
        "kaa/_boot.py",
        code(30),
    ],
)
def test_finds_the_code_beside_itself(machine: Machine, boot: str) -> None:
    machine.command("/usr/bin/kaa")
    machine.code(f"/usr/{boot}", "/usr/lib/python3.10/site-packages/kaa/_boot.py")
    machine.interpreters("/usr/bin/python3")
    assert machine.started("/usr/bin/kaa") == ["/usr/bin/python3", "-IS", f"/usr/{boot}"]


def test_in_the_root_directory(machine: Machine) -> None:
    machine.command("/bin/kaa")
    machine.code(f"/{code(11)}")
    machine.interpreters("/bin/python3.11")
    assert machine.started("/bin/kaa") == ["/bin/python3.11", "-IS", f"/{code(11)}"]


def test_the_newest_python_has_the_newest_code(machine: Machine) -> None:
    machine.command("/usr/local/bin/kaa")
    machine.code(f"/usr/local/{code(12)}", f"/usr/local/{code(11)}", f"/usr/local/{code(10)}")
    machine.interpreters("/usr/bin/python3.10", "/usr/bin/python3.11", "/usr/bin/python3.12")
    started = machine.started("/usr/local/bin/kaa")
    assert started == ["/usr/bin/python3.12", "-IS", f"/usr/local/{code(12)}"]


def test_links_to_the_command_are_followed(machine: Machine) -> None:
    machine.command("/opt/kaa/bin/kaa")
    machine.code(f"/opt/kaa/{code(11)}")
    machine.interpreters("/opt/kaa/bin/python3.11")
    machine.link("/usr/bin/oci", "../local/bin/kaa")
    machine.link("/usr/local/bin/kaa", "/opt/kaa/bin/kaa")
    assert machine.started("/usr/bin/oci")[2] == f"/opt/kaa/{code(11)}"


PREFERENCES = [
    "/home/me/bin/python3.11",
    "/usr/bin/python3.11",
    "/usr/local/bin/python3.11",
    "/path/python3.11",
    "/home/me/bin/python3",
    "/usr/bin/python3",
    "/usr/local/bin/python3",
    "/path/python3",
    "/usr/bin/python3.14",
    "/path/python3.14",
    "/usr/bin/python3.12",
]


@pytest.mark.parametrize("first", range(len(PREFERENCES)))
def test_which_python_it_prefers(machine: Machine, first: int) -> None:
    machine.command("/home/me/bin/kaa")
    machine.code(f"/home/me/{code(11)}")
    machine.interpreters(*PREFERENCES[first:])
    assert machine.started("/home/me/bin/kaa", PATH="/none:/path:/")[0] == PREFERENCES[first]


def test_a_virtual_environment_knows_its_python(machine: Machine) -> None:
    machine.command("/venv/bin/kaa")
    machine.code(f"/venv/{code(11)}")
    machine.file("/venv/pyvenv.cfg").touch()
    machine.interpreters("/venv/bin/python3", "/usr/bin/python3.11")
    assert machine.started("/venv/bin/kaa")[0] == "/venv/bin/python3"


def test_not_a_python_that_is_too_old_by_its_real_name(machine: Machine) -> None:
    machine.command("/opt/bin/kaa")
    machine.code("/opt/kaa/_boot.py")
    machine.interpreters("/usr/bin/python3.10", "/usr/local/bin/python3.12")
    machine.link("/usr/bin/python", "python3.10")
    machine.link("/usr/bin/python3", "python")
    machine.link("/opt/bin/python3", "/usr/bin/python3")
    assert machine.started("/opt/bin/kaa")[0] == "/usr/local/bin/python3.12"


def test_not_a_script_nor_what_cannot_be_executed(machine: Machine) -> None:
    machine.command("/opt/bin/kaa")
    machine.code(f"/opt/{code(11)}")
    machine.file("/opt/bin/python3.11").write_text("#!/bin/sh\nexec pyenv\n")
    machine.file("/opt/bin/python3.11").chmod(0o755)
    machine.file("/usr/bin/python3.11").write_text("not executable")
    machine.file("/usr/local/bin/python3.11").mkdir()
    machine.link("/path/python3.11", "nowhere")
    machine.interpreters("/path2/python3.11")
    assert machine.started("/opt/bin/kaa", PATH="/path:/path2")[0] == "/path2/python3.11"


@pytest.mark.parametrize("path", ["", "bin", ".", ":", "bin:./bin:", "/" + "x" * 5000])
def test_never_a_python_below_the_working_directory(machine: Machine, path: str) -> None:
    machine.command("/opt/bin/kaa")
    machine.code(f"/opt/{code(11)}", f"/{code(11)}", "/kaa/_boot.py")
    machine.interpreters("/bin/python3.11", "/bin/python3", "/python3")  # chroot(8) starts in /
    done = machine.run("/opt/bin/kaa", PATH=path)
    assert done.returncode == 1
    assert done.stderr.startswith("kaa: found no Python 3.11 or newer")


def test_needs_proc(machine: Machine) -> None:
    machine.command("/bin/kaa")
    machine.code(f"/{code(11)}")
    machine.interpreters("/usr/bin/python3.11")
    machine.has_proc = False
    done = machine.run("/bin/kaa")
    assert done.returncode == 1
    assert "/proc" in done.stderr


def test_without_code_python_is_asked_for_it(machine: Machine) -> None:
    machine.command("/opt/bin/kaa")
    machine.interpreters("/opt/bin/python3")
    assert machine.started("/opt/bin/kaa", "run") == ["/opt/bin/python3", "-I", "-m", "kaa", "run"]


def test_an_interpreter_that_does_not_start_is_told(machine: Machine) -> None:
    machine.command("/opt/bin/kaa")
    machine.code(f"/opt/{code(11)}")
    machine.file("/opt/bin/python3.11").write_bytes(b"\x7fELF and no more")
    machine.file("/opt/bin/python3.11").chmod(0o755)
    done = machine.run("/opt/bin/kaa")
    assert done.returncode == 1
    assert done.stderr == "kaa: the Python interpreter found for kaa could not be executed\n"


def test_a_distribution_fixes_the_paths(machine: Machine, tmp_path: Path) -> None:
    machine.launcher = build(
        "cc", tmp_path / "fixed", boot="/usr/share/kaa/_boot.py", python="/usr/libexec/python"
    )
    machine.command("/usr/sbin/kaa")
    machine.interpreters("/usr/libexec/python", "/usr/sbin/python3")
    started = machine.started("/usr/sbin/kaa", "list")
    assert started == ["/usr/libexec/python", "-IS", "/usr/share/kaa/_boot.py", "list"]


def test_is_small_static_and_safe(launcher: Path) -> None:
    image = launcher.read_bytes()
    assert len(image) < 9 * 1024
    for kind, flags in segments(image):
        assert kind != PT_INTERP
        assert flags & (PF_W | PF_X) != PF_W | PF_X
    assert (PT_GNU_STACK, PF_R | PF_W) in segments(image)


PT_INTERP, PT_GNU_STACK = 3, 0x6474E551
PF_X, PF_W, PF_R = 1, 2, 4


def segments(image: bytes) -> list[tuple[int, int]]:
    """Type and flags of each program header of a 64-bit ELF file, elf(5)."""
    assert image[:5] == b"\x7fELF\x02"
    (offset,) = struct.unpack_from("=Q", image, 32)
    size, count = struct.unpack_from("=2H", image, 54)
    return [struct.unpack_from("=2I", image, offset + size * i) for i in range(count)]


@pytest.mark.parametrize("cc", ["gcc", "clang", "aarch64-linux-gnu-gcc"])
def test_compiles_without_warnings_whatever_a_distribution_adds(
    cc: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not shutil.which(cc):
        pytest.skip(f"{cc} is not installed")
    monkeypatch.setenv("CFLAGS", "-O2 -g -fstack-protector-strong -D_FORTIFY_SOURCE=2 -Werror")
    monkeypatch.setenv("LDFLAGS", "-Wl,-z,relro -Wl,-z,now")
    assert build(cc, tmp_path / "kaa").stat().st_size < 64 * 1024  # with -g's tables
