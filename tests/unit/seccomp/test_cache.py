"""The cache of compiled filters: quick when it may be believed, and never believed otherwise."""

import multiprocessing
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from unit.seccomp import bpf
from unit.seccomp.profiles import compiled, load, rule, section

from kaa.compile import libseccomp, seccomp, seccomp_cache, seccomp_filter
from kaa.errors import ConfigError

US = os.geteuid()
NOBODY = 65534
PROFILE = section("ERRNO", rule("ALLOW", "read", "close_range"))
EVIL = section("ALLOW")

as_root = pytest.mark.skipif(US != 0, reason="needs root to act as another user")


def get(directory: Path, profile: dict[str, Any] = PROFILE, uid: int = US) -> seccomp.Filter:
    return seccomp.filter_for(profile, cache_dir=str(directory), uid=uid, machine="x86_64")


def compiles(monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """A list that grows with every compilation."""
    count: list[None] = []
    real = seccomp_filter.compile_profile

    def counted(*args: Any) -> bytes:
        count.append(None)
        return real(*args)

    monkeypatch.setattr(seccomp_filter, "compile_profile", counted)
    return count


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def compilations(monkeypatch: pytest.MonkeyPatch) -> list[None]:
    return compiles(monkeypatch)


def entry(cache: Path) -> Path:
    (found,) = cache.iterdir()
    return found


def test_a_hit_is_the_same_filter(cache: Path, compilations: list[None]) -> None:
    first, second = get(cache), get(cache)
    assert len(compilations) == 1
    assert first.program == second.program == compiled(PROFILE).program
    assert first.flags == second.flags
    assert cache.stat().st_mode == 0o40700
    assert entry(cache).stat().st_mode == 0o100600


def test_whole_profiles_come_back_whole(cache: Path) -> None:
    for name in ("docker-like", "podman-like"):
        assert get(cache, load(name)).program == get(cache, load(name)).program
    assert len(list(cache.iterdir())) == 2


def test_the_listener_is_not_cached(cache: Path, compilations: list[None]) -> None:
    for metadata in ("a", "b"):
        profile = section(
            "ALLOW", rule("NOTIFY", "mkdir"), listenerPath="/l", listenerMetadata=metadata
        )
        found = get(cache, profile)
        assert found.notify
        assert found.listener_metadata == metadata
    assert len(compilations) == 1
    with pytest.raises(ConfigError) as error:
        get(cache, section("ALLOW", rule("NOTIFY", "mkdir")))
    assert error.value.pointer == "/linux/seccomp/listenerPath"


@pytest.mark.parametrize(
    "other",
    [
        section("ERRNO", rule("ALLOW", "read", "close_range"), flags=[]),
        section("ERRNO", rule("ALLOW", "read", "close_range"), defaultErrnoRet=2),
        section("ERRNO", rule("ALLOW", "close_range", "read")),
        section("ERRNO", rule("ALLOW", "read", "close_range"), architectures=["SCMP_ARCH_X86"]),
    ],
)
def test_another_profile_is_another_entry(
    cache: Path, other: dict[str, Any], compilations: list[None]
) -> None:
    get(cache)
    get(cache, other)
    assert len(compilations) == 2
    assert len(list(cache.iterdir())) == 2


def test_another_machine_is_another_entry(cache: Path) -> None:
    programs = {
        seccomp.filter_for(PROFILE, cache_dir=str(cache), uid=US, machine=machine).program
        for machine in ("x86_64", "aarch64")
    }
    assert len(programs) == 2


def test_a_wrong_profile_leaves_nothing(cache: Path) -> None:
    with pytest.raises(ConfigError):
        get(cache, {"defaultAction": "nonsense"})
    assert list(cache.iterdir()) == []


def test_a_hit_loads_no_library(cache: Path) -> None:
    """And imports nothing but what is known to be cheap."""
    script = f"""
import sys
sys.path[:0] = {sys.path!r}
before = set(sys.modules)
from kaa.compile import seccomp
made = seccomp.filter_for({PROFILE!r}, cache_dir={str(cache)!r}, uid={US}, machine="x86_64")
assert made.program
print(*sorted(set(sys.modules) - before))
print("libseccomp" in open("/proc/self/maps").read())
"""

    def run() -> tuple[set[str], str]:
        command = [sys.executable, "-I", "-S", "-c", script]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        modules, mapped = done.stdout.splitlines()
        return set(modules.split()), mapped

    modules, mapped = run()
    assert "ctypes" in modules
    assert mapped == "True"
    modules, mapped = run()
    assert mapped == "False"
    assert {m for m in modules if "seccomp" in m} == {
        "kaa.compile.seccomp",
        "kaa.compile.seccomp_cache",
    }
    assert not modules & {"ctypes", "os", "re", "json", "enum", "hashlib", "struct", "stat"}


def test_a_changed_library_is_noticed(
    cache: Path, tmp_path: Path, compilations: list[None], monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = tmp_path / "libseccomp.so.2"
    fake.write_text("one")
    monkeypatch.setattr(libseccomp.load(), "identity", seccomp.identity([str(fake)]))
    get(cache)
    get(cache)
    assert len(compilations) == 1
    fake.write_text("two")  # same size, same name
    get(cache)
    assert len(compilations) == 2
    fake.unlink()
    get(cache)
    assert len(compilations) == 3


def test_the_identity_is_of_all_that_matters() -> None:
    text = libseccomp.load().identity.decode()
    modules = ("libseccomp", "seccomp_bpf", "seccomp_filter", "seccomp_profile")
    for name in ("libseccomp.so.2", *[f"{module}.py" for module in modules]):
        assert f"/{name}\n" in text


def test_an_unknown_library_file_means_no_cache(
    cache: Path, compilations: list[None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(libseccomp.load(), "identity", seccomp.identity(["", "/etc/passwd"]))
    get(cache)
    get(cache)
    assert len(compilations) == 2
    assert list(cache.iterdir()) == []


# -- attacks -----------------------------------------------------------------


def plant(cache: Path) -> bytes:
    """Fill the cache honestly; returns the entry of a filter that allows everything."""
    get(cache, EVIL)
    evil = entry(cache).read_bytes()
    entry(cache).unlink()
    get(cache)
    return evil


def is_harmless(cache: Path) -> None:
    assert bpf.run(get(cache).program, bpf.X86_64, 1) == bpf.ERRNO | 1


def truncated(blob: bytes) -> bytes:
    return blob[:-8]


def flipped(blob: bytes) -> bytes:
    return blob[:-1] + bytes([blob[-1] ^ 0x7F])


def extended(blob: bytes) -> bytes:
    return blob + bytes(8)


def huge(blob: bytes) -> bytes:
    return blob + bytes(seccomp_cache.MAX_SIZE)


@pytest.mark.parametrize(
    "damage", [truncated, flipped, extended, huge, lambda blob: b"", lambda blob: blob[:31]]
)
def test_a_damaged_entry_is_replaced(
    cache: Path, damage: Callable[[bytes], bytes], compilations: list[None]
) -> None:
    get(cache)
    path = entry(cache)
    good = path.read_bytes()
    path.write_bytes(damage(good))
    is_harmless(cache)
    assert path.read_bytes() == good
    assert len(compilations) == 2


def test_an_entry_under_another_name_is_not_believed(cache: Path) -> None:
    evil = plant(cache)
    entry(cache).write_bytes(evil)
    is_harmless(cache)
    assert entry(cache).read_bytes() != evil


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o644, 0o666])
def test_an_entry_open_to_others_is_not_believed(
    cache: Path, mode: int, compilations: list[None]
) -> None:
    get(cache)
    entry(cache).chmod(mode)
    get(cache)
    assert len(compilations) == 2
    assert entry(cache).stat().st_mode == 0o100600


@as_root
def test_an_entry_of_somebody_elses_is_not_believed(cache: Path, compilations: list[None]) -> None:
    get(cache)
    os.chown(entry(cache), NOBODY, NOBODY)
    get(cache)
    assert len(compilations) == 2
    assert entry(cache).stat().st_uid == US


def test_a_link_is_not_followed(cache: Path, tmp_path: Path, compilations: list[None]) -> None:
    get(cache)
    path = entry(cache)
    elsewhere = tmp_path / "elsewhere"
    path.rename(elsewhere)
    path.symlink_to(elsewhere)
    get(cache)
    assert len(compilations) == 2
    assert not path.is_symlink()
    assert elsewhere.exists()


def test_a_fifo_does_not_hold_us_up(cache: Path, compilations: list[None]) -> None:
    get(cache)
    path = entry(cache)
    path.unlink()
    os.mkfifo(path, 0o600)
    get(cache)
    assert len(compilations) == 2
    assert path.is_file()


def test_a_directory_in_the_entrys_place_only_costs_time(
    cache: Path, compilations: list[None]
) -> None:
    get(cache)
    path = entry(cache)
    path.unlink()
    path.mkdir(0o700)
    is_harmless(cache)
    is_harmless(cache)
    assert len(compilations) == 3
    assert entry(cache) == path  # no temporary file is left


@pytest.mark.parametrize("mode", [0o755, 0o770, 0o707, 0o701, 0o1777])
def test_a_directory_open_to_others_is_not_used(
    cache: Path, mode: int, compilations: list[None]
) -> None:
    get(cache)
    cache.chmod(mode)
    get(cache)
    get(cache, section("KILL"))
    assert len(compilations) == 3
    assert len(list(cache.iterdir())) == 1


@as_root
def test_a_directory_of_somebody_elses_is_not_used(cache: Path, compilations: list[None]) -> None:
    plant(cache)
    os.chown(cache, NOBODY, NOBODY)
    before = len(compilations)
    is_harmless(cache)
    assert len(compilations) == before + 1


def test_a_link_to_a_directory_is_not_used(
    cache: Path, tmp_path: Path, compilations: list[None]
) -> None:
    get(cache)
    link = tmp_path / "link"
    link.symlink_to(cache)
    get(link)
    dangling = tmp_path / "dangling"
    dangling.symlink_to(tmp_path / "not there")
    get(dangling)
    assert len(compilations) == 3
    assert not (tmp_path / "not there").exists()


def test_something_else_in_the_directorys_place(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("x")
    is_harmless(path)
    assert path.read_text() == "x"
    is_harmless(tmp_path / "missing" / "parent")
    is_harmless(Path("/proc/kaa"))


@pytest.fixture
def world() -> Iterator[Path]:
    """A directory that every user can reach, unlike pytest's."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        os.chmod(name, 0o755)
        yield Path(name)


@as_root
def test_another_user_gets_and_plants_nothing(world: Path) -> None:
    """An unprivileged user runs kaa's own code on root's cache, and on one made for root."""
    cache, theirs = world / "cache", world / "theirs"
    get(cache)
    before = entry(cache).read_bytes()
    theirs.mkdir()
    theirs.chmod(0o777)
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setresgid(NOBODY, NOBODY, NOBODY)
            os.setresuid(NOBODY, NOBODY, NOBODY)
            ok = bool(get(cache, uid=NOBODY).program)
            ok &= bool(get(theirs / "for root", EVIL, uid=NOBODY).program)
            os._exit(0 if ok else 1)
        finally:
            os._exit(2)
    assert os.waitpid(child, 0)[1] == 0
    assert entry(cache).read_bytes() == before
    planted = theirs / "for root"
    assert planted.stat().st_uid == NOBODY
    assert len(list(planted.iterdir())) == 1
    planted_entry = entry(planted)
    planted_entry.rename(planted / entry(cache).name)
    is_harmless(planted)


# -- life --------------------------------------------------------------------


def test_the_number_of_entries_is_bounded(cache: Path) -> None:
    limit = seccomp_cache.MAX_ENTRIES
    directory = seccomp_cache.open_directory(str(cache), US)
    (cache / "left over").mkdir()
    try:
        for number in range(limit + 20):
            seccomp_cache.write(directory, f"k{number}", b"x")
            os.utime(cache / f"k{number}", ns=(number, number))
        assert len(list(cache.iterdir())) <= limit + 1
        assert seccomp_cache.read(directory, US, f"k{limit + 19}") == b"x"
        assert seccomp_cache.read(directory, US, "k0") is None
    finally:
        os.close(directory)


def test_a_full_disk_leaves_nothing(cache: Path) -> None:
    """A file size limit stands in for the disk: the write is cut short."""
    directory = seccomp_cache.open_directory(str(cache), US)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        for room in (0, 50):
            resource.setrlimit(resource.RLIMIT_FSIZE, (room, limits[1]))
            seccomp_cache.write(directory, "key", bytes(100))
            assert os.listdir(directory) == []
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        seccomp_cache.write(directory, "key", bytes(100))
        assert os.listdir(directory) == ["key"]
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        os.close(directory)


def _hammer(path: str, seed: int) -> None:
    for turn in range(60):
        errno = (seed + turn) % 3 + 1
        profile = section("ERRNO", rule("ALLOW", "read", "close_range"), defaultErrnoRet=errno)
        found = get(Path(path), profile)
        assert bpf.run(found.program, bpf.X86_64, 1) == bpf.ERRNO | errno
        if turn % 5 == 0:
            for item in os.listdir(path):
                try:
                    os.unlink(f"{path}/{item}")
                except FileNotFoundError:
                    pass


def test_concurrent_writers_and_removers(cache: Path) -> None:
    """Nobody ever sees half an entry, or an error, whoever else is at it."""
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_hammer, args=(str(cache), seed)) for seed in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0] * 4
    assert all("." not in item.name for item in cache.iterdir())


def test_no_descriptor_is_left(cache: Path) -> None:
    before = os.listdir("/proc/self/fd")
    for _ in range(3):
        get(cache)
    with pytest.raises(ConfigError):
        get(cache, {"defaultAction": "?"})
    cache.chmod(0o755)
    get(cache)
    assert os.listdir("/proc/self/fd") == before
