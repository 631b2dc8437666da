"""kaa.compile.mount_options: every option of the specification's table, and how they combine."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaa.compile.mount_api import (
    ATIME,
    NOATIME,
    NODEV,
    NOEXEC,
    NOSUID,
    PRIVATE,
    RDONLY,
    SHARED,
    SLAVE,
    STRICTATIME,
)
from kaa.compile.mount_options import MS_RDONLY, MountOptions, known_options, names

# runtime-spec 1.3, config.md, "Linux mount options"
_TABLE = """
    async atime bind defaults dev diratime dirsync exec idmap iversion lazytime loud mand noatime
    nodev nodiratime noexec noiversion nolazytime nomand norelatime nostrictatime nosuid
    nosymfollow private ratime rbind rdev rdiratime relatime remount rexec ridmap rnoatime rnodev
    rnodiratime rnoexec rnorelatime rnostrictatime rnosuid rnosymfollow ro rprivate rrelatime rro
    rrw rshared rslave rstrictatime rsuid rsymfollow runbindable rw shared silent slave strictatime
    suid symfollow sync tmpcopyup unbindable
"""
SPECIFIED = frozenset(_TABLE.split())


def test_the_whole_table_is_known() -> None:
    assert set(known_options()) >= SPECIFIED
    assert known_options() == sorted(set(known_options()))


@pytest.mark.parametrize("option", known_options())
def test_no_known_option_becomes_data(option: str) -> None:
    assert MountOptions([option]).data == []


def test_data_keeps_its_order() -> None:
    assert MountOptions(["size=1m", "ro", "newinstance", "", "mode=0620"]).data == [
        "size=1m",
        "newinstance",
        "mode=0620",
    ]


def test_the_last_of_opposites_wins() -> None:
    options = MountOptions(["ro", "nosuid", "rw", "dev", "nodev"])
    assert options.set == NOSUID | NODEV
    assert options.clear == RDONLY
    assert options.flags & MS_RDONLY == 0
    assert options.cleared == MS_RDONLY


@pytest.mark.parametrize(
    ("given_options", "expected"),
    [
        ([], None),
        (["norelatime"], None),
        (["noatime"], NOATIME),
        (["atime"], 0),
        (["noatime", "atime"], 0),
        (["strictatime", "atime"], STRICTATIME),
        (["strictatime", "nostrictatime"], 0),
        (["noatime", "nostrictatime"], NOATIME),
        (["noatime", "strictatime", "relatime"], 0),
    ],
)
def test_access_times_are_one_choice(given_options: list[str], expected: int | None) -> None:
    options = MountOptions(given_options)
    assert options.clear == (0 if expected is None else ATIME)
    assert options.set == (expected or 0)
    recursive = MountOptions(["r" + option for option in given_options])
    assert recursive.recursive_clear == options.clear
    assert recursive.recursive_set == options.set


def test_recursive_and_plain_are_apart() -> None:
    options = MountOptions(["rbind", "ro", "rnoexec", "rsuid"])
    assert options.bind
    assert options.recursive
    assert (options.set, options.clear) == (RDONLY, 0)
    assert (options.recursive_set, options.recursive_clear) == (NOEXEC, NOSUID)


def test_propagation_in_order() -> None:
    options = MountOptions(["rslave", "bind", "shared", "private"])
    assert options.propagation == [(SLAVE, True), (SHARED, False), (PRIVATE, False)]


def test_settings_of_the_superblock() -> None:
    options = MountOptions(["ro", "sync", "nolazytime", "nosuid", "loud"])
    assert options.superblock() == [("ro", None), ("sync", None), ("nolazytime", None)]


def test_names_for_people() -> None:
    assert names(RDONLY | NOSUID | NOATIME) == "ro,nosuid,noatime"
    assert names(0) == ""


@given(st.lists(st.sampled_from(known_options())))
def test_nothing_is_both_set_and_cleared(options: list[str]) -> None:
    found = MountOptions(options)
    for set, clear in (
        (found.set, found.clear),
        (found.recursive_set, found.recursive_clear),
    ):
        assert set & clear & ~ATIME == 0
        assert not set & ATIME or clear & ATIME == ATIME
    assert found.flags & found.cleared == 0
