"""Every command and option of the runc that is installed is known to kaa."""

import re
import shutil
import subprocess

import pytest
from unit.cli.recorder import Kaa

from kaa.cli.table import COMMANDS, FLAG, GLOBAL_OPTIONS, Option, find

pytestmark = pytest.mark.skipif(shutil.which("runc") is None, reason="runc is not installed")

NOT_OURS = {"checkpoint", "restore"}


def runc_help(*command: str) -> str:
    done = subprocess.run(["runc", *command, "--help"], capture_output=True, text=True, check=True)
    return done.stdout


def runc_options(text: str) -> dict[str, tuple[str, bool]]:
    """Name → short name, and whether it takes a value."""
    found = {}
    for name, value, short in re.findall(
        r"^   --([a-z0-9-]+)( value)?(?:, -(\w)(?: value)?)?  ", text, re.MULTILINE
    ):
        found[name] = (short, bool(value))
    return found


def runc_commands() -> list[str]:
    listed = runc_help().partition("COMMANDS:")[2].partition("GLOBAL OPTIONS:")[0]
    return [name for name in re.findall(r"^   (\w+)", listed, re.MULTILINE) if name not in NOT_OURS]


def assert_known(ours: tuple[Option, ...], theirs: dict[str, tuple[str, bool]]) -> None:
    known = {option.name: option for option in ours}
    for name, (short, takes_value) in theirs.items():
        assert name in known or name == "help", name
        if name in known:
            assert known[name].short == short, name
            assert (known[name].kind != FLAG) == takes_value, name


def test_global_options() -> None:
    theirs = runc_options(runc_help())
    assert "systemd-cgroup" in theirs
    assert_known(GLOBAL_OPTIONS, theirs)


def test_commands() -> None:
    names = runc_commands()
    assert {"create", "exec", "update", "features"} <= set(names)
    assert [name for name in names if find(COMMANDS, name) is None] == []


def test_options() -> None:
    for name in runc_commands():
        command = find(COMMANDS, name)
        assert command is not None
        assert_known(command.options, runc_options(runc_help(name)))


@pytest.mark.parametrize(
    "line",
    ["state", "state a b", "list --nosuch", "--nosuch list", "list -f", "run --detach=foo x",
     "create --preserve-fds x y", "events --interval x y", "nosuch", "help nosuch", "features x",
     "kill", "exec", "ps", "state ../x", "kill nope FOO", "delete nope", "delete --force nope",
     "start nope", "pause nope", "ps nope", "exec nope sh", "exec -u root nope sh", "list -f xml"],
)  # fmt: skip
def test_exit_codes_and_words(kaa: Kaa, line: str) -> None:
    words = line.split()
    theirs = subprocess.run(
        ["runc", *words], capture_output=True, text=True, check=False, cwd=kaa.cwd
    )
    ours = kaa(*words)
    assert ours.code == theirs.returncode
    assert bool(ours.out) == bool(theirs.stdout)
    assert (
        ours.out.partition(":")[0].partition(".")[0]
        == theirs.stdout.partition(":")[0].partition(".")[0]
    )
    if line.startswith("exec -u"):
        return  # what comes first of two mistakes is not part of the contract
    said = re.search(r'level=error msg="?(.*?)"?$', theirs.stderr.strip())
    assert bool(said) == bool(ours.err)
    if said:
        words_of_runc = said[1].replace('\\"', '"').removesuffix("\\n").replace("runc:", "kaa:")
        assert words_of_runc in (ours.message, "invalid format option")
