"""`kaa top`: rates between two looks, and the table."""

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from kaa.caller import Caller
from kaa.cli.commands.top import size, table
from kaa.container import record, top
from kaa.container.runtime import Runtime


class Clock:
    """Stands for a machine with one container, whose numbers the test sets."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, self.cpu, self.read, self.start = 10.0, 0, 0, 7
        self.status = "running"
        monkeypatch.setattr(top, "monotonic", lambda: self.now)
        monkeypatch.setattr(top, "state", lambda runtime, id: {"status": self.status, "pid": 5})
        monkeypatch.setattr(record, "ids", lambda root: ["a"])
        monkeypatch.setattr(record, "load", lambda root, id: {"id": id, "start_time": self.start})
        monkeypatch.setattr(top, "cgroup_of", lambda found: self)

    def stats(self) -> dict[str, Any]:
        io = [{"op": "Read", "value": self.read}, {"op": "Write"}, {"op": "Discard", "value": 9}]
        return {
            "cpu": {"usage": {"total": self.cpu}, "psi": {"some": {"avg10": 12.5}}},
            "memory": {"usage": {"usage": 4096, "limit": (1 << 64) - 1}},
            "pids": {"current": 2},
            "blkio": {"ioServiceBytesRecursive": io},
        }


@pytest.fixture
def sampler(tmp_path: Path) -> top.Sampler:
    caller = Caller(cwd="/", environ={}, euid=0, egid=0, pid=1)
    return top.Sampler(Runtime(str(tmp_path), caller))


def test_rates(monkeypatch: pytest.MonkeyPatch, sampler: top.Sampler) -> None:
    machine = Clock(monkeypatch)
    (first,) = sampler.look()
    assert first["cpu"] is None and first["read"] is None
    machine.now, machine.cpu, machine.read = 12.0, 3_000_000_000, 4000
    (second,) = sampler.look()
    assert second["cpu"] == 150.0
    assert (second["read"], second["written"]) == (2000, 0)
    assert second["memory_limit"] is None
    assert second["pressure"] == {"cpu": 12.5}


def test_a_new_container_of_the_same_id_begins_anew(
    monkeypatch: pytest.MonkeyPatch, sampler: top.Sampler
) -> None:
    machine = Clock(monkeypatch)
    sampler.look()
    machine.now, machine.start = 12.0, 8
    (found,) = sampler.look()
    assert found["cpu"] is None


def test_what_has_ended_is_left_out(monkeypatch: pytest.MonkeyPatch, sampler: top.Sampler) -> None:
    machine = Clock(monkeypatch)
    machine.status = "stopped"
    assert sampler.look() == []


def test_without_containers(sampler: top.Sampler) -> None:
    assert sampler.look() == []


def test_the_table(monkeypatch: pytest.MonkeyPatch, sampler: top.Sampler) -> None:
    Clock(monkeypatch)
    out = io.StringIO()
    Console(file=out, width=100).print(table(sampler.look()))
    header, row = out.getvalue().splitlines()
    assert header.split()[:3] == ["CONTAINER", "STATUS", "CPU%"]
    assert row.split() == ["a", "running", "-", "4.0K", "-", "2", "-", "-", "12.5", "-", "-"]


@pytest.mark.parametrize(
    ("number", "text"),
    [(None, "-"), (0, "0B"), (999, "999B"), (1000, "1.0K"), (1 << 20, "1.0M"), (150 << 30, "150G")],
)
def test_sizes(number: int | None, text: str) -> None:
    assert size(number) == text
