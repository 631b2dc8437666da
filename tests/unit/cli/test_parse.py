"""argv → command, options, operands."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaa.cli.parse import Misuse, UnknownCommand, decimal, parse, seconds
from kaa.cli.table import COMMANDS, FLAG, GLOBAL_OPTIONS, KAA, TEXT, Command, Option
from kaa.errors import UsageError


def short(line: str) -> tuple[str, dict[str, Any], list[str]]:
    parsed = parse(line.split())
    return parsed.route[-1].name, parsed.options, parsed.args


@pytest.mark.parametrize(
    ("line", "name", "options", "args"),
    [
        ("state box", "state", {}, ["box"]),
        ("create --bundle /b box", "create", {"bundle": "/b"}, ["box"]),
        ("create --bundle=/b box", "create", {"bundle": "/b"}, ["box"]),
        ("create -bundle /b box", "create", {"bundle": "/b"}, ["box"]),
        ("create -b /b box", "create", {"bundle": "/b"}, ["box"]),
        ("create -b=/b box", "create", {"bundle": "/b"}, ["box"]),
        ("create -b=/a=b box", "create", {"bundle": "/a=b"}, ["box"]),
        ("create --bundle= box", "create", {"bundle": ""}, ["box"]),
        ("create -b /a -b /b box", "create", {"bundle": "/b"}, ["box"]),
        ("create --pid-file -x box", "create", {"pid-file": "-x"}, ["box"]),
        ("create --preserve-fds 2 box", "create", {"preserve-fds": 2}, ["box"]),
        ("create box --no-pivot", "create", {"no-pivot": True}, ["box"]),
        ("run --detach=false box", "run", {"detach": False}, ["box"]),
        ("run -d=0 box", "run", {"detach": False}, ["box"]),
        ("run -d --keep=T box", "run", {"detach": True, "keep": True}, ["box"]),
        ("kill box 9", "kill", {}, ["box", "9"]),
        ("kill --all box KILL", "kill", {"all": True}, ["box", "KILL"]),
        ("kill -a box", "kill", {"all": True}, ["box"]),
        ("delete -f box", "delete", {"force": True}, ["box"]),
        ("delete box --force", "delete", {"force": True}, ["box"]),
        ("delete -- --force", "delete", {}, ["--force"]),
        ("list -q -f json", "list", {"quiet": True, "format": "json"}, []),
        ("ps box -f json", "ps", {}, ["box", "-f", "json"]),
        ("ps --format json box", "ps", {"format": "json"}, ["box"]),
        ("ps box -o pid,comm --sort=pid", "ps", {}, ["box", "-o", "pid,comm", "--sort=pid"]),
        ("exec box ls -la --tty", "exec", {}, ["box", "ls", "-la", "--tty"]),
        ("exec -t box sh -c true", "exec", {"tty": True}, ["box", "sh", "-c", "true"]),
        ("exec box -t sh", "exec", {"tty": True}, ["box", "sh"]),
        ("exec box -- -t", "exec", {}, ["box", "-t"]),
        ("exec box sh -- -t", "exec", {}, ["box", "sh", "--", "-t"]),
        ("exec -- box sh -x", "exec", {}, ["box", "sh", "-x"]),
        ("exec box -", "exec", {}, ["box", "-"]),
        ("exec -e A=1 --env B=2 box env", "exec", {"env": ["A=1", "B=2"]}, ["box", "env"]),
        ("exec -g 1 -g 2 box id", "exec", {"additional-gids": ["1", "2"]}, ["box", "id"]),
        ("exec --cgroup a --cgroup b:c box id", "exec", {"cgroup": ["a", "b:c"]}, ["box", "id"]),
        ("exec -p p.json box", "exec", {"process": "p.json"}, ["box"]),
        ("events --interval 1m30s box", "events", {"interval": 90.0}, ["box"]),
        ("update -r - box", "update", {"resources": "-"}, ["box"]),
        ("update --memory -1 box", "update", {"memory": "-1"}, ["box"]),
        ("h create", "help", {}, ["create"]),
    ],
)
def test_commands(line: str, name: str, options: dict[str, Any], args: list[str]) -> None:
    assert short(line) == (name, options, args)


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("--root /r list", {"root": "/r"}),
        ("--log-format=json --log f list", {"log-format": "json", "log": "f"}),
        ("-debug list", {"debug": True}),
        ("--systemd-cgroup --rootless=true list", {"systemd-cgroup": True, "rootless": "true"}),
        ("--cgroup-manager=disabled list", {"cgroup-manager": "disabled"}),
        ("--criu /x/criu --log-level debug list", {"criu": "/x/criu", "log-level": "debug"}),
    ],
)
def test_global_options(line: str, found: dict[str, Any]) -> None:
    parsed = parse(line.split())
    assert parsed.globals == found
    assert parsed.route[-1].name == "list"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--nosuch list", "flag provided but not defined: -nosuch"),
        ("list --nosuch", "flag provided but not defined: -nosuch"),
        ("list --root /r", "flag provided but not defined: -root"),
        ("list -qf json", "flag provided but not defined: -qf"),
        ("kill box -9", "flag provided but not defined: -9"),
        ("list -f", "flag needs an argument: -f"),
        ("--root", "flag needs an argument: -root"),
        ("run --detach=foo box", 'invalid boolean value "foo" for -detach: parse error'),
        ("run --detach= box", 'invalid boolean value "" for -detach: parse error'),
        ("create --preserve-fds x box", 'invalid value "x" for flag -preserve-fds: parse error'),
        ("create --preserve-fds -1 box", 'invalid value "-1" for flag -preserve-fds: parse error'),
        ("create --preserve-fds ² box", 'invalid value "²" for flag -preserve-fds: parse error'),
        ("events --interval x box", 'invalid value "x" for flag -interval: parse error'),
        ("list ---q", "bad flag syntax: ---q"),
        ("list --=q", "bad flag syntax: --=q"),
        ("state", 'kaa: "state" requires exactly 1 argument(s)'),
        ("state a b", 'kaa: "state" requires exactly 1 argument(s)'),
        ("features x", 'kaa: "features" requires exactly 0 argument(s)'),
        ("kill", 'kaa: "kill" requires a minimum of 1 argument(s)'),
        ("kill a b c", 'kaa: "kill" requires a maximum of 2 argument(s)'),
        ("exec", 'kaa: "exec" requires a minimum of 1 argument(s)'),
    ],
)
def test_misuse(line: str, message: str) -> None:
    with pytest.raises(Misuse) as caught:
        parse(line.split())
    assert str(caught.value) == message
    assert caught.value.exit_code == 1
    assert caught.value.shown.startswith("Incorrect Usage")


def test_an_unknown_command_has_its_own_exit_code() -> None:
    with pytest.raises(UnknownCommand, match=r"^No help topic for 'nosuch'$") as caught:
        parse(["nosuch"])
    assert caught.value.exit_code == 3


def test_misuse_of_a_command_remembers_the_global_options() -> None:
    with pytest.raises(Misuse) as caught:
        parse(["--log", "f", "state"])
    assert caught.value.globals == {"log": "f"}


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("--help", ["kaa"]),
        ("-h nosuch", ["kaa"]),
        ("create --help", ["kaa", "create"]),
        ("create -h too many --nosuch", ["kaa", "create"]),
        ("exec box --help", ["kaa", "exec"]),
    ],
)
def test_help_comes_before_everything_else(line: str, names: list[str]) -> None:
    parsed = parse(line.split())
    assert [c.name for c in parsed.route] == names
    assert parsed.options["help"]


def test_help_that_is_declined_is_no_help() -> None:
    assert short("state --help=false box") == ("state", {}, ["box"])


@pytest.mark.parametrize("line", ["--version", "-v", "-v nosuch", "--version state"])
def test_the_version_comes_before_everything_else(line: str) -> None:
    assert parse(line.split()).options == {"version": True}


def test_the_help_of_the_executed_command_is_its_own() -> None:
    assert short("exec box ls --help") == ("exec", {}, ["box", "ls", "--help"])


def test_nested_commands() -> None:
    enter = Command("enter", "enter", least=1, most=None, stop=2, options=(Option("x", FLAG, ""),))
    group = Command("ns", "group", commands=(enter,), options=(Option("y", TEXT, ""),))
    root = Command("kaa", "root", commands=(group,))
    parsed = parse(["ns", "--y", "1", "enter", "--x", "box", "ls", "-l"], root)
    assert [c.name for c in parsed.route] == ["kaa", "ns", "enter"]
    assert parsed.options == {"x": True}
    assert parsed.args == ["box", "ls", "-l"]
    assert parse(["ns"], root).route[-1] is group
    with pytest.raises(UnknownCommand):
        parse(["ns", "nosuch"], root)
    with pytest.raises(Misuse, match='"ns enter" requires a minimum of 1'):
        parse(["ns", "enter"], root)


_words = [c.name for c in COMMANDS] + ["--", "-", "", "=", "--=", "---x", "box", "²", "\udcff"]
for _option in [*GLOBAL_OPTIONS, *[o for c in COMMANDS for o in c.options]]:
    _words += [f"--{_option.name}", f"-{_option.name}=1", f"--{_option.name}=", f"-{_option.short}"]


@given(st.lists(st.one_of(st.sampled_from(_words), st.text(max_size=8)), max_size=8))
def test_any_argv_is_parsed_or_refused(argv: list[str]) -> None:
    try:
        parsed = parse(argv)
    except UsageError:
        return
    command = parsed.route[-1]
    assert set(parsed.options) <= {o.name for o in command.options} | {"help"}
    asked = command.commands or "help" in parsed.options
    assert asked or len(parsed.args) >= command.least


@given(st.lists(st.text(min_size=1, max_size=8), min_size=1, max_size=6))
def test_the_command_of_exec_is_never_touched(words: list[str]) -> None:
    parsed = parse(["exec", "box", "cmd", *words])
    assert parsed.args == ["box", "cmd", *words]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5s", 5.0), ("100ms", 0.1), ("1h30m", 5400.0), ("1.5h", 5400.0), (".5s", 0.5),
        ("1.s", 1.0), ("10us", 1e-5), ("10µs", 1e-5), ("3ns", 3e-9), ("0", 0.0),
        ("-2s", -2.0), ("+2s", 2.0),
    ],
)  # fmt: skip
def test_durations(text: str, value: float) -> None:
    assert seconds(text) == pytest.approx(value)


@pytest.mark.parametrize(
    "text",
    ["", "-", "5", "s", ".", ".s", "5x", "5 s", "1..5s", "5sm", "--5s", "٣s", "9" * 50 + "s",
     "1e3s", "99999999999999h", "5s "],
)  # fmt: skip
def test_what_is_no_duration(text: str) -> None:
    assert seconds(text) is None


@given(st.text(alphabet="0123456789.-+nuµmsh ", max_size=12))
def test_any_text_is_a_duration_or_not(text: str) -> None:
    value = seconds(text)
    assert value is None or isinstance(value, float)


@given(st.text(max_size=8))
def test_a_decimal_is_ascii_digits(text: str) -> None:
    value = decimal(text, 10**9)
    digits = text != "" and set(text) <= set("0123456789")
    assert (value is not None) == digits


def test_the_table_is_sound() -> None:
    for command in (KAA, *COMMANDS):
        names = [n for o in command.options for n in (o.name, o.short) if n]
        assert len(names) == len(set(names)), command.name
        assert command.examples, command.name
        assert command.description, command.name
        for option in command.options:
            assert option.help, option.name
            assert (option.kind == FLAG) == (option.value == ""), option.name
