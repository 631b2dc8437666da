"""Id-mapped mounts and the power of the caller, as programs."""

from typing import Any

import pytest

from kaa.compile import exec as exec_compiler
from kaa.compile import namespaces
from kaa.compile.id_maps import mappings, open_user_namespaces
from kaa.compile.inputs import Inputs
from kaa.compile.process import Capabilities
from kaa.program.program import Program

CONTAINER = [{"containerID": 0, "hostID": 200000, "size": 65536}]
OWN = [{"containerID": 0, "hostID": 7000, "size": 10}]
DUMPABLE = 4


def inputs(*mounts: dict[str, Any], user: str | None = "", **more: Any) -> Inputs:
    linux = {"uidMappings": CONTAINER, "gidMappings": CONTAINER} if user == "" else {}
    config = {
        "root": {"path": "/"},
        "process": {"args": ["true"], "cwd": "/"},
        "mounts": [
            {"destination": "/vol", "source": "/srv", **mount}
            for mount in mounts
        ],
        "linux": linux,
    }  # fmt: skip
    kinds = {"mount": ""} if user is None else {"mount": "", "user": user}
    return Inputs(config, namespaces=kinds, rootfs="/bundle/rootfs", **more)


def prctls(p: Program) -> list[tuple[str, int]]:
    """The calls that matter: dumpable (with its value) and what makes or joins namespaces."""
    found = []
    for op in p.ops:
        if op.call == "prctl" and op.args[0] == DUMPABLE:
            found.append(("dumpable", op.args[1]))
        elif op.call in ("setns", "unshare"):
            found.append((op.call, 0))
    return found


def test_only_mapped_mounts_have_mappings() -> None:
    found = mappings(
        inputs(
            {"options": ["bind"]},
            {"options": ["bind", "idmap"]},
            {"options": ["rbind", "ridmap"], "uidMappings": OWN, "gidMappings": OWN},
            {"options": ["rbind"], "uidMappings": OWN, "gidMappings": OWN},
        )
    )
    assert found == {1: (CONTAINER, CONTAINER), 2: (OWN, OWN), 3: (OWN, OWN)}


def test_the_mappings_of_a_joined_namespace_are_unknown() -> None:
    found = mappings(inputs({"options": ["bind", "idmap"]}, user="/proc/1/ns/user"))
    assert found == {0: ([], [])}


def test_each_namespace_is_opened_once() -> None:
    p = Program()
    paths = {0: "/proc/7/ns/user", 1: "/proc/8/ns/user", 4: "/proc/7/ns/user"}
    slots = open_user_namespaces(p, inputs(user_namespaces=paths))
    assert [op.call for op in p.ops] == ["openat", "openat"]
    assert slots[0] is slots[4]
    assert slots[0] is not slots[1]


@pytest.mark.parametrize("privileged", [True, False])
def test_dumpable_only_for_the_time_of_the_maps(privileged: bool) -> None:
    """Whoever is dumpable in a namespace can be traced by others there."""
    wanted = inputs(privileged=privileged)
    p = Program()
    namespaces.enter_user(p, wanted, {})
    namespaces.become_root(p, wanted)
    unshare = [("unshare", 0)]
    assert prctls(p) == (
        unshare if privileged else [("dumpable", 1), *unshare, ("dumpable", 0)]
    )  # fmt: skip


def test_a_joined_user_namespace_is_never_entered_dumpable() -> None:
    wanted = inputs(user="/proc/1/ns/user", privileged=False)
    p = Program()
    opened = namespaces.open_joined(p, wanted)
    namespaces.enter_user(p, wanted, opened)
    namespaces.become_root(p, wanted)
    assert ("dumpable", 1) not in prctls(p)


def test_exec_enters_undumpable_even_after_an_oom_score() -> None:
    wanted = inputs(privileged=False)
    doc = {"args": ["true"], "cwd": "/", "oomScoreAdj": 500}
    p = Program()
    target = exec_compiler.hold(p, 1)
    exec_compiler.enter(p, wanted, doc, target, Capabilities(None, 40), None)
    calls = prctls(p)
    before = calls[: calls.index(("setns", 0))]
    assert before == [("dumpable", 1), ("dumpable", 0)]
    assert ("dumpable", 1) not in calls[len(before) :]


def test_the_lowest_id_stands_in_for_root() -> None:
    wanted = inputs()
    wanted.linux["uidMappings"] = [
        {"containerID": 2000, "hostID": 9, "size": 1},
        {"containerID": 1000, "hostID": 10, "size": 1},
    ]
    assert namespaces.lowest_id(wanted, "uidMappings") == 1000
    assert namespaces.lowest_id(wanted, "gidMappings") == 0
    p = Program()
    namespaces.become_root(p, wanted)
    (op,) = [op for op in p.ops if op.call == "setresuid"]
    assert op.args == (1000, 1000, 1000)
