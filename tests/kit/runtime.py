"""Runs the runtime under test.

`KAA_RUNTIME` is its command line; the default is the checkout's kaa.
"""

import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parents[2]
ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LANG": "C.UTF-8",
    "CANARY_OF_THE_HOST": "this must not reach a container",
}
TIMEOUT = 40.0  # seconds, for any one command: a busy machine, not a slow runtime


def command_line() -> list[str]:
    """How the runtime under test is called."""
    given = os.environ.get("KAA_RUNTIME")
    if given:
        return shlex.split(given)
    return [sys.executable, "-I", "-S", str(CHECKOUT / "src/kaa/_boot.py")]


@dataclass
class Result:
    """What one call of the runtime did. `out` and `err` are text."""

    args: list[str]
    code: int
    out: str
    err: str

    def ok(self) -> "Result":
        """Itself, if the exit code was 0."""
        assert self.code == 0, f"should have succeeded\n{self}"
        return self

    def failed(self, *words: str, code: int | None = None) -> "Result":
        """Itself, if it failed as a program should: exit code, an error that says why.

        One of `words` must be in the error, whatever the case; there is no traceback.
        """
        assert self.code != 0, f"should have failed\n{self}"
        if code is not None:
            assert self.code == code, f"exit code should be {code}\n{self}"
        assert self.err.strip(), f"failed without a word\n{self}"
        self.sane()
        said = self.err.lower()
        assert not words or any(word.lower() in said for word in words), (
            f"the error names none of {words}\n{self}"
        )
        return self

    def sane(self) -> "Result":
        """Itself, if whatever went wrong was not the runtime's own mistake."""
        assert "Traceback" not in self.err, str(self)
        assert "internal error" not in self.err, str(self)
        return self

    def __str__(self) -> str:
        return f"$ {shlex.join(self.args)}\nexit {self.code}\nout: {self.out}\nerr: {self.err}"


class Runtime:
    """The runtime under test with a state directory of its own."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.command = command_line()
        self.is_kaa = is_kaa()

    def argv(self, *args: object) -> list[str]:
        """The whole command line of a call."""
        return [*self.command, "--root", str(self.root), *map(str, args)]

    def __call__(
        self,
        *args: object,
        env: Mapping[str, str] | None = None,
        timeout: float = TIMEOUT,
        stdin: int | str = subprocess.DEVNULL,
        prefix: Sequence[str] = (),
        **more: Any,
    ) -> Result:
        """Call it and wait for it. A string as `stdin` is fed to it.

        Output goes through files, not pipes: what outlives the call (a created
        container) may keep them open.
        """
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            with tempfile.TemporaryFile() as fed:
                if isinstance(stdin, str):
                    fed.write(stdin.encode())
                    fed.seek(0)
                argv = [*prefix, *self.argv(*args)]
                process = subprocess.Popen(
                    argv,
                    stdin=fed if isinstance(stdin, str) else stdin,
                    stdout=out,
                    stderr=err,
                    env=dict(ENVIRONMENT if env is None else env),
                    **more,
                )
            try:
                code = process.wait(timeout)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                raise AssertionError(
                    f"hangs: {shlex.join(argv)}\nout: {_read(out)}\nerr: {_read(err)}"
                ) from None
            return Result(argv, code, _read(out), _read(err))

    def together(self, calls: Sequence[Sequence[object]]) -> list[Result]:
        """Make all these calls at once."""
        with ThreadPoolExecutor(len(calls)) as pool:
            return list(pool.map(lambda args: self(*args), calls))

    def popen(self, *args: object, **more: Any) -> subprocess.Popen[Any]:
        """Start a call; the caller waits for it."""
        return subprocess.Popen(self.argv(*args), env=dict(ENVIRONMENT), **more)


def _read(file: Any) -> str:
    file.seek(0)
    data: bytes = file.read()
    return data.decode(errors="replace")


_name: str | None = None


def is_kaa() -> bool:
    """Whether the runtime under test is kaa (and not one the tests are validated with)."""
    global _name
    if _name is None:
        argv = [*command_line(), "--version"]
        shown = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=TIMEOUT)
        _name = shown.stdout.split(" ")[0]
    return _name not in ("runc", "crun", "youki")
