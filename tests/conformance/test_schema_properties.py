"""Every property of the schemas is either shown by a test or listed with a reason."""

from functools import cache
from typing import NamedTuple

import pytest
from conformance import suite
from unit.spec import schemas

TABLE = suite.TESTS / "data/conformance-properties.txt"
HOW = ("works", "ignored", "refused")


class Row(NamedTuple):
    """A line of the table; a pointer's "*" is any element, or any name."""

    pointer: str
    how: str
    test: str
    note: str

    @property
    def names(self) -> set[str]:
        """The property and what it is in."""
        return {name for name in self.pointer.split("/") if name not in ("", "*")}


def parse(line: str) -> Row:
    fields, _, note = line.partition("#")
    pointer, how, test = fields.split()
    return Row(pointer, how, test, note.strip())


@cache
def rows() -> list[Row]:
    lines = TABLE.read_text().splitlines()
    return [parse(line) for line in lines if line and not line.startswith("#")]


def properties() -> list[str]:
    """The pointers of all that has a name in config.json on Linux."""
    return [
        "/" + "/".join(place.path)
        for place in schemas.places("config-schema.json")
        if place.path and place.path[-1] != "*"
    ]


def unhandled(row: Row) -> str:
    """What is wrong with the row, or nothing."""
    if row.how not in HOW:
        return f'"{row.how}" is none of {HOW}'
    if row.how != "works" and not row.note:
        return f"{row.how}, and no note says why"
    if not suite.exists(row.test):
        return f"there is no test {row.test}"
    missing = row.names - suite.words(row.test)
    return f"{row.test} does not speak of {missing}" if missing else ""


def test_no_property_is_forgotten() -> None:
    handled = [row.pointer for row in rows()]
    assert sorted(set(properties()) - set(handled)) == [], f"neither tested nor listed in {TABLE}"
    assert sorted(set(handled) - set(properties())) == [], "no schema has them"
    assert len(handled) == len(set(handled)), "listed twice"
    assert len(handled) > 200


@pytest.mark.parametrize("row", rows(), ids=lambda row: row.pointer)
def test_its_test_is_there_and_speaks_of_it(row: Row) -> None:
    assert not unhandled(row)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("/process/umask works integration/test_process.py::test_no_such", "no test"),
        ("/process/args works integration/test_no_such.py::test_umask", "no test"),
        ("/process/invented works integration/test_process.py::test_rlimits", "invented"),
        ("/process/rlimits refused integration/test_process.py::test_rlimits", "note"),
        ("/process/rlimits probably integration/test_process.py::test_rlimits", "probably"),
    ],
)
def test_what_would_be_noticed(line: str, problem: str) -> None:
    assert problem in unhandled(parse(line))


def test_the_words_of_a_test() -> None:
    """Its own, those of what it uses in its file, and not those of others."""
    found = suite.words("conformance/containers/test_process_properties.py::test_a_deadline")
    assert {"runtime", "deadline", "period", "scheduler", "process"} <= found
    assert "rt_priority" in found, "a constant that a helper uses"
    assert "ioPriority" not in found, "another test's"
    assert "hostname" not in found, "the kit's default document"
