"""`kaa spec` against `runc spec`."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from unit.spec import schemas

from kaa.spec.default import document
from kaa.spec.validate import validate

RUNC = shutil.which("runc")


@pytest.mark.parametrize("rootless", [False, True])
@pytest.mark.parametrize("cgroup2", [False, True])
def test_it_is_valid(rootless: bool, cgroup2: bool) -> None:
    written = document(rootless, (1000, 1001), cgroup2)
    schemas.validator("config-schema.json").validate(written)
    validate(written)


def test_each_call_makes_another_one() -> None:
    first = document()
    first["process"]["args"].append("x")
    first["mounts"].clear()
    assert document()["process"]["args"] == ["sh"]
    assert document()["mounts"]


def test_no_capability_comes_back_by_itself() -> None:
    assert set(document()["process"]["capabilities"]) == {"bounding", "effective", "permitted"}


def test_the_ids_of_the_user_are_mapped() -> None:
    linux = document(True, (1000, 1001))["linux"]
    assert linux["uidMappings"] == [{"containerID": 0, "hostID": 1000, "size": 1}]
    assert linux["gidMappings"] == [{"containerID": 0, "hostID": 1001, "size": 1}]


def comparable(written: dict[str, Any]) -> dict[str, Any]:
    """Without what is different on purpose, and without an order where there is none."""
    written["ociVersion"] = written["hostname"] = ""
    for name in ("ambient", "inheritable"):
        written["process"]["capabilities"].pop(name, None)
    for name in ("maskedPaths", "readonlyPaths"):
        written["linux"][name] = sorted(written["linux"][name])
    written["linux"]["namespaces"].sort(key=lambda entry: entry["type"])
    return written


@pytest.mark.skipif(RUNC is None, reason="runc is not installed")
@pytest.mark.parametrize("rootless", [False, True])
def test_it_is_what_runc_writes(rootless: bool, tmp_path: Path) -> None:
    assert RUNC
    version = subprocess.run([RUNC, "--version"], capture_output=True, text=True, check=True)
    if not version.stdout.startswith("runc version 1.1."):
        pytest.skip(f"compared with runc 1.1, not {version.stdout.splitlines()[0]}")
    options = ["--rootless"] if rootless else []
    subprocess.run([RUNC, "spec", *options], cwd=tmp_path, check=True)
    expected = json.loads((tmp_path / "config.json").read_text())
    assert comparable(document(rootless)) == comparable(expected)
