"""What each command calls, and what it prints."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from unit.cli.recorder import Kaa, Recorder

STATE = {
    "ociVersion": "1.3.0", "id": "box", "pid": 7, "status": "running", "bundle": "/b",
    "rootfs": "/b/rootfs", "created": "2026-01-01T00:00:00.5Z", "owner": "",
}  # fmt: skip


def test_create_with_nothing(kaa: Kaa) -> None:
    create = Recorder()
    kaa.replace("kaa.container.create", create=create)
    assert kaa("create", "box").code == 0
    runtime, id = create.call.args
    assert id == "box"
    assert (runtime.root, runtime.systemd_cgroup, runtime.rootless, runtime.no_cgroup) == (
        "/run/kaa", False, None, False,
    )  # fmt: skip
    assert create.call.keywords == {
        "bundle": kaa.cwd, "pid_file": "", "console_socket": "", "pidfd_socket": "",
        "no_pivot": False, "no_new_keyring": False, "preserve_fds": 0,
    }  # fmt: skip


def test_create_with_everything(kaa: Kaa) -> None:
    create = Recorder()
    kaa.replace("kaa.container.create", create=create)
    line = (
        "--root r --cgroup-manager=systemd --rootless=true create --bundle b --pid-file p "
        "--console-socket c --pidfd-socket /s --no-pivot --no-new-keyring --preserve-fds 3 "
        "--no-subreaper box"
    )
    assert kaa(*line.split()).code == 0
    runtime = create.call.args[0]
    assert (runtime.root, runtime.systemd_cgroup, runtime.rootless) == (f"{kaa.cwd}/r", True, True)
    assert create.call.keywords == {
        "bundle": f"{kaa.cwd}/b", "pid_file": f"{kaa.cwd}/p",
        "console_socket": f"{kaa.cwd}/b/c", "pidfd_socket": "/s",
        "no_pivot": True, "no_new_keyring": True, "preserve_fds": 3,
    }  # fmt: skip


def test_cgroup_managers(kaa: Kaa) -> None:
    start = Recorder()
    kaa.replace("kaa.container.start", start=start)
    for options in ("--systemd-cgroup", "--cgroup-manager=disabled", "--cgroup-manager=cgroupfs"):
        kaa(options, "start", "box")
    found = [(c.args[0].systemd_cgroup, c.args[0].no_cgroup) for c in start.calls]
    assert found == [(True, False), (False, True), (False, False)]


def test_warnings_of_the_container_layer_are_logged(kaa: Kaa, tmp_path: Path) -> None:
    start = Recorder()
    kaa.replace("kaa.container.start", start=start)
    kaa("--log", "log", "start", "box")
    start.call.args[0].warn("late")  # the log is closed by then: standard error
    start.then = lambda runtime, id: runtime.warn("odd thing")
    kaa("--log", "log", "start", "box")
    assert 'level=warning msg="odd thing"' in (tmp_path / "log").read_text()


def test_run(kaa: Kaa) -> None:
    run = Recorder(result=42)
    kaa.replace("kaa.container.run", run=run)
    assert kaa("run", "-d", "--keep", "box").code == 42
    assert run.call.keywords["detach"] is True
    assert run.call.keywords["keep"] is True
    assert run.call.keywords["bundle"] == kaa.cwd


@pytest.mark.parametrize(
    ("argv", "module", "args", "keywords"),
    [
        ("start box", "start", ("box",), {}),
        ("pause box", "pause", ("box",), {}),
        ("resume box", "pause", ("box",), {}),
        ("kill box", "kill", ("box", "SIGTERM"), {"all": False}),
        ("kill box 9", "kill", ("box", "9"), {"all": False}),
        ("kill --all box FOO", "kill", ("box", "FOO"), {"all": True}),
        ("delete box", "delete", ("box",), {"force": False}),
        ("delete -f box", "delete", ("box",), {"force": True}),
    ],
)
def test_plain_commands(
    kaa: Kaa, argv: str, module: str, args: tuple[str, ...], keywords: dict[str, Any]
) -> None:
    recorder = Recorder()
    kaa.replace(f"kaa.container.{module}", **{argv.split()[0]: recorder})
    done = kaa(*argv.split())
    assert (done.code, done.out, done.err) == (0, "", "")
    assert recorder.call.args[1:] == args
    assert recorder.call.keywords == keywords


def test_state(kaa: Kaa) -> None:
    kaa.replace(
        "kaa.container.state", state=Recorder(STATE | {"annotations": {"a": "é\udcff\ud800"}})
    )
    done = kaa("state", "box")
    assert done.out.startswith('{\n  "ociVersion": "1.3.0",\n  "id": "box",\n  "pid": 7,\n')
    assert "é" in done.out
    assert json.loads(done.out)["annotations"] == {"a": "é\udcff\ud800"}
    kaa.replace("kaa.container.state", state=Recorder(STATE))
    assert json.loads(kaa("state", "box").out) == STATE


def test_list(kaa: Kaa) -> None:
    kaa.replace("kaa.container.state", list_all=Recorder([]))
    header = "ID          PID         STATUS      BUNDLE      CREATED     OWNER\n"
    assert kaa("list").out == header
    assert kaa("list", "-f", "json").out == "[]\n"
    assert kaa("list", "-q").out == ""
    found = [STATE | {"owner": "root"}, STATE | {"id": "a-longer-name", "bundle": "/b" * 8}]
    kaa.replace("kaa.container.state", list_all=Recorder(found))
    assert kaa("list", "-q").out == "box\na-longer-name\n"
    assert kaa("list", "--format=json").out == json.dumps(found, separators=(",", ":")) + "\n"
    assert kaa("list").out.splitlines() == [
        "ID              PID         STATUS      BUNDLE             CREATED                  OWNER",
        "box             7           running     /b                 2026-01-01T00:00:00.5Z   root",
        f"a-longer-name   7           running     {'/b' * 8}   2026-01-01T00:00:00.5Z   ",
    ]


def test_list_of_a_root_that_is_not_there(kaa: Kaa) -> None:
    done = kaa("--root", "/nonexistent/kaa", "list")
    assert (done.code, done.message) == (1, "open /nonexistent/kaa: no such file or directory")
    assert kaa("list", "-f", "xml").code == 1


# -- exec --------------------------------------------------------------------


def overrides(**given: object) -> dict[str, object]:
    nothing: dict[str, object] = {
        "cwd": None, "env": [], "tty": None, "user": None, "additional_gids": [], "caps": [],
        "no_new_privs": None, "process_label": None, "apparmor": None,
    }  # fmt: skip
    return nothing | given


def test_exec(kaa: Kaa) -> None:
    exec = Recorder(result=7)
    kaa.replace("kaa.container.exec", exec=exec)
    line = (
        "exec -t -e A=1 -e B= --cwd /tmp -u 1:2 -g 3 -g 4 --cap CAP_KILL -c chown --no-new-privs "
        "--process-label l --apparmor p --pid-file f --console-socket c --pidfd-socket s -d "
        "--preserve-fds 1 --cgroup x --cgroup cpu:y --ignore-paused box ls -l"
    )
    assert kaa(*line.split()).code == 7
    runtime, id, process = exec.call.args
    assert (runtime.root, id, process) == ("/run/kaa", "box", None)
    assert exec.call.keywords == {
        "args": ["ls", "-l"],
        "overrides": overrides(
            cwd="/tmp", env=["A=1", "B="], tty=True, user=(1, 2), additional_gids=[3, 4],
            caps=["CAP_KILL", "chown"], no_new_privs=True, process_label="l", apparmor="p",
        ),
        "pid_file": f"{kaa.cwd}/f",
        "console_socket": f"{kaa.cwd}/c",
        "pidfd_socket": f"{kaa.cwd}/s",
        "detach": True,
        "preserve_fds": 1,
        "cgroups": ["x", "cpu:y"],
        "ignore_paused": True,
    }  # fmt: skip


def test_exec_without_options(kaa: Kaa) -> None:
    exec = Recorder(result=0)
    kaa.replace("kaa.container.exec", exec=exec)
    assert kaa("exec", "box", "true").code == 0
    assert exec.call.keywords["overrides"] == overrides()
    assert kaa("exec", "--tty=false", "box", "true").code == 0
    assert exec.calls[1].keywords["overrides"] == overrides(tty=False)


def test_exec_of_a_process_document(kaa: Kaa, tmp_path: Path) -> None:
    exec = Recorder(result=0)
    kaa.replace("kaa.container.exec", exec=exec)
    document = {"args": ["true"], "cwd": "/", "user": {"uid": 0, "gid": 0}}
    (tmp_path / "p.json").write_text(json.dumps(document))
    assert kaa("exec", "-p", "p.json", "--detach", "box").code == 0
    assert exec.call.args[2] == document
    assert exec.call.keywords["args"] == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "exec failed: open {cwd}/p.json: no such file or directory"),
        ("{", "exec failed: "),
        ("[]", "exec failed: "),
        ('{"args": ["x"], "cwd": "rel", "user": {"uid": 0, "gid": 0}}', "exec failed: "),
    ],
)
def test_exec_of_a_bad_document(
    kaa: Kaa, tmp_path: Path, content: str | None, message: str
) -> None:
    exec = Recorder(result=0)
    kaa.replace("kaa.container.exec", exec=exec)
    if content is not None:
        (tmp_path / "p.json").write_text(content)
    done = kaa("exec", "-p", "p.json", "box")
    assert done.code == 255
    assert done.message.startswith(message.format(cwd=kaa.cwd))
    assert not exec.calls


def test_exec_of_nothing(kaa: Kaa) -> None:
    exec = Recorder(result=0)
    kaa.replace("kaa.container.exec", exec=exec)
    done = kaa("exec", "box")
    assert (done.code, done.message) == (255, "exec failed: process args cannot be empty")


@pytest.mark.parametrize(
    ("text", "user"),
    [("1", (1, None)), ("1000", (1000, None)), ("1:2", (1, 2)), ("01", (1, None)), ("0:0", (0, 0)),
     ("4294967294", (4294967294, None))],
)  # fmt: skip
def test_exec_as_a_user(kaa: Kaa, text: str, user: tuple[int, int | None]) -> None:
    exec = Recorder(result=0)
    kaa.replace("kaa.container.exec", exec=exec)
    assert kaa("exec", f"--user={text}", "box", "id").code == 0
    assert exec.call.keywords["overrides"]["user"] == user


@pytest.mark.parametrize(
    "text",
    ["", "1x", ":5", "1:", ":", "-1", "+1", " 1", "1 ", "4294967295", "4294967296", "1:4294967295",
     "1:2:3", "root", "1:root", "0x1", "1_0", "²", "١", "9" * 5000],
)  # fmt: skip
def test_exec_as_nobody_knows_whom(kaa: Kaa, text: str) -> None:
    """CVE-2026-30892: a user that is not understood must not become root."""
    exec = Recorder(result=0)
    kaa.replace("kaa.container.exec", exec=exec)
    done = kaa("exec", "--user", text, "box", "id")
    assert done.code == 255
    assert "invalid --user" in done.err
    assert not exec.calls
    done = kaa("exec", "--additional-gids", text, "box", "id")
    assert done.code == 255
    assert not exec.calls


@pytest.mark.parametrize("text", ["", "A", "=", "=x"])
def test_exec_with_a_bad_variable(kaa: Kaa, text: str) -> None:
    exec = Recorder(result=0)
    kaa.replace("kaa.container.exec", exec=exec)
    assert kaa("exec", "--env", text, "box", "id").code == 255
    assert not exec.calls


# -- ps ----------------------------------------------------------------------


def test_ps(kaa: Kaa) -> None:
    if shutil.which("ps") is None:
        pytest.skip("procps is not installed")
    kaa.replace("kaa.container.ps", pids=Recorder([os.getpid()]))
    for argv in (["ps", "box"], ["ps", "box", "-eo", "ppid,pid,comm"]):
        header, line = kaa(*argv).out.splitlines()
        assert str(os.getpid()) in line
        assert "PID" in header.split()
    done = kaa("ps", "box", "-eo", "comm")
    assert (done.code, done.message.partition(" (")[0]) == (
        1,
        "couldn't find PID field in ps output",
    )
    assert kaa("ps", "box", "--nosuch").code == 1
    assert kaa("ps", "-f", "json", "box").out == f"[{os.getpid()}]\n"
    assert kaa("ps", "-f", "xml", "box").code == 1


def test_ps_of_a_stopped_container(kaa: Kaa) -> None:
    kaa.replace("kaa.container.ps", pids=Recorder([]))
    assert kaa("ps", "-f", "json", "box").out == "[]\n"
    assert kaa("ps", "box").out.count("\n") == 1


def test_ps_without_ps(kaa: Kaa) -> None:
    kaa.replace("kaa.container.ps", pids=Recorder([]))
    kaa.environ = {"PATH": "/nonexistent"}
    done = kaa("ps", "box")
    assert done.code == 1
    assert "ps: executable file not found in $PATH" in done.err


# -- update ------------------------------------------------------------------


def test_update_from_options(kaa: Kaa) -> None:
    update = Recorder()
    kaa.replace("kaa.container.update", update=update)
    line = (
        "update --blkio-weight 100 --cpu-period 1 --cpu-quota -1 --cpu-burst 2 --cpu-share 3 "
        "--cpu-rt-period 4 --cpu-rt-runtime 5 --cpuset-cpus 0-1 --cpuset-mems 0 --cpu-idle 1 "
        "--memory 512M --memory-reservation 1k --memory-swap -1 --pids-limit 10 box"
    )
    assert kaa(*line.split()).code == 0
    assert update.call.args[1:] == (
        "box",
        {
            "blockIO": {"weight": 100},
            "cpu": {
                "period": 1, "quota": -1, "burst": 2, "shares": 3, "realtimePeriod": 4,
                "realtimeRuntime": 5, "idle": 1, "cpus": "0-1", "mems": "0",
            },
            "pids": {"limit": 10},
            "memory": {"limit": 512 << 20, "reservation": 1024, "swap": -1},
        },
    )  # fmt: skip


def test_update_from_a_document(kaa: Kaa, tmp_path: Path) -> None:
    update = Recorder()
    kaa.replace("kaa.container.update", update=update)
    document = {"pids": {"limit": 5}}
    (tmp_path / "r.json").write_text(json.dumps(document))
    assert kaa("update", "--resources=r.json", "--memory", "rubbish", "box").code == 0
    assert kaa("update", "-r", "-", "box", stdin=json.dumps(document).encode()).code == 0
    assert [c.args[2] for c in update.calls] == [document, document]
    done = kaa("update", "-r", "-", "box", stdin=b'{"pids": {"limit": "many"}}')
    assert done.code == 1
    assert "/pids/limit" in done.err


@pytest.mark.parametrize(
    ("text", "size"),
    [("0", 0), ("1024", 1024), ("512M", 512 << 20), ("512m", 512 << 20), ("1g", 1 << 30),
     ("1.5G", 3 << 29), ("1 KiB", 1024), ("2kb", 2048), ("7b", 7), ("1t", 1 << 40), ("-1", -1)],
)  # fmt: skip
def test_sizes(kaa: Kaa, text: str, size: int) -> None:
    update = Recorder()
    kaa.replace("kaa.container.update", update=update)
    assert kaa("update", "--memory", text, "box").code == 0
    assert update.call.args[2] == {"memory": {"limit": size}}


@pytest.mark.parametrize(
    "argv",
    ["--memory 5x", "--memory -2", "--memory 1e3", "--memory .", "--memory 99999999999999999999",
     "--memory 9999999P", "--memory ²", "--cpu-share -1", "--cpu-share 1.5", "--cpu-idle 2",
     "--blkio-weight 65536", "--pids-limit x", "--cpu-quota 99999999999999999999"],
)  # fmt: skip
def test_bad_limits(kaa: Kaa, argv: str) -> None:
    update = Recorder()
    kaa.replace("kaa.container.update", update=update)
    done = kaa("update", *argv.split(), "box")
    assert done.code == 1
    assert argv.split()[0].strip("-") in done.err
    assert not update.calls


def test_intel_rdt(kaa: Kaa) -> None:
    update = Recorder()
    kaa.replace("kaa.container.update", update=update)
    assert (
        kaa("update", "--l3-cache-schema", "L3:0=f", "--mem-bw-schema", "MB:0=20", "box").code == 0
    )
    assert update.call.keywords == {
        "intel_rdt": {"l3CacheSchema": "L3:0=f", "memBwSchema": "MB:0=20"}
    }


def test_kernel_memory_is_ignored(kaa: Kaa) -> None:
    update = Recorder()
    kaa.replace("kaa.container.update", update=update)
    done = kaa("update", "--kernel-memory", "1", "box")
    assert (done.code, update.call.args[2]) == (0, {})
    assert "level=warning" in done.err


# -- events, spec, features, explain, completion -----------------------------


def test_events(kaa: Kaa) -> None:
    event = {"type": "stats", "id": "box", "data": {"pids": {"current": 1}}}
    stats, follow = Recorder(event), Recorder(iter([event, {"type": "oom", "id": "box"}]))
    kaa.replace("kaa.container.events", stats=stats, follow=follow)
    line = '{"type":"stats","id":"box","data":{"pids":{"current":1}}}\n'
    assert kaa("events", "--stats", "box").out == line
    assert kaa("events", "--interval", "100ms", "box").out == f'{line}{{"type":"oom","id":"box"}}\n'
    assert follow.call.args[1:] == ("box", pytest.approx(0.1))
    done = kaa("events", "--interval", "0s", "box")
    assert (done.code, done.message) == (1, "duration interval must be greater than 0")


def test_spec(kaa: Kaa, tmp_path: Path) -> None:
    assert kaa("spec").code == 0
    path = tmp_path / "config.json"
    text = path.read_text()
    assert text.startswith('{\n\t"ociVersion": "1.')
    assert json.loads(text)["process"]["args"] == ["sh"]
    done = kaa("spec", "--bundle", ".")
    assert (done.code, done.message) == (1, "File config.json exists. Remove it first")
    assert path.read_text() == text
    (tmp_path / "b").mkdir()
    kaa.euid = 1234
    assert kaa("spec", "--rootless", "-b", "b").code == 0
    config = json.loads((tmp_path / "b" / "config.json").read_text())
    assert config["linux"]["uidMappings"] == [{"containerID": 0, "hostID": 1234, "size": 1}]
    done = kaa("spec", "-b", "nowhere")
    assert done.code == 1
    assert "no such file or directory" in done.err


def test_spec_follows_no_dangling_link(kaa: Kaa, tmp_path: Path) -> None:
    (tmp_path / "config.json").symlink_to(tmp_path / "elsewhere")
    assert kaa("spec").code == 1
    assert not (tmp_path / "elsewhere").exists()


def test_features(kaa: Kaa) -> None:
    document = json.loads(kaa("features").out)
    assert document["ociVersionMax"].startswith("1.3")
    assert "rro" in document["mountOptions"]


def test_explain(kaa: Kaa) -> None:
    explain = Recorder("the program\n")
    kaa.replace("kaa.container.explain", explain=explain)
    assert kaa("explain", "-b", "b", "box").out == "the program\n"
    assert explain.call.args[1:] == (f"{kaa.cwd}/b", "box")
    assert kaa("explain").code == 0
    assert explain.calls[1].args[1] == kaa.cwd


def test_completion(kaa: Kaa) -> None:
    assert "complete -F _kaa kaa" in kaa("completion", "bash").out
    done = kaa("completion", "tcsh")
    assert done.code == 1
    assert "bash, zsh, fish" in done.err
