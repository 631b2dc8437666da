"""What `features` says kaa can do, done: every claim of the document, by a container."""

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kit import config
from kit.container import Container, mount_at
from kit.runtime import Runtime

from kaa.compile.capabilities import NUMBERS

Json = dict[str, Any]
ELSEWHERE = {
    "remount": "integration/rootfs_programs/test_options.py",
    "idmap": "integration/properties/test_id_mapped_mounts.py",
    "ridmap": "integration/properties/test_id_mapped_mounts.py",
}
NEEDS_TMPFS = {"tmpcopyup"}
pytestmark = pytest.mark.kaa_only("what runc 1.1 says of itself is runc's")


@pytest.fixture
def features(runtime: Runtime) -> Json:
    found: Json = json.loads(runtime("features").ok().out)
    return found


def test_every_mount_option(container: Container, features: Json) -> None:
    """All in one container, each on a mount of its own."""
    source = container.bundle / "source"
    source.mkdir()
    options = [option for option in features["mountOptions"] if option not in ELSEWHERE]
    assert len(options) > 50
    for number, option in enumerate(options):
        target = f"/m/{number}"
        if option in NEEDS_TMPFS:
            container.mounts.append(config.tmpfs(target, option))
        else:
            kind = option if option in ("bind", "rbind") else "bind"
            more = [] if option in ("bind", "rbind") else [option]
            mount = {"destination": target, "source": str(source), "options": [kind, *more]}
            container.mounts.append(mount)
    shown = container.script("grep -c ' /m/' /proc/self/mountinfo").run().ok()
    assert shown.out == f"{len(options)}\n"


def test_every_option_of_a_superblock(container: Container, features: Json) -> None:
    options = ["sync", "async", "dirsync", "lazytime", "nolazytime", "silent", "loud"]
    options += ["iversion", "noiversion", "nomand", "ro", "rw"]
    assert set(options) <= set(features["mountOptions"])
    for number, option in enumerate(options):
        container.mounts.append(config.tmpfs(f"/m/{number}", option))
    container.sleeping()
    mounts = container.mountinfo()
    assert "sync" in mount_at(mounts, "/m/0")["super"]
    assert "dirsync" in mount_at(mounts, "/m/2")["super"]
    assert "lazytime" in mount_at(mounts, "/m/3")["super"]
    assert "ro" in mount_at(mounts, "/m/10")["options"]


def test_every_namespace(container: Container, features: Json) -> None:
    kinds = features["linux"]["namespaces"]
    if "time" in kinds and not Path("/proc/self/ns/time").exists():
        kinds.remove("time")
    config.add_user_namespace(container.config)
    os.chown(container.rootfs, 200000, 200000)
    container.linux["namespaces"] = [{"type": kind} for kind in kinds]
    container.sleeping()
    names = {"mount": "mnt", "network": "net"}
    assert len(kinds) >= 7
    for kind in kinds:
        name = names.get(kind, kind)
        link = os.readlink(f"/proc/{container.pid}/ns/{name}")
        assert link != os.readlink(f"/proc/self/ns/{name}"), kind


def test_every_capability(container: Container, features: Json) -> None:
    """All that the tests themselves hold: nobody can give more (capabilities(7))."""
    own = int(re.findall(r"CapEff:\s*(\w+)", Path("/proc/self/status").read_text())[0], 16)
    names = features["linux"]["capabilities"]
    assert len(names) >= 41
    held = [name for name in names if own >> NUMBERS[name] & 1]
    sets = ("bounding", "permitted", "effective")
    container.process["capabilities"] = dict.fromkeys(sets, held)
    shown = container.script("grep CapEff /proc/self/status").run().ok().out
    assert int(shown.split()[1], 16) == own


