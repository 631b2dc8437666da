"""Small print of the list in docs/conformance.md that no other test shows."""

import json
import os
import subprocess
from pathlib import Path

import pytest
from conformance.containers.seccomp import ALLOW, Agent, refuse
from kit import config, probe
from kit.console import ConsoleSocket
from kit.container import Container
from kit.terminal import Terminal


def test_standard_pipes_can_be_opened_again_by_the_user(container: Container) -> None:
    """Programs of a user do that: `echo > /dev/stdout`."""
    container.process["user"] = {"uid": 1000, "gid": 1000}
    container.script("echo again > /dev/stdout; echo error > /proc/self/fd/2").write()
    argv = container.runtime.argv("run", "--bundle", container.bundle, container.id)
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=40)
    if container.runtime.is_kaa:
        assert (done.stdout, done.stderr) == ("again\n", "error\n")


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one processor is all there is")
@pytest.mark.kaa_only("came with runc 1.3")
def test_the_callers_processors_are_not_the_containers(container: Container) -> None:
    container.process["args"] = ["grep", "Cpus_allowed_list", "/proc/self/status"]
    everywhere = container.run().ok().out
    assert container.run(prefix=["taskset", "--cpu-list", "0"]).ok().out == everywhere


def test_the_callers_groups_are_not_the_containers(container: Container) -> None:
    report = probe.run(container, prefix=["setpriv", "--groups", "4,20,24"])
    assert report["groups"] == []


@pytest.mark.kaa_only("runc leaves the bounding set as it is")
def test_no_capabilities_at_all_if_none_are_named(container: Container) -> None:
    del container.process["capabilities"]
    report = probe.run(container)
    for kind in ("Inh", "Prm", "Eff", "Bnd", "Amb"):
        assert report.capabilities(kind) == set(), kind


def test_a_variable_of_many_lines(container: Container) -> None:
    container.process["env"] += ["LINES_OF=one\ntwo = three\n", "EMPTY=", "TWICE=a", "TWICE=b"]
    report = probe.run(container)
    assert report.env["LINES_OF"] == "one\ntwo = three\n"
    assert report.env["EMPTY"] == ""
    assert [entry for entry in report["env"] if entry.startswith("TWICE=")] == ["TWICE=b"]


@pytest.mark.parametrize("name", ["net/ipv4/conf/lo/rp_filter", "net.ipv4.conf.lo.rp_filter"])
def test_both_spellings_of_a_sysctl(container: Container, name: str) -> None:
    container.linux["sysctl"] = {name: "2"}
    shown = container.script("cat /proc/sys/net/ipv4/conf/lo/rp_filter").run().ok()
    assert shown.out == "2\n"


def test_devices_of_every_type(container: Container) -> None:
    container.linux["devices"] = [
        {"type": "c", "path": "/dev/c", "major": 1, "minor": 3},
        {"type": "u", "path": "/dev/u", "major": 1, "minor": 3},
        {"type": "b", "path": "/dev/b", "major": 7, "minor": 77},
        {"type": "p", "path": "/dev/dir/p"},
    ]
    shown = container.script("stat -c %F /dev/c /dev/u /dev/b /dev/dir/p").run().ok()
    assert shown.out.splitlines() == [
        "character special file",
        "character special file",
        "block special file",
        "fifo",
    ]


@pytest.mark.kaa_only("runc 1.1 has no consoleSize for exec")
def test_exec_with_a_size_of_the_terminal(container: Container, tmp: Path) -> None:
    container.sleeping()
    path = tmp / "process.json"
    process = {
        **container.process,
        "terminal": True,
        "consoleSize": {"height": 31, "width": 91},
        "args": ["sh", "-c", "stty size; cat"],
    }
    path.write_text(json.dumps(process))
    receiver = ConsoleSocket(tmp / "console.sock")
    try:
        container.runtime(
            *("exec", "--detach", "--console-socket", receiver.path),
            *("--process", path, container.id),
        ).ok()
        terminal = Terminal(receiver.receive()[0])
        terminal.expect("31 91")
        terminal.close()
    finally:
        receiver.close()


def test_exec_has_a_listener_of_its_own(container: Container, tmp: Path) -> None:
    """The filter is the container's, and so is who answers for it: the agent is told again."""
    container.linux["seccomp"] = {
        **ALLOW,
        "listenerPath": str(tmp / "agent"),
        "listenerMetadata": "for exec",
        "syscalls": [refuse("mkdir", action="SCMP_ACT_NOTIFY")],
    }
    container.process["args"] = ["sleep", "1000"]
    first = Agent(tmp / "agent")
    try:
        container.up()
    finally:
        first.close()
    (tmp / "agent").unlink()
    second = Agent(tmp / "agent")
    try:
        assert container.exec("echo", "here").ok().out == "here\n"
    finally:
        second.close()
    assert second.document["metadata"] == "for exec"
    assert second.document["state"]["id"] == container.id
    assert second.document["pid"] not in (0, container.pid)


def test_a_bind_is_one_by_its_option_alone(container: Container, tmp: Path) -> None:
    (tmp / "file").write_text("bound")
    mount = config.bind(tmp, "/vol")
    other = {**mount, "destination": "/other"}
    del other["type"]
    container.config["mounts"] += [{**mount, "type": "tmpfs"}, other]
    assert container.script("cat /vol/file /other/file").run().ok().out == "boundbound"


def test_a_bind_has_no_data(container: Container, tmp: Path) -> None:
    container.mounts.append(config.bind(tmp, "/vol", "size=1m"))
    result = container.run()
    if container.runtime.is_kaa:
        result.failed("size=1m", code=1)


def test_an_id_mapped_mount_of_a_tmpfs_is_refused(container: Container) -> None:
    container.mounts.append(config.tmpfs("/vol", "idmap"))
    container.run().failed(code=1)


def test_a_seccomp_profile_is_compiled_once(container: Container) -> None:
    """The second start reads the filter from the cache below the root."""
    container.linux["seccomp"] = {**ALLOW, "syscalls": [refuse("acct")]}
    container.run().ok()
    if not container.runtime.is_kaa:
        return
    (entry,) = [path for path in (container.runtime.root / ".cache").rglob("*") if path.is_file()]
    before = entry.stat()
    container.run().ok()
    after = entry.stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
    assert before.st_mode & 0o077 == 0


def test_nothing_is_mounted_below_the_state(container: Container) -> None:
    config.add_user_namespace(container.config)
    os.chown(container.rootfs, 200000, 200000)
    container.sleeping()
    root = str(container.runtime.root)
    assert root not in Path("/proc/self/mountinfo").read_text()
