"""What is in the wheel, and that the same source gives the same wheel everywhere."""

import os
import shutil
import struct
import tarfile
import zipfile
from pathlib import Path

import pytest

from .conftest import ROOT, build, copy_source, run

EM_X86_64, EM_AARCH64 = 62, 183  # elf(5), e_machine


def elf_machine(image: bytes) -> int:
    assert image[:4] == b"\x7fELF"
    (machine,) = struct.unpack_from("<H", image, 18)
    return int(machine)


def programs(wheel: Path) -> dict[str, bytes]:
    """The two compiled programs by their path in the wheel."""
    with zipfile.ZipFile(wheel) as archive:
        names = [n for n in archive.namelist() if n.endswith(("kaa-init", "scripts/kaa"))]
        return {name: archive.read(name) for name in names}


def test_contents(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        modes = {info.filename: info.external_attr >> 16 & 0o777 for info in archive.infolist()}
    data = next(name.split("/")[0] for name in modes if ".data/" in name)
    assert modes["kaa/init/kaa-init"] == 0o755
    assert modes[f"{data}/scripts/kaa"] == 0o755
    assert modes["kaa/py.typed"] == 0o644
    assert f"{data}/data/share/man/man8/kaa-run.8" in modes
    assert f"{data}/data/share/bash-completion/completions/kaa" in modes
    assert [name for name in modes if name.startswith("kaa/init/")] == ["kaa/init/kaa-init"]
    assert not [name for name in modes if name.endswith((".c", ".h", ".pyc"))]


def test_is_tagged_for_the_machine(wheel: Path) -> None:
    assert wheel.name.endswith(f"-py3-none-linux_{os.uname().machine}.whl")
    with zipfile.ZipFile(wheel) as archive:
        name = next(n for n in archive.namelist() if n.endswith("/WHEEL"))
        assert "Root-Is-Purelib: false" in archive.read(name).decode()


def test_is_reproducible_from_anywhere_and_through_an_sdist(tmp_path: Path) -> None:
    source = copy_source(tmp_path / "source")
    wheel = build("wheel", tmp_path / "first", source)
    # No .git is there, but what an editable install for another machine has left.
    (source / "src/kaa/init/kaa-init").write_bytes(b"of another machine")
    sdist = build("sdist", tmp_path / "sdist", source)
    with tarfile.open(sdist) as archive:
        names = archive.getnames()
    (tmp_path / "unpacked").mkdir()
    run("tar", "-xf", sdist, "-C", tmp_path / "unpacked")
    assert not [n for n in names if n.endswith(("/kaa-init", "/calls.h", ".pyc"))]
    assert [n for n in names if n.endswith("/tests/packaging/test_wheel.py")]
    (unpacked,) = (tmp_path / "unpacked").iterdir()
    before = os.umask(0o077)
    try:
        again = build("wheel", tmp_path / "second", unpacked)
    finally:
        os.umask(before)
    assert programs(again) == programs(wheel)
    assert again.read_bytes() == wheel.read_bytes()


def test_building_leaves_nothing_in_the_source(tmp_path: Path) -> None:
    source = copy_source(tmp_path / "source")
    before = sorted(source.rglob("*"))
    build("wheel", tmp_path / "wheel", source, PYTHONDONTWRITEBYTECODE="1")
    assert sorted(source.rglob("*")) == before


def test_cross_compiles(tmp_path: Path) -> None:
    machine, number = "aarch64", EM_AARCH64
    if os.uname().machine == machine:
        machine, number = "x86_64", EM_X86_64
    cc = f"{machine}-linux-gnu-gcc"
    if not shutil.which(cc):
        pytest.skip(f"{cc} is not installed")
    wheel = build("wheel", tmp_path, ROOT, CC=cc)
    assert wheel.name.endswith(f"-linux_{machine}.whl")
    assert {elf_machine(image) for image in programs(wheel).values()} == {number}
    assert len(programs(wheel)) == 2
