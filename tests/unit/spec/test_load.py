"""Loading: files, sizes, old documents, the parts that commands are given."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from unit.spec import documents
from unit.spec.documents import Json

import kaa
from kaa.errors import ConfigError
from kaa.spec import load

SAMPLE = Path(__file__).parent / "redis-0.4.0.json"


def encoded(document: Any) -> bytes:
    return json.dumps(document).encode()


def test_a_bundle(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes(encoded(documents.full()))
    assert load.load(str(tmp_path)) == documents.full()


def test_a_bundle_without_configuration(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load.load(str(tmp_path))
    assert caught.value.message == "JSON specification file config.json not found"
    assert str(tmp_path) in str(caught.value)
    assert caught.value.path == f"{tmp_path}/config.json"


def test_a_configuration_that_is_a_directory(tmp_path: Path) -> None:
    (tmp_path / "config.json").mkdir()
    with pytest.raises(ConfigError, match=r"config\.json: is a directory"):
        load.load(str(tmp_path))


def test_a_configuration_that_is_no_json(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"ociVersion": \n1.0.0}')
    with pytest.raises(ConfigError, match=r"/config\.json: line 2 column 4: expecting ','"):
        load.load(str(tmp_path))


def test_a_configuration_without_end(tmp_path: Path) -> None:
    (tmp_path / "config.json").symlink_to("/dev/zero")
    with pytest.raises(ConfigError, match="not a regular file"):
        load.load(str(tmp_path))


def test_a_bundle_with_an_impossible_name() -> None:
    with pytest.raises(ConfigError, match="null"):
        load.load("/tmp/\0")


def test_a_configuration_in_many_reads(tmp_path: Path) -> None:
    document = documents.full()
    document["annotations"] = {"big": "x" * 300_000}
    (tmp_path / "config.json").write_bytes(encoded(document))
    assert load.load(str(tmp_path)) == document


def test_where_is_part_of_the_error() -> None:
    with pytest.raises(ConfigError) as caught:
        load.parse(b"[]", "standard input")
    assert str(caught.value) == "standard input must be an object, not an array"
    assert caught.value.path == "standard input"


def test_the_sample_of_an_old_client() -> None:
    document = load.parse(SAMPLE.read_bytes())
    names = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]
    assert document["process"]["capabilities"] == dict.fromkeys(
        ("bounding", "effective", "permitted"), names
    )
    assert "devices" not in document["linux"]
    assert document["linux"]["resources"] == {"devices": [{"allow": False, "access": "rwm"}]}
    assert document["process"]["rlimits"] == [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}]


def old(**sections: Json) -> Json:
    """What becomes of a document of version 1.0.0-rc4 with these sections."""
    document = documents.smallest() | {"ociVersion": "1.0.0-rc4", **sections}
    return load.parse(encoded(document))


def test_capabilities_that_were_linux_capabilities() -> None:
    limits = [{"type": "RLIMIT_CORE", "soft": 0, "hard": 0}]
    document = old(
        linux={
            "capabilities": ["CAP_KILL"],
            "rlimits": limits,
            "apparmorProfile": "a",
            "selinuxProcessLabel": "l",
            "noNewPrivileges": True,
        }
    )
    assert document["linux"] == {}
    assert document["process"] == {
        "cwd": "/",
        "args": ["true"],
        "capabilities": {name: ["CAP_KILL"] for name in ("bounding", "effective", "permitted")},
        "rlimits": limits,
        "apparmorProfile": "a",
        "selinuxLabel": "l",
        "noNewPrivileges": True,
    }


def test_the_three_sets_are_three_lists() -> None:
    sets = old(process={"cwd": "/", "args": ["a"], "capabilities": ["CAP_KILL"]})["process"][
        "capabilities"
    ]
    assert len({id(names) for names in sets.values()}) == 3


def test_what_the_process_says_itself_wins() -> None:
    document = old(
        process={"cwd": "/", "args": ["a"], "noNewPrivileges": False},
        linux={"noNewPrivileges": True},
    )
    assert document["process"]["noNewPrivileges"] is False


def test_resources_that_were_elsewhere() -> None:
    document = old(
        linux={
            "resources": {
                "oomScoreAdj": 5,
                "disableOOMKiller": True,
                "memory": None,
                "blockIO": {
                    "blkioWeight": 10,
                    "blkioThrottleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 1}],
                },
                "hugepageLimits": [{"pagesize": "2MB", "limit": 1}],
                "pids": {"limit": 5},
            }
        }
    )
    assert document["process"]["oomScoreAdj"] == 5
    assert document["linux"]["resources"] == {
        "memory": {"disableOOMKiller": True},
        "blockIO": {
            "weight": 10,
            "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 1}],
        },
        "hugepageLimits": [{"pageSize": "2MB", "limit": 1}],
        "pids": {"limit": 5},
    }


def test_no_limit_when_limits_were_unsigned() -> None:
    document = old(linux={"resources": {"memory": {"limit": 2**64 - 1, "swap": 5}}})
    assert document["linux"]["resources"]["memory"] == {"limit": -1, "swap": 5}


def test_seccomp_rules_that_had_one_name() -> None:
    rule = {"name": "mkdir", "action": "SCMP_ACT_ERRNO", "args": None}
    document = old(linux={"seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}})
    assert document["linux"]["seccomp"]["syscalls"] == [
        {"name": "mkdir", "names": ["mkdir"], "action": "SCMP_ACT_ERRNO"}
    ]


def test_new_documents_are_not_read_as_old_ones() -> None:
    document = documents.smallest()
    document["process"]["capabilities"] = ["CAP_KILL"]
    with pytest.raises(ConfigError) as caught:
        load.parse(encoded(document))
    assert caught.value.pointer == "/process/capabilities"
    document = documents.smallest() | {"linux": {"noNewPrivileges": True}}
    assert "noNewPrivileges" not in load.parse(encoded(document))["process"]


NAMES = (
    "linux",
    "process",
    "resources",
    "capabilities",
    "memory",
    "limit",
    "blockIO",
    "seccomp",
    "syscalls",
    "name",
    "hugepageLimits",
    "disableOOMKiller",
    "rlimits",
)
ODD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4)
    ),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.sampled_from(["linux", "process", "root", "mounts"]), ODD))
def test_whatever_an_old_document_holds_is_no_traceback(sections: Json) -> None:
    with pytest.raises(ConfigError):
        load.parse(encoded({"ociVersion": "0.4.0", **sections}))


@pytest.mark.parametrize(
    "nothing",
    [{}, {"defaultAction": ""}, {"defaultAction": None, "syscalls": [], "architectures": []}],
)
def test_seccomp_that_asks_for_nothing(nothing: Json) -> None:
    document = documents.smallest() | {"linux": {"seccomp": nothing}}
    assert load.parse(encoded(document))["linux"] == {}


@pytest.mark.parametrize("action", [0, False, [], {}])
def test_seccomp_with_a_wrong_action_is_not_dropped(action: Any) -> None:
    document = documents.smallest() | {"linux": {"seccomp": {"defaultAction": action}}}
    with pytest.raises(ConfigError) as caught:
        load.parse(encoded(document))
    assert caught.value.pointer == "/linux/seccomp/defaultAction"


def test_a_process_for_exec() -> None:
    process = documents.full()["process"]
    assert load.parse_process(encoded(process)) == process
    sets = load.parse_process(b'{"cwd": "/", "args": ["a"], "capabilities": ["CAP_KILL"]}')
    assert "inheritable" not in sets["capabilities"]
    assert sets["capabilities"]["bounding"] == ["CAP_KILL"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"[]", "process must be an object, not an array"),
        (b'{"args": ["a"]}', "/cwd: Cwd property must not be empty"),
        (b'{"cwd": "/"}', "/args: args must not be empty"),
        (b'{"cwd": "/", "args": "a"}', '/args: must be an array, not "a"'),
        (b"{", "process: line 1 column 2: expecting property name"),
    ],
)
def test_a_wrong_process_for_exec(data: bytes, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load.parse_process(data)
    assert str(caught.value).startswith(message)


def test_resources_for_update() -> None:
    assert load.parse_resources(b'{"memory": {"limit": 5, "swap": null}}') == {
        "memory": {"limit": 5}
    }
    assert load.parse_resources(b"{}") == {}
    with pytest.raises(ConfigError) as caught:
        load.parse_resources(b'{"pids": {"limit": "5"}}', "update.json")
    assert str(caught.value) == '/pids/limit: must be a whole number, not "5"'
    assert caught.value.path == "update.json"


def test_loading_imports_only_what_is_cheap() -> None:
    """Not even for a new document, and not in a process that has nothing yet."""
    code = """
import sys
before = set(sys.modules)
sys.path.append(sys.argv[1])
from kaa.spec import load
load.parse(sys.argv[2].encode())
print(*sorted(set(sys.modules) - before))
"""
    source = str(Path(kaa.__file__).parent.parent)
    text = encoded(documents.full()).decode()
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code, source, text],
        capture_output=True,
        text=True,
        check=True,
    )
    assert set(done.stdout.split()) <= {
        "_json",
        "errno",
        "kaa",
        "kaa.codec",
        "kaa.errors",
        "kaa.spec",
        "kaa.spec.check",
        "kaa.spec.load",
        "kaa.spec.schema",
        "kaa.spec.schema_linux",
        "kaa.spec.validate",
    }
