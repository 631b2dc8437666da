"""Intel RDT: which groups, which lines, what is whose. A directory stands for resctrl's files."""

from pathlib import Path

import pytest

from kaa.container.intel_rdt import Group, load, parse
from kaa.errors import ConfigError, KaaError

L3 = "L3:0=ff;1=0f"
MB = "MB:0=50;1=100"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A file system with the root's group and one that an administrator has made."""
    for name in ("", "gold"):
        make_group(tmp_path / name, "L3:0=fff;1=fff\n    MB:0= 100;1= 100\n")
    (tmp_path / "info").mkdir()
    (tmp_path / "info/last_cmd_status").write_text("ok\n")
    return tmp_path


def make_group(path: Path, schemata: str = "") -> None:
    """What the kernel puts into a new directory."""
    (path / "mon_groups").mkdir(parents=True, exist_ok=True)
    (path / "schemata").write_text(schemata)
    (path / "tasks").write_text("")


def group(root: Path, **section: object) -> Group:
    return Group.of(str(root), section, "box")


def test_without_a_class_the_id_names_it(root: Path) -> None:
    found = group(root)
    assert (found.path, found.monitor) == (f"{root}/box", "")
    assert found.made == [f"{root}/box"]


def test_a_class_that_exists_is_not_ours(root: Path) -> None:
    assert group(root, closID="gold").made == []


def test_slash_is_the_root_group(root: Path) -> None:
    found = group(root, closID="/", enableMonitoring=True)
    assert found.path == str(root)
    assert found.monitor == f"{root}/mon_groups/box"
    assert found.made == [found.monitor]


def test_a_class_that_is_missing_has_to_have_shares(root: Path) -> None:
    with pytest.raises(ConfigError, match="does not exist") as error:
        group(root, closID="silver")
    assert error.value.pointer == "/linux/intelRdt/closID"
    for section in ({"l3CacheSchema": L3}, {"memBwSchema": MB}, {"schemata": [L3]}):
        assert group(root, closID="silver", **section).made == [f"{root}/silver"]


def test_nothing_is_made_before_create(root: Path) -> None:
    group(root, enableMonitoring=True)
    assert not (root / "box").exists()


def test_make_and_remove(root: Path) -> None:
    found = group(root)
    found.create({})
    assert (root / "box").is_dir()
    found.delete()
    assert not (root / "box").exists()
    found.delete()  # again, as after a crash


def test_a_monitoring_group_alone_is_removed(root: Path) -> None:
    found = group(root, closID="gold", enableMonitoring=True)
    found.create({})
    assert (root / "gold/mon_groups/box").is_dir()
    found.delete()
    assert (root / "gold").is_dir()
    assert not (root / "gold/mon_groups/box").exists()


@pytest.mark.parametrize(
    ("section", "written"),
    [
        ({"l3CacheSchema": L3}, [L3]),
        ({"memBwSchema": MB}, [MB]),
        ({"l3CacheSchema": f"{L3}\nMB:0=10", "memBwSchema": MB}, [L3, MB]),
        ({"l3CacheSchema": f"{L3}\nMB:0=10"}, [L3, "MB:0=10"]),
        ({"l3CacheSchema": "L3CODE:0=f\nL3DATA:0=f0\n"}, ["L3CODE:0=f", "L3DATA:0=f0"]),
        ({"schemata": ["L2:0=3", MB], "memBwSchema": "MB:0=20"}, ["MB:0=20", "L2:0=3", MB]),
    ],
)
def test_the_lines_written(root: Path, section: dict[str, object], written: list[str]) -> None:
    make_group(root / "box")
    Group(str(root), f"{root}/box", "", []).set_shares(section)
    assert (root / "box/schemata").read_text() == "".join(f"{line}\n" for line in written)


def test_without_shares_schemata_is_left_alone(root: Path) -> None:
    before = (root / "gold/schemata").read_text()
    Group(str(root), f"{root}/gold", "", []).set_shares({})
    assert (root / "gold/schemata").read_text() == before


@pytest.mark.parametrize("same", ["L3:0=fff", "L3:1=0fff;0=FFF", "MB:0=100", " MB:1=100"])
def test_an_existing_class_with_the_same_shares(root: Path, same: str) -> None:
    assert group(root, closID="gold", schemata=[same]).made == []


@pytest.mark.parametrize("other", ["L3:0=ff", "MB:0=99", "L3:7=fff", "L2:0=f"])
def test_an_existing_class_with_other_shares(root: Path, other: str) -> None:
    with pytest.raises(ConfigError, match="gold"):
        group(root, closID="gold", schemata=[other])
    assert "99" not in (root / "gold/schemata").read_text()


def test_the_process_joins_both_groups(root: Path) -> None:
    make_group(root / "gold/mon_groups/box")
    group(root, closID="gold", enableMonitoring=True).attach(4711)
    assert (root / "gold/tasks").read_text() == "4711"
    assert (root / "gold/mon_groups/box/tasks").read_text() == "4711"


def test_the_kernels_own_words(root: Path) -> None:
    """A class that vanished: the write fails, and the error says what the kernel said last."""
    (root / "info/last_cmd_status").write_text("Invalid task id\n")
    with pytest.raises(KaaError, match="Invalid task id") as error:
        Group(str(root), f"{root}/nowhere", "", []).attach(1)
    assert error.value.pointer == "/linux/intelRdt"


def test_a_class_that_another_lives_in_stays(root: Path) -> None:
    import os

    found = group(root)
    make_group(root / "box")
    (root / "box/tasks").write_text(f"{os.getpid()}\n")
    found.delete()
    assert (root / "box").is_dir()


def test_it_survives_the_record(root: Path) -> None:
    found = group(root, enableMonitoring=True)
    again = load(found.record())
    assert again.record() == found.record()


def test_parse_is_of_one_form() -> None:
    assert parse("  L3:0=0f;1=F\nMB:0=  10\n\n") == {"L3": {"0": "f", "1": "f"}, "MB": {"0": "10"}}
