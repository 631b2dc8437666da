"""Properties of `linux` and of hooks that no other test shows in a container that runs."""

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from kit import config
from kit.container import Container, wait_for

KINDS = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")
SINCE_1_2 = "came with runc 1.2"


@pytest.mark.parametrize("kind", KINDS)
def test_every_property_of_a_hook(container: Container, kind: str) -> None:
    """path, args, env and timeout, for each of the six lists."""
    inside = kind == "startContainer"
    seen = Path("/seen") if inside else container.bundle / "seen"
    hook = container.bundle / "hook"
    hook.write_text('#!/bin/sh\necho "$0 $1 $HOOK_SAYS" >> "$HOOK_FILE"\n')
    hook.chmod(0o755)
    if inside:
        hook.rename(container.rootfs / "hook")
        hook = Path("/hook")
    container.config["hooks"] = {
        kind: [
            {
                "path": str(hook),
                "args": ["its-own-name", "argument"],
                "env": ["HOOK_SAYS=hello", f"HOOK_FILE={seen}", config.PATH],
                "timeout": 20,
            }
        ]
    }
    container.run().ok()
    found = (container.rootfs / "seen" if inside else seen).read_text()
    assert re.fullmatch(r"\S+ argument hello\n", found)


@pytest.mark.parametrize("kind", KINDS)
def test_a_hook_that_takes_too_long(container: Container, kind: str) -> None:
    hook: dict[str, Any] = {"path": "/bin/sleep", "args": ["sleep", "30"], "timeout": 1}
    container.config["hooks"] = {kind: [hook]}
    result = container.run(timeout=20)
    assert "timeout" in result.err
    assert (result.code == 0) == (kind == "poststop"), str(result)


def test_annotations_reach_the_state(container: Container) -> None:
    container.config["annotations"] = {"org.example.a": "1", "org.example.empty": ""}
    container.create().ok()
    assert container.state()["annotations"] == {"org.example.a": "1", "org.example.empty": ""}


@pytest.mark.kaa_only("came with runc 1.3")
@pytest.mark.parametrize(
    ("policy", "shown"),
    [
        ({"mode": "MPOL_BIND", "nodes": "0"}, "bind:0"),
        ({"mode": "MPOL_INTERLEAVE", "nodes": "0"}, "interleave:0"),
        ({"mode": "MPOL_PREFERRED", "nodes": "0"}, "prefer:0"),
        ({"mode": "MPOL_LOCAL"}, "local"),
        (
            {"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"]},
            "bind=static:0",
        ),
    ],
)
def test_memory_policy(container: Container, policy: dict[str, Any], shown: str) -> None:
    if not Path("/proc/self/numa_maps").exists():
        pytest.skip("a kernel without CONFIG_NUMA")
    container.linux["memoryPolicy"] = policy
    assert shown in container.script("cat /proc/self/numa_maps").run().ok().out


@pytest.mark.kaa_only("came with runc 1.3")
@pytest.mark.parametrize(
    ("name", "policy"),
    [
        ("mode", {"mode": "MPOL_NONE"}),
        ("nodes", {"mode": "MPOL_BIND", "nodes": "a-b"}),
        ("nodes", {"mode": "MPOL_BIND", "nodes": "3-1"}),
        ("nodes", {"mode": "MPOL_BIND", "nodes": "1-2-3"}),
        ("nodes", {"mode": "MPOL_BIND", "nodes": "0-18446744073709551616"}),
        ("flags", {"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_NONE"]}),
    ],
)
def test_a_memory_policy_that_there_is_not(
    container: Container, name: str, policy: dict[str, Any]
) -> None:
    container.linux["memoryPolicy"] = policy
    container.run().failed(f"/linux/memoryPolicy/{name}", code=1)


@pytest.mark.kaa_only("runc 1.1 has no personality")
def test_flags_of_a_personality_do_nothing(container: Container) -> None:
    """The specification names none that a runtime must know."""
    container.linux["personality"] = {"domain": "LINUX32", "flags": ["ADDR_NO_RANDOMIZE"]}
    assert container.script("uname -m").run().ok().out.strip() in ("i686", "armv8l")


