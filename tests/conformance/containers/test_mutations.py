"""Documents that were valid until something was done to them.

Whatever it was: the container runs, or there is one error that names the place. Nothing
is left, nothing hangs, and nothing is ever an error of kaa's own.
"""

import json
import os
import re
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, assume, event, given, settings
from kit import leftovers
from kit.config import Config
from kit.container import Container
from kit.runtime import Result

from . import documents

EXAMPLES = int(os.environ.get("KAA_EXAMPLES", "120"))
TIMEOUT = 30.0  # seconds; a healthy run takes a few tenths of one
MESSAGE_MAX = 7000  # the longest of the strings is named whole where it is a program's name
ERROR = re.compile(r'level=error msg="(.*)"$')
POINTER = re.compile(r"(/[^\s:]*: )|((config\.json|process|resources) )")  # the whole has none

pytestmark = [
    pytest.mark.slow,
    pytest.mark.kaa_only("runc's errors name no place"),
]


@pytest.fixture
def bundle(container: Container) -> Container:
    source = container.bundle / "source"
    source.mkdir()
    (source / "file").write_text("of the host")
    return container


def write(container: Container, document: Config) -> None:
    """Surrogates that no UTF-8 has are written as JSON's own escapes."""
    linux = document.get("linux")
    if isinstance(linux, dict) and isinstance(linux.get("cgroupsPath"), str):
        linux["cgroupsPath"] = f"/{container.id}{linux['cgroupsPath']}"
    (container.bundle / "config.json").write_text(json.dumps(document), "ascii")


def judge(result: Result, *, code: int, prefix: str = "") -> None:
    """There is no error, or one that is as errors have to be."""
    result.sane()
    errors = [line for line in result.err.splitlines() if "level=error" in line]
    assert len(errors) <= 1, str(result)
    event("refused" if errors else "runs")
    if errors:
        assert result.code == code, str(result)
        found = ERROR.search(errors[0])
        assert found, str(result)
        assert found[1].startswith(prefix), str(result)
        assert POINTER.match(found[1].removeprefix(prefix)), str(result)
        assert len(errors[0]) < MESSAGE_MAX, "an error is for people"
        assert errors[0].isprintable(), "and for their terminals"


def profile(examples: int) -> settings:
    return settings(
        max_examples=examples,
        deadline=None,
        derandomize=bool(os.environ.get("CI")),
        database=None,
        suppress_health_check=list(HealthCheck),
    )


@profile(EXAMPLES)
@given(document=documents.mutants())
def test_it_runs_or_says_where(
    bundle: Container, nothing_is_left: Callable[[], None], document: Config
) -> None:
    assume(documents.has_mount_namespace(document))
    write(bundle, document)
    result = bundle.runtime("run", "--bundle", bundle.bundle, bundle.id, timeout=TIMEOUT)
    judge(result, code=1, prefix="kaa run failed: ")
    assert (bundle.bundle / "source/file").read_text() == "of the host"
    assert not (bundle.runtime.root / bundle.id).exists(), str(result)
    nothing_is_left()


@pytest.fixture
def running(container: Container) -> Container:
    return container.sleeping()


@profile(EXAMPLES // 3)
@given(process=documents.sections(documents.plain()["process"]))
def test_exec_runs_or_says_where(running: Container, process: Config) -> None:
    path = running.bundle / "process.json"
    path.write_text(json.dumps(process), "ascii")
    result = running.runtime("exec", "--process", path, running.id, timeout=TIMEOUT)
    judge(result, code=255, prefix="exec failed: ")
    assert running.status == "running"


@profile(EXAMPLES // 3)
@given(resources=documents.sections(documents.plain()["linux"]["resources"]))
def test_update_works_or_says_where(running: Container, resources: Config) -> None:
    """A limit may be so low that the container dies of it; then there is another one."""
    if running.status != "running":
        running.delete().ok()
        running.sleeping()
    document = json.dumps(resources)
    result = running.runtime("update", "-r", "-", running.id, stdin=document, timeout=TIMEOUT)
    judge(result, code=1)


def test_the_documents_themselves_run(
    new_container: Callable[..., Container], nothing_is_left: Callable[[], None]
) -> None:
    """Or nothing would be tested."""
    for base in documents.BASES:
        container = new_container()
        (container.bundle / "source").mkdir()
        container.config = base()
        if base is documents.apart:
            os.chown(container.rootfs, 200000, 200000)
        container.run().ok()
    nothing_is_left()


def test_what_is_left_would_be_seen(container: Container) -> None:
    before = leftovers.Snapshot()
    container.create().ok()
    assert leftovers.since(before, seconds=0)
    container.delete().ok()
