"""From argv to an exit code: the root, the log, errors."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from unit.cli.recorder import Kaa, Outcome, Recorder

from kaa.caller import Caller
from kaa.cli.main import state_root
from kaa.errors import ConfigError, ContainerNotFound, KaaError, NotRunning, UsageError

ROOT = Path(__file__).parents[3]


def caller(euid: int, **environ: str) -> Caller:
    return Caller(cwd="/here", environ=environ, euid=euid, egid=euid, pid=1)


# -- the root ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "root"),
    [("/r", "/r"), ("/r/", "/r"), ("r", "/here/r"), ("../r//s", "/r/s"), (".", "/here")],
)
def test_the_root_is_absolute(given: str, root: str) -> None:
    assert state_root(caller(0), {"root": given}) == root


@pytest.mark.parametrize("given", ["", "/", "//", "/..", "..", "../.."])
def test_the_root_is_not_the_root(given: str) -> None:
    with pytest.raises(UsageError, match="--root"):
        state_root(caller(0), {"root": given})


def test_real_root_ignores_xdg() -> None:
    if os.readlink("/proc/self/ns/user") != "user:[4026531837]":
        pytest.skip("this is not the host's user namespace")
    assert state_root(caller(0, XDG_RUNTIME_DIR="/nonexistent"), {}) == "/run/kaa"


def test_a_user_has_a_root_that_cleaners_leave_alone(tmp_path: Path) -> None:
    user = caller(1000, XDG_RUNTIME_DIR=str(tmp_path))
    for _ in range(2):
        assert state_root(user, {}) == f"{tmp_path}/kaa"
        assert (tmp_path / "kaa").stat().st_mode & 0o7777 == 0o1700


def test_a_user_without_xdg_has_the_common_root() -> None:
    assert state_root(caller(1000), {}) == "/run/kaa"


def test_root_of_a_user_namespace_honours_xdg(tmp_path: Path) -> None:
    code = (
        "from kaa.caller import Caller\nfrom kaa.cli.main import state_root\n"
        "print(state_root(Caller.of_this_process(), {}))"
    )
    environ = {"XDG_RUNTIME_DIR": str(tmp_path), "PYTHONPATH": f"{ROOT}/src"}
    command = ["unshare", "--user", "--map-root-user", sys.executable, "-c", code]
    probe = subprocess.run([*command[:3], "true"], check=False)
    if probe.returncode != 0:
        pytest.skip("no user namespaces here")
    for user, root in (("someone", f"{tmp_path}/kaa"), ("root", "/run/kaa")):
        done = subprocess.run(
            command, env=environ | {"USER": user}, capture_output=True, text=True, check=True
        )
        assert done.stdout.strip() == root


# -- the log and the exit code -----------------------------------------------


def test_an_error_is_one_logrus_line(kaa: Kaa) -> None:
    kaa.replace("kaa.container.state", state=Recorder(error=ContainerNotFound()))
    done = kaa("state", "box")
    assert (done.code, done.out) == (1, "")
    assert re.fullmatch(r'time="[^"]+" level=error msg="container does not exist"\n', done.err)


def test_with_a_log_the_error_is_there_and_on_stderr(kaa: Kaa, tmp_path: Path) -> None:
    error = ConfigError("must be absolute", pointer="/process/cwd", hint="put a / before it")
    kaa.replace("kaa.container.create", create=Recorder(error=error))
    done = kaa("--log", "log.json", "--log-format", "json", "create", "box")
    message = "kaa create failed: /process/cwd: must be absolute (put a / before it)"
    assert done.code == 1
    assert done.err == message + "\n"
    entry = json.loads((tmp_path / "log.json").read_text())
    assert list(entry) == ["level", "msg", "time", "error", "pointer", "hint"]
    assert entry["msg"] == message
    assert entry["error"] == "ConfigError"
    assert entry["pointer"] == "/process/cwd"


@pytest.mark.parametrize(
    ("argv", "module", "function", "prefix", "code"),
    [
        (["create", "x"], "create", "create", "kaa create failed: ", 1),
        (["run", "x"], "run", "run", "kaa run failed: ", 1),
        (["exec", "x", "sh"], "exec", "exec", "exec failed: ", 255),
        (["start", "x"], "start", "start", "", 1),
        (["kill", "x"], "kill", "kill", "", 1),
        (["delete", "x"], "delete", "delete", "", 1),
        (["pause", "x"], "pause", "pause", "", 1),
    ],
)
def test_prefixes_and_exit_codes(
    kaa: Kaa, argv: list[str], module: str, function: str, prefix: str, code: int
) -> None:
    kaa.replace(f"kaa.container.{module}", **{function: Recorder(error=NotRunning())})
    done = kaa(*argv)
    assert done.code == code
    assert done.message == f"{prefix}container not running"


@pytest.mark.parametrize(
    ("error", "message", "code"),
    [
        (FileNotFoundError(2, "x", "/a/b"), "start /a/b: no such file or directory", 1),
        (MemoryError(), "cannot allocate memory", 1),
        (RecursionError(), "a document is nested too deeply", 1),
        (KeyboardInterrupt(), "interrupted", 130),
        (ZeroDivisionError("oh"), "internal error: ZeroDivisionError: oh", 1),
        (KaaError("two\nlines"), "two\\nlines", 1),
    ],
)
def test_everything_that_is_raised_is_one_line(
    kaa: Kaa, error: BaseException, message: str, code: int
) -> None:
    kaa.replace("kaa.container.start", start=Recorder(error=error))
    done = kaa("start", "box")
    assert done.code == code
    assert done.message.lower() == message.lower()
    assert done.err.count("\n") == 1


def test_debug_shows_where_an_internal_error_happened(kaa: Kaa) -> None:
    kaa.replace("kaa.container.start", start=Recorder(error=ZeroDivisionError()))
    done = kaa("--debug", "start", "box")
    assert "Traceback" in done.err
    assert done.message == "internal error: ZeroDivisionError: "


def test_misuse_shows_the_help_of_the_command(kaa: Kaa, tmp_path: Path) -> None:
    done = kaa("--log", "log", "state")
    assert done.code == 1
    assert done.out.startswith("Incorrect Usage.\n\nNAME:\n   kaa state - ")
    message = 'kaa: "state" requires exactly 1 argument(s)'
    assert done.err == message + "\n"
    assert message.replace('"', '\\"') in (tmp_path / "log").read_text()


def test_misuse_of_exec_is_no_failure_to_execute(kaa: Kaa) -> None:
    assert kaa("exec").code == 1
    assert kaa("exec", "--nosuch").code == 1


def test_an_unknown_command(kaa: Kaa) -> None:
    for argv in (["nosuch"], ["help", "nosuch"]):
        done = kaa(*argv)
        assert (done.code, done.out) == (3, "")
        assert done.message == "No help topic for 'nosuch'"


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--log-format", "xml", "list"], "invalid log-format: xml"),
        (["--log-level", "loud", "list"], "invalid log-level: loud"),
        (["--cgroup-manager", "me", "list"], "invalid cgroup-manager: me"),
        (["--rootless", "maybe", "list"],
         'invalid rootless: "maybe" is not true, false or auto'),
        (["--root", "/", "list"], '--root "/": must be a directory other than /'),
        (["--log", "/nonexistent/log", "list"],
         "open the log /nonexistent/log: no such file or directory"),
    ],
)  # fmt: skip
def test_bad_global_options(kaa: Kaa, argv: list[str], message: str) -> None:
    done = kaa(*argv)
    assert (done.code, done.out, done.message) == (1, "", message)


def test_no_command_is_help(kaa: Kaa) -> None:
    assert kaa().code == 0
    assert kaa().out == kaa("--help").out == kaa("help").out
    assert kaa("help", "exec").out == kaa("exec", "--help").out


def test_the_version_is_what_dockerd_reads(kaa: Kaa) -> None:
    done = kaa("--version")
    assert done.code == 0
    lines = done.out.splitlines()
    assert re.fullmatch(r"kaa version \d+\.\d+\.\d+\S*", lines[0])
    assert "spec: 1.3.0" in lines
    assert all(re.fullmatch(r"\w+: \S+", line) for line in lines[1:])
    assert any(line.startswith("python: 3.") for line in lines)


@settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(
        st.one_of(
            st.text(max_size=6),
            st.sampled_from(
                ["start", "kill", "update", "--memory", "-r", "--debug", "box", "exec", "--user"]
            ),
        ),
        max_size=5,
    )
)
def test_no_argv_gives_a_traceback(kaa: Kaa, argv: list[str]) -> None:
    kaa.replace("kaa.container.start", start=Recorder())
    kaa.replace("kaa.container.kill", kill=Recorder())
    kaa.replace("kaa.container.update", update=Recorder())
    kaa.replace("kaa.container.exec", exec=Recorder(0))
    done = kaa("--root", "/nonexistent", "--", *argv)
    assert "internal error" not in done.err
    if done.code:
        assert len(done.err.splitlines()) == 1


# -- as a process ------------------------------------------------------------


def command(*argv: str, **how: object) -> "subprocess.CompletedProcess[str]":
    line = [sys.executable, "-IS", f"{ROOT}/src/kaa/_boot.py", *argv]
    return subprocess.run(line, capture_output=True, text=True, check=False, **how)  # type: ignore[call-overload, no-any-return]


def test_a_closed_standard_output_is_reported(tmp_path: Path) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-IS", f"{ROOT}/src/kaa/_boot.py", "list", "-f", "json"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    assert "write to standard output: no space left on device" in done.stderr


@pytest.mark.parametrize("closed", ["0<&-", "1>&-", "2>&-", "0<&- 1>&- 2>&-"])
def test_closed_descriptors_are_not_taken_by_the_log(tmp_path: Path, closed: str) -> None:
    log = tmp_path / "log"
    boot = f"{ROOT}/src/kaa/_boot.py"
    line = f"{sys.executable} -IS {boot} --log {log} --root {tmp_path}/none state box {closed}"
    done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert log.read_text().count("\n") == 1
    assert "container does not exist" in log.read_text()


def test_the_command_line_imports_little() -> None:
    code = (
        "import sys; before = set(sys.modules); sys.path.insert(0, sys.argv[1]);"
        "import kaa.cli.main; print(*(set(sys.modules) - before))"
    )
    done = subprocess.run(
        [sys.executable, "-IS", "-c", code, f"{ROOT}/src"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert set(done.stdout.split()) <= {
        "_json", "errno", "fcntl", "kaa", "kaa.caller", "kaa.cli", "kaa.cli.log", "kaa.cli.main",
        "kaa.cli.parse", "kaa.cli.table", "kaa.codec", "kaa.errors",
    }  # fmt: skip


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    name = os.fsdecode(b"\xff")
    done = command("--root", str(tmp_path), "state", name)
    assert done.returncode == 1
    assert Outcome(1, "", done.stderr).message == "invalid container ID format"
