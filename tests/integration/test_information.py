"""What clients read of the runtime itself: version, features, help, keyring, pidfd."""

import json
import os
import re
from pathlib import Path

import pytest
from kit import probe
from kit.console import ConsoleSocket
from kit.container import Container
from kit.runtime import Runtime


def test_version(runtime: Runtime) -> None:
    """Docker and go-runc parse these lines."""
    lines = runtime("--version").ok().out.splitlines()
    assert re.fullmatch(r"\S+ version \S+", lines[0])
    assert any(re.fullmatch(r"spec: 1\.\d+\.\d+\S*", line) for line in lines)
    assert runtime("-v").ok().out.splitlines() == lines


def test_features(runtime: Runtime) -> None:
    found = json.loads(runtime("features").ok().out)
    assert found["ociVersionMin"].startswith("1.0")
    linux = found["linux"]
    assert {"mount", "pid", "network", "ipc", "uts", "user", "cgroup"} <= set(linux["namespaces"])
    assert {"CAP_CHOWN", "CAP_SYS_ADMIN"} <= set(linux["capabilities"])
    assert {"ro", "rbind", "rro", "nosuid"} <= set(found["mountOptions"])
    assert {"prestart", "createRuntime", "poststop"} <= set(found["hooks"])
    assert linux["cgroup"]["v1"] is True
    assert linux["cgroup"]["v2"] is True


@pytest.mark.kaa_only("came with runc 1.2")
def test_features_of_now(runtime: Runtime) -> None:
    found = json.loads(runtime("features").ok().out)
    assert "time" in found["linux"]["namespaces"]
    assert "enabled" in found["linux"]["mountExtensions"]["idmap"]
    assert found["potentiallyUnsafeConfigAnnotations"]


def test_help(runtime: Runtime) -> None:
    shown = runtime("--help").ok().out
    for command in ("create", "start", "state", "kill", "delete", "exec", "run", "list"):
        assert command in shown
    assert "--bundle" in runtime("create", "--help").ok().out


def test_the_session_keyring_is_the_containers(container: Container) -> None:
    assert probe.run(container)["keyring"].endswith(f";_ses.{container.id}")
    assert not probe.run(container, "--no-new-keyring")["keyring"].endswith(container.id)


def test_exec_joins_the_containers_keyring(container: Container) -> None:
    container.sleeping()
    assert probe.exec(container)["keyring"].endswith(f";_ses.{container.id}")


@pytest.mark.kaa_only("--pidfd-socket came with runc 1.2")
def test_pidfd_socket(container: Container, tmp: Path) -> None:
    receiver = ConsoleSocket(tmp / "pidfd.sock")
    try:
        container.create("--pidfd-socket", receiver.path).ok()
        descriptor, _ = receiver.receive()
        try:
            shown = Path(f"/proc/self/fdinfo/{descriptor}").read_text()
            assert re.search(rf"^Pid:\t{container.pid}$", shown, re.MULTILINE)
        finally:
            os.close(descriptor)
    finally:
        receiver.close()


def test_spec_of_the_default(runtime: Runtime, tmp: Path) -> None:
    bundle = tmp / "bundle"
    bundle.mkdir()
    runtime("spec", "--bundle", bundle).ok()
    document = json.loads((bundle / "config.json").read_text())
    assert document["process"]["args"] == ["sh"]
    assert document["process"]["terminal"] is True
    assert document["root"] == {"path": "rootfs", "readonly": True}
    assert document["process"]["noNewPrivileges"] is True
    kinds = {entry["type"] for entry in document["linux"]["namespaces"]}
    assert {"pid", "network", "ipc", "uts", "mount"} <= kinds
    runtime("spec", "--bundle", bundle).failed("exists")


def test_rootless_spec(runtime: Runtime, tmp: Path) -> None:
    runtime("spec", "--rootless", "--bundle", tmp).ok()
    document = json.loads((tmp / "config.json").read_text())
    kinds = {entry["type"] for entry in document["linux"]["namespaces"]}
    assert "user" in kinds
    assert "network" not in kinds
    assert document["linux"]["uidMappings"][0]["size"] == 1


def test_list_of_nothing(runtime: Runtime) -> None:
    runtime.root.mkdir()
    assert runtime("list", "-q").ok().out == ""
    assert runtime("list", "--format", "json").ok().out.strip() in ("null", "[]")
