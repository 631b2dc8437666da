"""Running the command line up to the boundary of the container layer."""

import os
import re
import sys
import types
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from kaa.caller import Caller
from kaa.cli.main import run


@dataclass
class Call:
    args: tuple[Any, ...]
    keywords: dict[str, Any]


@dataclass
class Recorder:
    """Stands for one function of the container layer; remembers how it was called."""

    result: Any = None
    error: BaseException | None = None
    then: Callable[..., None] | None = None
    calls: list[Call] = field(default_factory=list)

    def __call__(self, *args: Any, **keywords: Any) -> Any:
        self.calls.append(Call(args, keywords))
        if self.error is not None:
            raise self.error
        if self.then is not None:
            self.then(*args, **keywords)
        return self.result

    @property
    def call(self) -> Call:
        (only,) = self.calls
        return only


@dataclass
class Outcome:
    code: int
    out: str
    err: str

    @property
    def message(self) -> str:
        """The message of the last line on standard error, unquoted."""
        found = re.search(r"level=error msg=(.*)$", self.err.splitlines()[-1])
        assert found
        return found[1].strip('"').replace('\\"', '"')


class Kaa:
    """The command line, in this process, with descriptors of its own."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, cwd: str) -> None:
        self._monkeypatch = monkeypatch
        self.cwd = cwd
        self.environ: dict[str, str] = {"PATH": os.environ["PATH"]}
        self.euid = 0

    def replace(self, module: str, **functions: Recorder) -> None:
        """Put recorders where a module of the container layer is."""
        stand_in = types.ModuleType(module)
        for name, recorder in functions.items():
            setattr(stand_in, name, recorder)
        self._monkeypatch.setitem(sys.modules, module, stand_in)

    def __call__(self, *argv: str, stdin: bytes = b"") -> Outcome:
        descriptors = [os.memfd_create(name) for name in ("stdin", "stdout", "stderr")]
        os.write(descriptors[0], stdin)
        os.lseek(descriptors[0], 0, os.SEEK_SET)
        caller = Caller(
            cwd=self.cwd,
            environ=self.environ,
            euid=self.euid,
            egid=self.euid,
            pid=os.getpid(),
            stdio=(descriptors[0], descriptors[1], descriptors[2]),
        )
        code = run(list(argv), caller)
        texts = []
        for fd in descriptors:
            with open(fd, "rb") as file:
                file.seek(0)
                texts.append(file.read().decode("utf-8", "surrogateescape"))
        return Outcome(code, texts[1], texts[2])
