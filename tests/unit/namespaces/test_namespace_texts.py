"""What `kaa ns` makes of what the kernel says, where no namespace is needed."""

import pytest

from kaa.cli.commands.ns_list import table
from kaa.cli.commands.ns_show import words
from kaa.cli.commands.ns_tree import forest
from kaa.errors import UsageError
from kaa.namespaces.machine import Namespace, printable
from kaa.namespaces.process import parse


def test_a_hostile_name_moves_no_cursor() -> None:
    space = Namespace("net", 7)
    space.mounts = ["/run/\x1b[2J\n"]
    assert printable("a\x1b[2Jb\n") == "a?[2Jb?"
    assert table([space]).count("\n") == 2
    assert "\x1b" not in table([space])


@pytest.mark.parametrize("word", ["", "x", "-1", "0", "1.0", "٣", "9" * 30])
def test_what_is_not_a_pid(word: str) -> None:
    with pytest.raises(UsageError, match="not a pid"):
        parse(word)


@pytest.mark.parametrize(
    ("part", "said"),
    [
        ((0, 0, 4294967295), "every uid is itself"),
        ((0, 1000, 1), "uid 0 inside is 1000 outside"),
        ((1, 100000, 10), "uids 1 to 10 inside are 100000 to 100009 outside"),
    ],
)
def test_maps_in_words(part: tuple[int, int, int], said: str) -> None:
    assert words("uid", *part) == said


def test_a_forest_hangs_children_below_parents() -> None:
    spaces = [Namespace("pid", inode) for inode in (1, 2, 3)]
    spaces[0].parent, spaces[1].parent = 2, 99  # 99 is not among them
    roots = forest(spaces)
    assert [root["inode"] for root in roots] == [2, 3]
    assert [below["inode"] for below in roots[0]["below"]] == [1]
