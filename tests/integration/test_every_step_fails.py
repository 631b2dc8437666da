"""Every step of a container's programs is made to fail in turn; nothing may be left.

A step fails for real: its op is replaced, in the batch that is sent, by a
close(-1), so the kernel refuses it and kaa-init stops there. Then the whole
way back is taken by the code that users have.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from kit import config
from kit.container import Container

from kaa.caller import Caller
from kaa.container.create import create
from kaa.container.delete import delete
from kaa.container.exec import exec as exec_
from kaa.container.run import run
from kaa.container.runtime import Runtime
from kaa.container.start import start
from kaa.errors import ContainerNotFound, KaaError
from kaa.program import init as program_init
from kaa.program.init import Init
from kaa.program.program import Program
from kaa.program.wire import encode

pytestmark = pytest.mark.kaa_only("it reaches into kaa")


class Saboteur:
    """Replaces the op that is `target`-th of all that are sent."""

    def __init__(self) -> None:
        self.target = -1
        self.seen = 0
        self.hit = ""

    def aim(self, target: int) -> None:
        self.target, self.seen, self.hit = target, 0, ""

    def encode(self, program: Program) -> bytes:
        at = self.target - self.seen
        self.seen += len(program)
        if 0 <= at < len(program):
            op = program.op(at)
            self.hit = f"{op.call}: {op.phrase} [{op.pointer}]"
            broken = Program()
            broken.call("close", -1)
            size = len(broken.code)
            # a jump leads on, and a policy of the step's own may forgive: that is the program's say
            broken.code[4:6] = program.code[at * size + 4 : at * size + 6]
            if op.policy:
                broken.code[8:16] = program.code[at * size + 8 : at * size + 16]
            program.code[at * size : (at + 1) * size] = broken.code
        return encode(program)


@pytest.fixture
def saboteur(monkeypatch: pytest.MonkeyPatch) -> Saboteur:
    found = Saboteur()
    monkeypatch.setattr(program_init, "encode", found.encode)
    return found


@pytest.fixture(scope="module")
def caller() -> Iterator[Caller]:
    """Silent; and the sealed kaa-init that a process keeps is there before anyone counts."""
    found = Caller.of_this_process()
    with open("/dev/null", "r+b") as null:
        found.stdio = (null.fileno(), null.fileno(), null.fileno())
        Init.spawn(found).end()
        yield found


@pytest.fixture
def here(tmp: Path, caller: Caller) -> Runtime:
    return Runtime(str(tmp / "root"), caller)


def fail_each(
    saboteur: Saboteur, check: Callable[[], None], root: Path, attempt: Callable[[], None]
) -> tuple[int, int]:
    """Run `attempt` with each op broken in turn; how many failed, and how many were forgiven."""
    failed = forgiven = target = 0
    while True:
        saboteur.aim(target)
        words = "nothing went wrong"
        try:
            attempt()
        except KaaError as error:
            failed += 1
            words = str(error)
        else:
            if not saboteur.hit:
                return failed, forgiven
            forgiven += 1
        assert words, saboteur.hit
        left = [p.name for p in root.glob("*") if p.name not in (".locks", ".cache")]
        assert not left, f"{saboteur.hit} left {left}"
        assert not list((root / ".locks").glob("*")), saboteur.hit
        if target % 50 == 0:
            check()
        target += 1


@pytest.fixture
def bundle(container: Container) -> Path:
    container.process["args"] = ["true"]
    container.linux["sysctl"] = {"net.ipv4.ip_forward": "1"}
    container.linux["resources"] = {"memory": {"limit": 64 << 20}, "pids": {"limit": 20}}
    container.config["hooks"] = {
        "createContainer": [{"path": "/bin/true"}],
        "startContainer": [{"path": "/bin/true"}],
    }
    container.write()
    return container.bundle


def test_run(
    here: Runtime, bundle: Path, saboteur: Saboteur, nothing_is_left: Callable[[], None]
) -> None:
    failed, _ = fail_each(
        saboteur,
        nothing_is_left,
        Path(here.root),
        lambda: forget(run(here, "c", bundle=str(bundle))),
    )
    assert failed > 200


def test_run_in_a_user_namespace(
    here: Runtime,
    container: Container,
    saboteur: Saboteur,
    nothing_is_left: Callable[[], None],
) -> None:
    config.add_user_namespace(container.config)
    container.process["args"] = ["true"]
    container.mounts.append({"destination": "/mnt", "source": "/etc", "options": ["rbind", "ro"]})
    (container.rootfs / "mnt").mkdir(exist_ok=True)
    container.write()
    failed, _ = fail_each(
        saboteur,
        nothing_is_left,
        Path(here.root),
        lambda: forget(run(here, "c", bundle=str(container.bundle))),
    )
    assert failed > 200


def test_create_and_start(
    here: Runtime, bundle: Path, saboteur: Saboteur, nothing_is_left: Callable[[], None]
) -> None:
    def attempt() -> None:
        try:
            create(here, "c", bundle=str(bundle))
            start(here, "c")
        finally:
            try:
                delete(here, "c", force=False)
            except ContainerNotFound:
                pass
            except KaaError:
                delete(here, "c", force=True)

    failed, _ = fail_each(saboteur, nothing_is_left, Path(here.root), attempt)
    assert failed > 200


def test_exec(
    here: Runtime,
    container: Container,
    saboteur: Saboteur,
    nothing_is_left: Callable[[], None],
) -> None:
    """The container itself is not disturbed by an exec that fails."""
    container.process["args"] = ["sleep", "1000"]
    container.write()
    create(here, "c", bundle=str(container.bundle))
    try:
        start(here, "c")
        failed = target = 0
        while True:
            saboteur.aim(target)
            try:
                assert exec_(here, "c", args=["true"]) == 0
            except KaaError:
                failed += 1
            else:
                if not saboteur.hit:
                    break
            target += 1
        assert failed > 40
        saboteur.aim(-1)
        assert exec_(here, "c", args=["sh", "-c", "exit 7"]) == 7
    finally:
        delete(here, "c", force=True)


def forget(code: int) -> None:
    assert code == 0
