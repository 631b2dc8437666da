"""Speed is imports: what each hot command may load, beyond the bare interpreter."""

import json
import subprocess
import sys

import pytest

ALLOWED_EXTENSIONS = {
    "_json", "_signal", "_socket", "_struct", "errno", "fcntl", "posix", "resource", "select",
    "termios", "time",
}  # fmt: skip

HOT = {
    "create": ["kaa.container.create"],
    "start": ["kaa.container.start"],
    "run": ["kaa.container.run"],
    "exec": ["kaa.container.exec"],
    "state": ["kaa.container.state"],
    "kill": ["kaa.container.kill"],
    "delete": ["kaa.container.delete"],
    "command line": ["kaa.cli.main"],
}

PROBE = """
import sys
sys.path.insert(0, {source!r})
before = set(sys.modules)
import {module}
print(sorted(set(sys.modules) - before))
"""


@pytest.mark.parametrize("command", HOT)
def test_a_hot_command_loads_nothing_else(command: str) -> None:
    source = __file__.rpartition("/tests/")[0] + "/src"
    for module in HOT[command]:
        out = subprocess.run(
            [sys.executable, "-I", "-S", "-c", PROBE.format(source=source, module=module)],
            check=True, capture_output=True, text=True,
        ).stdout  # fmt: skip
        loaded = json.loads(out.replace("'", '"'))
        foreign = {m for m in loaded if m != "kaa" and not m.startswith("kaa.")}
        assert foreign <= ALLOWED_EXTENSIONS
