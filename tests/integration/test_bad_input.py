"""Mistakes in what the runtime is given: one line that says what, exit code 1, nothing left."""

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kit import config
from kit.container import Container
from kit.runtime import Result, Runtime

Check = Callable[[], None]


def refused(result: Result, *words: str) -> None:
    """An error of one line (and of kaa's, no usage or log prefix), exit code 1."""
    result.failed(*words, code=1)
    lines = result.err.strip().splitlines()
    assert len(lines) == 1, f"more than one line\n{result}"


def write(container: Container, text: str) -> Result:
    """Try to create a container from exactly this config.json."""
    (container.bundle / "config.json").write_text(text)
    return container.runtime("create", "--bundle", container.bundle, container.id)


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "nonsense", '{"ociVersion": "1.0.2",}', '{"process": NaN}', "\0"],
)
def test_a_document_that_is_none(container: Container, nothing_is_left: Check, text: str) -> None:
    refused(write(container, text))
    nothing_is_left()


@pytest.mark.kaa_only("runc 1.1 says it its own way")
def test_broken_json_is_located(container: Container) -> None:
    result = write(container, '{\n "ociVersion": "1.0.2",\n "process": }\n')
    refused(result, "config.json")
    assert "line 3" in result.err or ":3" in result.err


@pytest.mark.kaa_only("runc 1.1 crashes")
def test_null(container: Container, nothing_is_left: Check) -> None:
    refused(write(container, "null"), "config.json")
    nothing_is_left()


def test_a_document_that_is_very_deep(container: Container, nothing_is_left: Check) -> None:
    write(container, '{"annotations":' + '{"a":' * 100_000 + "1" + "}" * 100_001).failed()
    nothing_is_left()


def test_a_missing_config(container: Container, nothing_is_left: Check) -> None:
    result = container.runtime("create", "--bundle", container.bundle, container.id)
    refused(result, "config.json")
    nothing_is_left()


def test_a_config_that_is_a_directory(container: Container, nothing_is_left: Check) -> None:
    (container.bundle / "config.json").mkdir()
    result = container.runtime("create", "--bundle", container.bundle, container.id)
    refused(result, "directory", "config.json")
    nothing_is_left()


@pytest.mark.kaa_only("runc 1.1 waits for a writer")
def test_a_config_that_is_a_fifo(container: Container) -> None:
    os.mkfifo(container.bundle / "config.json")
    result = container.runtime("create", "--bundle", container.bundle, container.id, timeout=15)
    refused(result, "config.json")


def test_a_missing_bundle(runtime: Runtime) -> None:
    refused(runtime("create", "--bundle", "/no/such/bundle", "x1"), "/no/such/bundle")


def remove(*path: str) -> Callable[[config.Config], None]:
    def change(document: config.Config) -> None:
        for name in path[:-1]:
            document = document[name]
        del document[path[-1]]

    return change


def put(*path: str, value: Any) -> Callable[[config.Config], None]:
    def change(document: config.Config) -> None:
        for name in path[:-1]:
            document = document.setdefault(name, {})
        document[path[-1]] = value

    return change


MISSING = [
    ("process", remove("process")),
    ("args", remove("process", "args")),
    ("args", put("process", "args", value=[])),
    ("cwd", remove("process", "cwd")),
    ("root", remove("root")),
]
WRONG = [
    ("cwd", put("process", "cwd", value="relative")),
    (
        "RLIMIT_NONSENSE",
        put("process", "rlimits", value=[{"type": "RLIMIT_NONSENSE", "soft": 1, "hard": 1}]),
    ),
    ("namespace", put("linux", "namespaces", value=[{"type": "nonsense"}])),
    ("propagation", put("linux", "rootfsPropagation", value="nonsense")),
    (
        "mapping",
        put("linux", "namespaces", value=[{"type": kind} for kind in ("user", "mount", "uts")]),
    ),
    ("args", put("process", "args", value="true")),
    ("env", put("process", "env", value={"A": "b"})),
    ("uid", put("process", "user", value={"uid": "root", "gid": 0})),
    ("uid", put("process", "user", value={"uid": -1, "gid": 0})),
    ("uid", put("process", "user", value={"uid": 2**32, "gid": 0})),
    ("mounts", put("mounts", value={})),
    ("linux", put("linux", value=[])),
    ("hooks", put("hooks", value={"prestart": [{"path": 5}]})),
]
BEYOND_RUNC = [
    ("env", put("process", "env", value=["NO_EQUALS_SIGN"])),
    (
        "rlimits",
        put(
            "process",
            "rlimits",
            value=[
                {"type": "RLIMIT_CORE", "soft": 1, "hard": 1},
                {"type": "RLIMIT_CORE", "soft": 2, "hard": 2},
            ],
        ),
    ),
    ("rlimits", put("process", "rlimits", value=[{"type": "RLIMIT_CORE", "soft": 2, "hard": 1}])),
    ("args", put("process", "args", value=["true", "nul\0inside"])),
    ("env", put("process", "env", value=["A=nul\0inside"])),
    ("hostname", put("hostname", value="x" * 65)),
    ("hostname", put("hostname", value="nul\0inside")),
    ("destination", put("mounts", value=[{"type": "tmpfs", "source": "tmpfs"}])),
    ("destination", put("mounts", value=[config.tmpfs("/nul\0inside")])),
    ("source", put("mounts", value=[config.bind("/nul\0inside", "/x")])),
    ("type", put("mounts", value=[{**config.tmpfs("/x"), "type": "nul\0inside"}])),
    ("oomScoreAdj", put("process", "oomScoreAdj", value=1001)),
    ("umask", put("process", "user", value={"uid": 0, "gid": 0, "umask": -1})),
    ("path", put("hooks", value={"prestart": [{"path": "relative"}]})),
    ("timeout", put("hooks", value={"prestart": [{"path": "/bin/true", "timeout": 0}]})),
    ("ociVersion", remove("ociVersion")),
    ("ociVersion", put("ociVersion", value="2.0.0")),
    ("consoleSize", put("process", "consoleSize", value={"height": "1", "width": 1})),
    ("size", put("linux", "uidMappings", value=[{"containerID": 0, "hostID": 0, "size": 0}])),
    (
        "pageSize",
        put("linux", "resources", value={"hugepageLimits": [{"pageSize": "../2MB", "limit": 0}]}),
    ),
    ("unified", put("linux", "resources", value={"unified": {"../memory.max": "1"}})),
    ("cgroupsPath", put("linux", "cgroupsPath", value="nul\0inside")),
    ("devices", put("linux", "devices", value=[{"path": "/dev/x", "type": "z"}])),
    ("devices", put("linux", "devices", value=[{"path": "/dev/x", "type": "c"}])),
    ("maskedPaths", put("linux", "maskedPaths", value=["relative"])),
    ("sysctl", put("linux", "sysctl", value={"net.ipv4.ip_forward": 1})),
    ("sysctl", put("linux", "sysctl", value={"": "1"})),
]