def test_namespaces_by_type_and_path(container: Container) -> None:
    path = f"/proc/{os.getpid()}/ns/uts"
    config.drop_namespace(container.config, "uts")
    container.config.pop("hostname")
    container.linux["namespaces"].append({"type": "uts", "path": path})
    assert container.script("readlink /proc/self/ns/uts").run().ok().out.strip() == os.readlink(
        "/proc/self/ns/uts"
    )


def test_mappings_of_a_user_namespace(container: Container) -> None:
    container.linux["namespaces"].append({"type": "user"})
    container.linux["uidMappings"] = [{"containerID": 0, "hostID": 210000, "size": 7}]
    container.linux["gidMappings"] = [{"containerID": 0, "hostID": 220000, "size": 9}]
    os.chown(container.rootfs, 210000, 220000)
    shown = container.script("cat /proc/self/uid_map /proc/self/gid_map").run().ok().out
    assert shown.split() == ["0", "210000", "7", "0", "220000", "9"]


@pytest.mark.kaa_only(SINCE_1_2)
def test_mappings_of_a_mount(container: Container) -> None:
    source = container.bundle / "source"
    source.mkdir()
    (source / "file").touch()
    os.chown(source / "file", 3, 4)
    container.mounts.append(
        {
            "destination": "/mapped",
            "type": "none",
            "source": str(source),
            "options": ["bind"],
            "uidMappings": [{"containerID": 0, "hostID": 1000, "size": 100}],
            "gidMappings": [{"containerID": 0, "hostID": 2000, "size": 100}],
        }
    )
    shown = container.script("stat -c '%u %g' /mapped/file").run().ok().out
    assert shown == "1003 2004\n"


def test_a_device_of_the_config(container: Container) -> None:
    container.linux["devices"] = [
        {
            "type": "c",
            "path": "/dev/kaa-zero",
            "major": 1,
            "minor": 5,
            "fileMode": 0o640,
            "uid": 12,
            "gid": 34,
        }
    ]
    container.linux["resources"]["devices"].append(
        {"allow": True, "type": "c", "major": 1, "minor": 5, "access": "rw"}
    )
    shown = container.script("stat -c '%t %T %a %u %g' /dev/kaa-zero").run().ok().out
    assert shown == "1 5 640 12 34\n"


def test_masked_and_read_only_paths(container: Container) -> None:
    (container.rootfs / "secret").write_text("secret")
    (container.rootfs / "fixed").mkdir()
    container.linux["maskedPaths"] = ["/secret", "/no/such/path"]
    container.linux["readonlyPaths"] = ["/fixed", "/no/such/path"]
    shown = container.script("cat /secret; touch /fixed/x 2>&1; true").run().ok().out
    assert "secret" not in shown
    assert "Read-only file system" in shown


@pytest.mark.kaa_only("runc 1.1 has no time namespaces")
def test_offsets_of_the_clocks(container: Container) -> None:
    if not Path("/proc/self/ns/time").exists():
        pytest.skip("a kernel without time namespaces")
    container.linux["namespaces"].append({"type": "time"})
    container.linux["timeOffsets"] = {
        "boottime": {"secs": 7_000_000, "nanosecs": 5},
        "monotonic": {"secs": 8_000_000, "nanosecs": 6},
    }
    up = float(Path("/proc/uptime").read_text().split()[0])
    shown = container.script("cat /proc/self/timens_offsets /proc/uptime").run().ok().out.split()
    assert shown[:6] == ["monotonic", "8000000", "6", "boottime", "7000000", "5"]
    assert float(shown[6]) >= up + 7_000_000


def test_the_state_on_stdin_names_the_container(container: Container) -> None:
    seen = container.bundle / "state"
    container.config["hooks"] = {
        "poststop": [{"path": "/bin/sh", "args": ["sh", "-c", f"cat > {seen}"]}]
    }
    container.run().ok()
    wait_for(seen.exists, "the hook")
    assert json.loads(seen.read_text())["id"] == container.id
