"""Id-mapped mounts: uidMappings and gidMappings of mounts, the options idmap and ridmap."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from kit import config, processes
from kit.container import Container, wait_for

FIRST = 200000
STAT = "stat -c '%u:%g %n' "


def mapping(inside: int, outside: int, size: int = 1000) -> config.Config:
    return {"containerID": inside, "hostID": outside, "size": size}


def maps(*entries: config.Config, gids: "list[config.Config] | None" = None) -> config.Config:
    return {"uidMappings": list(entries), "gidMappings": gids or list(entries)}


@pytest.fixture
def volume(tmp: Path) -> Path:
    """A directory of the host with files of several owners."""
    path = tmp / "volume"
    path.mkdir()
    path.chmod(0o777)
    for owner in (0, 5, 1003):
        (path / f"of{owner}").touch()
        os.chown(path / f"of{owner}", owner, owner)
    return path


@pytest.fixture
def mapped(container: Container) -> Container:
    """In a user namespace."""
    config.add_user_namespace(container.config, FIRST)
    os.chown(container.rootfs, FIRST, FIRST)
    (container.rootfs / "vol").mkdir()
    os.chown(container.rootfs / "vol", FIRST, FIRST)
    return container


def owner(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_uid, found.st_gid


@pytest.mark.kaa_only("runc 1.1 has no id-mapped mounts")
class TestIdMapped:
    @pytest.mark.parametrize("option", ["idmap", "ridmap"])
    def test_with_the_mapping_of_the_container(
        self, mapped: Container, volume: Path, option: str
    ) -> None:
        """What is on disk as id N is N in the container too, and what it makes is N on disk."""
        mapped.mounts.append(config.bind(volume, "/vol", option))
        mapped.process["user"] = {"uid": 5, "gid": 5}
        shown = mapped.script(f"cd /vol; {STAT} of*; touch new").run().ok().out
        assert shown.splitlines() == ["0:0 of0", "1003:1003 of1003", "5:5 of5"]
        assert owner(volume / "new") == (5, 5)

    def test_without_a_user_namespace(self, container: Container, volume: Path) -> None:
        entry = config.bind(volume, "/vol") | maps(
            mapping(1000, 7000, 10), mapping(0, 50, 10), gids=[mapping(1000, 8000), mapping(0, 60)]
        )
        container.mounts.append(entry)
        container.process["user"] = {"uid": 7009, "gid": 8009}
        shown = container.script(f"cd /vol; {STAT} of*; touch new").run().ok().out
        assert shown.splitlines() == ["50:60 of0", "7003:8003 of1003", "55:65 of5"]
        assert owner(volume / "new") == (1009, 1009)

    def test_a_mapping_of_its_own_in_a_user_namespace(
        self, mapped: Container, volume: Path
    ) -> None:
        """On disk 1000... is on the host 200000..., which is 0... in the container."""
        os.chown(volume, 1000, 1000)  # in a directory of nobody's nothing can be made
        mapped.mounts.append(config.bind(volume, "/vol") | maps(mapping(1000, FIRST)))
        shown = mapped.script(f"cd /vol; {STAT} of1003 of5; touch new").run().ok().out
        assert shown.splitlines() == ["3:3 of1003", "65534:65534 of5"]
        assert owner(volume / "new") == (1000, 1000)

    def test_an_id_without_a_mapping_makes_nothing(
        self, container: Container, volume: Path
    ) -> None:
        container.mounts.append(config.bind(volume, "/vol") | maps(mapping(1000, 7000)))
        result = container.script("touch /vol/new").run()
        assert "too large" in result.err
        assert not (volume / "new").exists()

    def test_a_file(self, mapped: Container, volume: Path) -> None:
        mapped.mounts.append(config.bind(volume / "of1003", "/vol/file", "idmap"))
        assert mapped.script(STAT + "/vol/file").run().ok().out == "1003:1003 /vol/file\n"

    def test_read_only(self, mapped: Container, volume: Path) -> None:
        mapped.mounts.append(config.bind(volume, "/vol", "idmap", "ro"))
        result = mapped.script(f"{STAT} /vol/of5; touch /vol/new; mount -o remount,rw /vol").run()
        assert result.out == "5:5 /vol/of5\n"
        assert not (volume / "new").exists()

    def test_many_mounts_share_what_is_equal(
        self, mapped: Container, volume: Path, nothing_is_left: Callable[[], None]
    ) -> None:
        for number in range(40):
            entry = config.bind(volume, f"/vol/{number}", "idmap")
            if number % 2:
                entry |= maps(mapping(1000, FIRST))
            mapped.mounts.append(entry)
        shown = mapped.script(f"{STAT} /vol/0/of1003 /vol/39/of1003").run().ok().out
        assert shown.splitlines() == ["1003:1003 /vol/0/of1003", "3:3 /vol/39/of1003"]
        mapped.delete("--force")
        nothing_is_left()

    def test_recursion(self, mapped: Container, volume: Path) -> None:
        """idmap maps the top mount only, ridmap all below it."""
        inner = volume / "inner"
        inner.mkdir()
        with tmpfs(inner):
            (inner / "file").touch()
            os.chown(inner / "file", 9, 9)
            for place, option in (("top", "idmap"), ("all", "ridmap")):
                mapped.mounts.append(config.bind(volume, f"/vol/{place}", option))
            shown = mapped.script(f"{STAT} /vol/top/inner/file /vol/all/inner/file").run().ok().out
        assert shown.splitlines() == [
            "65534:65534 /vol/top/inner/file",
            "9:9 /vol/all/inner/file",
        ]

    def test_the_mapping_of_a_joined_user_namespace(
        self, new_container: Callable[..., Container], volume: Path
    ) -> None:
        other = new_container()
        config.add_user_namespace(other.config, FIRST)
        os.chown(other.rootfs, FIRST, FIRST)
        other.sleeping()
        container = new_container()
        (container.rootfs / "vol").mkdir()
        os.chown(container.rootfs, FIRST, FIRST)
        config.set_namespace(container.config, "user", f"/proc/{other.pid}/ns/user")
        container.mounts.append(config.bind(volume, "/vol", "idmap"))
        assert container.script(STAT + "/vol/of5").run().ok().out == "5:5 /vol/of5\n"

    def test_an_exec_sees_the_same(self, mapped: Container, volume: Path) -> None:
        mapped.mounts.append(config.bind(volume, "/vol", "idmap"))
        mapped.sleeping()
        assert mapped.exec("stat", "-c", "%u", "/vol/of1003").ok().out == "1003\n"

    def test_overlapping_ranges(
        self, container: Container, volume: Path, nothing_is_left: Callable[[], None]
    ) -> None:
        entry = config.bind(volume, "/vol") | maps(mapping(0, 7000), mapping(500, 9000))
        container.mounts.append(entry)
        container.run().failed(f"/mounts/{len(container.mounts) - 1}/uidMappings/1", code=1)
        nothing_is_left()

    def test_a_file_system_that_cannot(
        self, container: Container, nothing_is_left: Callable[[], None]
    ) -> None:
        """No such thing as an id-mapped procfs; the error names the mount."""
        entry = config.bind("/proc/sys/fs", "/vol") | maps(mapping(0, 7000))
        container.mounts.append(entry)
        container.run().failed(f"/mounts/{len(container.mounts) - 1}", code=1)
        nothing_is_left()

    def test_no_holder_stays(self, mapped: Container, volume: Path) -> None:
        """The processes that lent their user namespaces are gone once the container is there."""
        mapped.mounts.append(config.bind(volume, "/vol", "idmap"))
        mapped.create().ok()
        assert len(helpers()) == 1, "the container's own init, and nobody else"
        mapped.start().ok()
        wait_for(lambda: not helpers(), "the init to execute the process")


def helpers() -> list[int]:
    """The kaa-inits that the tests have started, directly or not."""
    return [pid for pid in processes.ours() if "kaa-init" in processes.describe(pid)]


class tmpfs:
    """A tmpfs at `path`, for a while."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> None:
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(self.path)], check=True)

    def __exit__(self, *_: object) -> None:
        subprocess.run(["umount", str(self.path)], check=True)
