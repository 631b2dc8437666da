"""The features structure: valid, complete, and true."""

from typing import Any

import pytest
from unit.spec import documents, schemas

from kaa.compile import libseccomp
from kaa.errors import ConfigError
from kaa.spec import features
from kaa.spec.validate import validate


@pytest.fixture
def found() -> dict[str, Any]:
    return features.document("1.2.3")


def test_it_is_valid(found: dict[str, Any]) -> None:
    schemas.validator("features-schema.json").validate(found)
    assert all(isinstance(value, str) for value in found["annotations"].values())


def test_it_is_complete(found: dict[str, Any]) -> None:
    """Everything that the schema knows is there."""
    for place in schemas.places("features-schema.json"):
        value: Any = found
        for name in place.path:
            if name != "*":
                value = value[name]
            else:
                value = next(iter(value.values() if isinstance(value, dict) else value))


def test_what_engines_look_for(found: dict[str, Any]) -> None:
    assert found["annotations"]["org.opencontainers.runc.checkpoint.enabled"] == "false"
    assert found["annotations"]["kaa.version"] == "1.2.3"
    assert found["linux"]["mountExtensions"]["idmap"]["enabled"] is True
    assert {"rro", "bind", "ro", "idmap"} <= set(found["mountOptions"])


@pytest.mark.parametrize("block", ["actions", "archs", "operators", "knownFlags"])
def test_seccomp_names_are_recognised(found: dict[str, Any], block: str) -> None:
    assert found["linux"]["seccomp"]["enabled"] is True
    for name in found["linux"]["seccomp"][block]:
        document = documents.full()
        profile: dict[str, Any] = {"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/run/a"}
        rule: dict[str, Any] = {"names": ["mkdir"], "action": "SCMP_ACT_LOG", "args": []}
        profile["syscalls"] = [rule]
        if block == "actions":
            rule["action"] = name
        elif block == "archs":
            profile["architectures"] = [name]
        elif block == "operators":
            rule["args"].append({"index": 0, "value": 1, "valueTwo": 1, "op": name})
        else:
            profile["flags"] = [name]
        document["linux"]["seccomp"] = profile
        validate(document)


def test_supported_flags_are_among_the_known(found: dict[str, Any]) -> None:
    seccomp = found["linux"]["seccomp"]
    assert set(seccomp["supportedFlags"]) <= set(seccomp["knownFlags"])
    assert "SECCOMP_FILTER_FLAG_LOG" in seccomp["supportedFlags"]


def test_a_machine_without_libseccomp(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent() -> None:
        raise ConfigError("there is none")

    monkeypatch.setattr(libseccomp, "load", absent)
    found = features.document("1")
    assert found["linux"]["seccomp"] == {"enabled": False}
    assert "io.github.seccomp.libseccomp.version" not in found["annotations"]
