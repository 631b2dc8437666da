"""docs/conformance.md: what it names exists, and no row is without a test."""

from functools import cache
from typing import NamedTuple

import pytest
from conformance import suite
from conformance.containers import texts

ROOT = suite.TESTS.parent
DOCUMENT = ROOT / "docs/conformance.md"
HEAD = ["capability", "kaa", "where", "shown by", "remarks"]
SHORT = {
    "c": "conformance/containers/test_",
    "i": "integration/test_",
    "p": "integration/properties/test_",
    "r": "integration/rootfs_programs/test_",
    "g": "integration/cgroups/test_",
    "u": "unit/",
}


class Row(NamedTuple):
    capability: str
    kaa: str
    where: str
    shown_by: str
    remarks: str

    @property
    def tests(self) -> list[str]:
        """The ids of the tests, PATH-BELOW-TESTS::NAME."""
        found = []
        for group in filter(None, self.shown_by.split(";")):
            file, *names = group.split()
            head, _, rest = file.partition("/")
            path = SHORT[head] + rest if head in SHORT else file
            for name in names or [""]:
                family, colons, method = name.rpartition("::")
                found.append(f"{path}.py::{family}{colons}test_{method}")
        return found


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


@cache
def sections() -> dict[str, list[list[str]]]:
    """The tables by their heading, each with its head, without the line below that."""
    found: dict[str, list[list[str]]] = {}
    heading = ""
    for line in DOCUMENT.read_text().splitlines():
        if line.startswith("## "):
            heading = line[3:]
        elif line.startswith("|") and not line.startswith("| ---"):
            found.setdefault(heading, []).append(cells(line))
    return found


def rows() -> list[Row]:
    return [Row(*row) for head, *table in sections().values() if head == HEAD for row in table]


def wrong(row: Row) -> list[str]:
    """What the row says that is not so."""
    found = []
    if row.kaa not in ("yes", "no", "differs"):
        found.append(f'"{row.kaa}" is no answer')
    if row.kaa == "differs" and not row.remarks:
        found.append("how does it differ?")
    module = ROOT / "src" / row.where.replace(".", "/")
    if not (module.with_suffix(".py").is_file() or (module / "__init__.py").is_file()):
        found.append(f"there is no module {row.where}")
    if not row.tests and not row.remarks.startswith("lacking: "):
        found.append("no test shows it")
    found += [f"there is no test {test}" for test in row.tests if not suite.exists(test)]
    return found


def test_it_has_every_section() -> None:
    letters = [heading[0] for heading, table in sections().items() if table[0] == HEAD]
    assert letters == list("ABCDEFGHIJKLMN")
    assert len(rows()) > 200
    capabilities = [(row.capability, row.where) for row in rows()]
    assert len(capabilities) == len(set(capabilities))


@pytest.mark.parametrize("row", rows(), ids=lambda row: row.capability)
def test_the_row_is_true(row: Row) -> None:
    assert wrong(row) == []


def test_the_words_are_those_that_are_tested() -> None:
    tested = [(case.words.replace(texts.ID, "X"), str(case.code)) for case in texts.CASES]
    head, *table = sections()["Words and exit codes"]
    assert head == ["situation", "exit code", "words"]
    for situation, codes, words in table:
        found = {
            code for said, code in tested if said.endswith(words) and bool(said) == bool(words)
        }
        assert found & set(codes.replace(",", " ").split()), situation


GOOD = Row("x", "yes", "kaa.cli.main", "i/exec user", "")


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        (GOOD._replace(kaa="perhaps"), "no answer"),
        (GOOD._replace(kaa="differs"), "differ"),
        (GOOD._replace(where="kaa.cli.no_such"), "no module"),
        (GOOD._replace(shown_by=""), "no test shows it"),
        (
            GOOD._replace(shown_by="i/exec no_such"),
            "no test integration/test_exec.py::test_no_such",
        ),
        (GOOD._replace(shown_by="i/no_such user"), "no test integration/test_no_such.py"),
        (GOOD._replace(shown_by="i/exec"), "no test integration/test_exec.py::test_"),
    ],
)
def test_what_would_be_noticed(row: Row, problem: str) -> None:
    assert wrong(GOOD) == []
    assert any(problem in text for text in wrong(row))


def test_what_a_machine_lacks_needs_no_test() -> None:
    assert wrong(GOOD._replace(shown_by="", remarks="lacking: a kernel of the future")) == []