@pytest.mark.parametrize(("word", "change"), MISSING + WRONG)
def test_a_property(
    container: Container,
    nothing_is_left: Check,
    word: str,
    change: Callable[[config.Config], None],
) -> None:
    change(container.config)
    result = container.create()
    if container.runtime.is_kaa:
        refused(result, word)
    else:
        result.failed(code=1)
    nothing_is_left()


@pytest.mark.kaa_only("runc 1.1 does not check these")
@pytest.mark.parametrize(("word", "change"), BEYOND_RUNC)
def test_another_property(
    container: Container,
    nothing_is_left: Check,
    word: str,
    change: Callable[[config.Config], None],
) -> None:
    change(container.config)
    refused(container.create(), word)
    nothing_is_left()


@pytest.mark.kaa_only("its own pointers")
def test_the_pointer_of_a_mistake(container: Container) -> None:
    container.config["mounts"][2]["options"] = ["ro", 5]
    result = container.create()
    refused(result, "mounts/2/options/1")


def test_unknown_properties_are_ignored(container: Container) -> None:
    container.config["futureProperty"] = {"a": [1]}
    container.process["futureProperty"] = True
    container.linux["futureProperty"] = None
    container.config["ociVersion"] = "1.2.1-dev"
    container.run().ok()


def test_null_where_something_optional_is(container: Container) -> None:
    container.linux["devices"] = None
    container.config["hooks"] = None
    container.config["annotations"] = None
    container.linux["sysctl"] = None
    container.process["rlimits"] = None
    container.run().ok()


def test_not_root_without_a_user_namespace(container: Container, tmp: Path) -> None:
    for path in (tmp, container.bundle):
        path.chmod(0o755)
    container.runtime.root.mkdir(exist_ok=True)
    os.chown(container.runtime.root, 1000, 1000)
    result = container.run(prefix=["setpriv", "--reuid=1000", "--regid=1000", "--clear-groups"])
    result.failed("user namespace", "root", "permission")


def test_a_state_directory_that_cannot_be_made(container: Container) -> None:
    container.write()
    container.runtime.root = container.rootfs / "etc/passwd/state"
    container.runtime("create", "--bundle", container.bundle, container.id).failed(code=1)


def test_a_pid_file_that_cannot_be_written(container: Container, nothing_is_left: Check) -> None:
    container.create("--pid-file", "/no/such/dir/pid").failed("/no/such/dir")
    nothing_is_left()


def test_standard_streams_that_are_closed(container: Container) -> None:
    container.script("echo alive > /alive").write()
    argv = container.runtime.argv("run", "--bundle", container.bundle, container.id)
    subprocess.run(["sh", "-c", '"$@" <&- >&- 2>&-', "-", *argv], check=False, timeout=40)
    if container.runtime.is_kaa:
        assert (container.rootfs / "alive").read_text() == "alive\n"


def test_a_reader_that_has_gone(container: Container) -> None:
    container.sleeping()
    argv = container.runtime.argv("list", "--format", "json")
    broken = subprocess.run(
        ["sh", "-c", '"$@" 2>&1 >/dev/full | head -c 300', "-", *argv],
        capture_output=True,
        text=True,
        check=False,
        timeout=40,
    )
    assert "Traceback" not in broken.stdout


@pytest.mark.kaa_only("the document of `spec` is compared with what it must do")
@pytest.mark.parametrize("option", [[], ["--rootless"]])
def test_the_default_document_runs(container: Container, option: list[str]) -> None:
    container.runtime("spec", "--bundle", container.bundle, *option).ok()
    document = json.loads((container.bundle / "config.json").read_text())
    assert "inheritable" not in document["process"]["capabilities"]
    assert not document["process"]["capabilities"].get("ambient")
    document["process"].update(terminal=False, args=["id", "-u"])
    container.config = document
    assert container.run().ok().out == "0\n"
    container.runtime("spec", "--bundle", container.bundle).failed("exists", code=1)