def test_every_hook(container: Container, features: Json) -> None:
    seen = container.bundle / "seen"
    inside = container.rootfs / "seen"
    assert len(features["hooks"]) == 6
    container.config["hooks"] = {
        kind: [
            {
                "path": "/bin/sh",
                "args": [
                    "sh",
                    "-c",
                    f"echo {kind} >> " + ("/seen" if kind == "startContainer" else str(seen)),
                ],
            }
        ]
        for kind in features["hooks"]
    }
    container.run().ok()
    assert set((seen.read_text() + inside.read_text()).split()) == set(features["hooks"])


def allowing(container: Container, **section: Any) -> None:
    container.linux["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", **section}


def test_every_seccomp_action(container: Container, features: Json) -> None:
    """Each for a call that nobody makes; NOTIFY needs a listener (test_seccomp_properties)."""
    calls = ["acct", "swapon", "swapoff", "reboot", "vhangup", "quotactl", "kexec_load",
             "init_module", "delete_module", "bpf", "userfaultfd"]  # fmt: skip
    actions = [a for a in features["linux"]["seccomp"]["actions"] if a != "SCMP_ACT_NOTIFY"]
    assert len(actions) >= 7
    rules = [
        {"names": [call], "action": action} for call, action in zip(calls, actions, strict=False)
    ]
    allowing(container, syscalls=rules)
    container.run().ok()


def test_every_seccomp_operator(container: Container, features: Json) -> None:
    operators = features["linux"]["seccomp"]["operators"]
    assert len(operators) == 7
    rules = [
        {
            "names": ["acct"],
            "action": "SCMP_ACT_ERRNO",
            "args": [{"index": 0, "value": 1, "valueTwo": 1, "op": operator}],
        }
        for operator in operators
    ]
    allowing(container, syscalls=rules)
    container.run().ok()


def test_every_seccomp_architecture(
    new_container: Callable[..., Container], features: Json
) -> None:
    """Foreign ones say nothing about a program of this machine."""
    container = new_container()
    rules = [{"names": ["acct"], "action": "SCMP_ACT_ERRNO"}]
    archs = features["linux"]["seccomp"]["archs"]
    assert len(archs) > 10
    allowing(container, architectures=archs, syscalls=rules)
    container.run().ok()


def test_every_seccomp_flag(container: Container, features: Json) -> None:
    """WAIT_KILLABLE_RECV is for filters with a listener only: the kernel's rule."""
    flags = features["linux"]["seccomp"]["supportedFlags"]
    assert set(flags) <= set(features["linux"]["seccomp"]["knownFlags"])
    rules = [{"names": ["acct"], "action": "SCMP_ACT_ERRNO"}]
    usual = [flag for flag in flags if not flag.endswith("_WAIT_KILLABLE_RECV")]
    for flag in usual:
        allowing(container, flags=[flag], syscalls=rules)
        container.run().ok()
    assert len(usual) >= 3


def test_every_memory_policy(container: Container, features: Json) -> None:
    if not Path("/proc/self/numa_maps").exists():
        pytest.skip("a kernel without CONFIG_NUMA")
    policies: list[Json] = []
    for mode in features["linux"]["memoryPolicy"]["modes"]:
        nodes = {} if mode in ("MPOL_DEFAULT", "MPOL_LOCAL") else {"nodes": "0"}
        policies.append({"mode": mode, **nodes})
    bind = {"mode": "MPOL_BIND", "nodes": "0"}
    policies += [{**bind, "flags": [flag]} for flag in features["linux"]["memoryPolicy"]["flags"]]
    assert len(policies) >= 9
    for policy in policies:
        container.linux["memoryPolicy"] = policy
        container.run().ok()


def test_the_cgroups_of_this_machine(features: Json) -> None:
    version = "v2" if Path("/sys/fs/cgroup/cgroup.controllers").exists() else "v1"
    assert features["linux"]["cgroup"][version] is True


def test_checkpoints_are_claimed_only_if_there_is_the_command(runtime: Runtime) -> None:
    features = json.loads(runtime("features").ok().out)
    claim = features["annotations"].get("org.opencontainers.runc.checkpoint.enabled", "false")
    known = runtime("checkpoint", "--help").code == 0
    assert (claim == "true") == known
