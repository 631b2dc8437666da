"""kaa.run and kaa.Popen: what subprocess promises, kept by containers."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import kaa


def shell(script: str, image: Path, runtime: kaa.Runtime, **more: object) -> kaa.CompletedContainer:
    options = {"capture_output": True, "text": True, "rootfs": image, "runtime": runtime, **more}
    return kaa.run(["sh", "-c", script], **options)  # type: ignore[arg-type]


def test_streams_and_exit_status(image: Path, runtime: kaa.Runtime) -> None:
    done = shell("cat; echo no >&2; exit 3", image, runtime, input="fed\n")
    assert (done.returncode, done.stdout, done.stderr) == (3, "fed\n", "no\n")
    with pytest.raises(kaa.ContainerFailed, match="exit status 3") as failed:
        done.check_returncode()
    assert failed.value.stdout == "fed\n"


def test_bytes_are_left_alone(image: Path, runtime: kaa.Runtime) -> None:
    data = bytes(range(256)) * 4096  # more than the pipes hold, both ways
    done = kaa.run(["cat"], input=data, stdout=kaa.PIPE, rootfs=image, runtime=runtime)
    assert done.stdout == data
    assert done.stderr is None


def test_input_that_nobody_reads(image: Path, runtime: kaa.Runtime) -> None:
    done = kaa.run(["true"], input=bytes(1 << 20), rootfs=image, runtime=runtime)
    assert done.returncode == 0


def test_stderr_into_stdout_and_files(image: Path, runtime: kaa.Runtime, tmp: Path) -> None:
    done = shell("echo a; echo b >&2", image, runtime, capture_output=False, stdout=kaa.PIPE,
                 stderr=kaa.STDOUT)  # fmt: skip
    assert done.stdout == "a\nb\n"
    with open(tmp / "out", "wb") as out:
        kaa.run(["echo", "x"], stdout=out, rootfs=image, runtime=runtime)
    assert (tmp / "out").read_text() == "x\n"


def test_death_by_signal(image: Path, runtime: kaa.Runtime) -> None:
    with kaa.Popen(["sleep", "100"], rootfs=image, runtime=runtime) as process:
        assert process.poll() is None
        process.terminate()  # a pid 1 without a handler is deaf to it
        with pytest.raises(kaa.TimeoutExpired):
            process.wait(0.2)
        process.kill()
        assert process.wait() == -signal.SIGKILL


def test_a_timeout_kills_and_keeps_the_output(
    image: Path, runtime: kaa.Runtime, nothing_is_left: Callable[[], None]
) -> None:
    begin = time.monotonic()
    with pytest.raises(kaa.TimeoutExpired) as expired:
        shell("echo early; sleep 100 & sleep 100", image, runtime, timeout=1)
    assert time.monotonic() - begin < 20
    assert expired.value.stdout == "early\n"
    assert expired.value.timeout == 1


def test_too_much_output(image: Path, runtime: kaa.Runtime) -> None:
    with pytest.raises(kaa.OutputLimitExceeded) as exceeded:
        kaa.run(["yes"], stdout=kaa.PIPE, max_output=100_000, rootfs=image, runtime=runtime)
    assert len(exceeded.value.stdout or "") == 100_000


def test_environment_user_directory_and_names(image: Path, runtime: kaa.Runtime) -> None:
    os.environ["KAA_OF_THE_HOST"] = "seen"
    try:
        done = shell(
            "env; id -u; id -g; pwd; hostname",
            image,
            runtime,
            env={"COLOUR": "green"},
            user="1000:100",
            cwd="/tmp",
            hostname="box",
        )
    finally:
        del os.environ["KAA_OF_THE_HOST"]
    *env, uid, gid, cwd, name = done.stdout.splitlines()
    assert [uid, gid, cwd, name] == ["1000", "100", "/tmp", "box"]
    assert "COLOUR=green" in env
    assert not any("OF_THE_HOST" in line for line in env)
    assert any(line.startswith("PATH=") for line in env)


def test_a_user_by_name_is_refused(image: Path, runtime: kaa.Runtime) -> None:
    with pytest.raises(kaa.ConfigError, match="numbers"):
        kaa.run(["true"], user="root", rootfs=image, runtime=runtime)


def test_what_is_written_is_thrown_away(image: Path, runtime: kaa.Runtime) -> None:
    done = shell("echo x > /etc/new && rm -r /home && ls /etc/new", image, runtime)
    assert done.stdout == "/etc/new\n", done.stderr
    assert not (image / "etc/new").exists()
    assert (image / "home").is_dir()


def test_read_only(image: Path, runtime: kaa.Runtime) -> None:
    for options in ({"read_only": True}, {"throw_away": False}):
        done = shell("touch /etc/new", image, runtime, **options)
        assert done.returncode != 0
        assert "Read-only" in done.stderr


def test_written_to_the_rootfs(image: Path, runtime: kaa.Runtime, tmp: Path) -> None:
    root = tmp / "root"
    subprocess.run(["cp", "-a", image, root], check=True)
    shell("echo kept > /kept", root, runtime, throw_away=False, read_only=False)
    assert (root / "kept").read_text() == "kept\n"


def test_the_file_system_of_this_machine(runtime: kaa.Runtime) -> None:
    mark = f"/tmp/kaa-library-{os.getpid()}"
    script = (
        "import os; print(os.getuid()); print(os.listdir('/run'), os.listdir('/tmp'));"
        f"open({mark!r}, 'w').close(); print(os.path.exists({mark!r}));"
        "print(os.access('/etc/shadow', os.R_OK))"
    )
    done = kaa.run(
        ["/usr/bin/python3", "-c", script], capture_output=True, text=True, runtime=runtime
    )
    assert done.stdout.splitlines() == ["65534", "[] []", "True", "False"], done.stderr
    assert not os.path.exists(mark)
    with pytest.raises(kaa.ConfigError, match="itself cannot"):
        kaa.run(["true"], throw_away=False, runtime=runtime)


def test_limits(image: Path, runtime: kaa.Runtime) -> None:
    done = shell("head -c 100m /dev/zero | tail -c 100m | wc -c", image, runtime, memory="16M")
    assert done.oom_killed
    done = shell("for i in $(seq 50); do sleep 5 & done", image, runtime, pids=8)
    assert done.returncode != 0
    assert not done.oom_killed
    assert "fork" in done.stderr
    begin = time.monotonic()
    shell("i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done", image, runtime, cpus=1)
    free = time.monotonic() - begin
    begin = time.monotonic()
    shell("i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done", image, runtime, cpus=0.1)
    assert time.monotonic() - begin > 2 * free


def test_mounts(image: Path, runtime: kaa.Runtime, tmp: Path) -> None:
    (tmp / "data").mkdir()
    (tmp / "data/in").write_text("given\n")
    mounts = [
        kaa.Mount.bind(tmp / "data", "/data"),
        kaa.Mount.tmpfs("/scratch", size="1M", mode=0o1777),
    ]
    done = shell(
        "cat /data/in; touch /data/out; df -k /scratch | tail -n 1", image, runtime, mounts=mounts
    )
    given, free = done.stdout.splitlines()
    assert given == "given"
    assert free.split()[1] == "1024"
    assert "Read-only" in done.stderr
    shell(
        "touch /data/out",
        image,
        runtime,
        mounts=[kaa.Mount.bind(tmp / "data", "/data", read_only=False)],
    )
    assert (tmp / "data/out").exists()


def test_network_none_and_host(image: Path, runtime: kaa.Runtime) -> None:
    own = os.readlink("/proc/self/ns/net")
    script = "readlink /proc/self/ns/net; ls /sys/class/net"
    apart = shell(script, image, runtime).stdout.split()
    assert apart[0] != own
    assert apart[1:] == ["lo"]
    assert shell(script, image, runtime, network="host").stdout.split()[0] == own
    with pytest.raises(kaa.ConfigError, match="network must be"):
        shell(script, image, runtime, network="bridge")


def test_the_default_filter_refuses_new_namespaces(image: Path, runtime: kaa.Runtime) -> None:
    assert shell("unshare -U true", image, runtime).returncode != 0
    assert shell("unshare -U true", image, runtime, seccomp=False).returncode == 0


def test_a_bundle_and_a_config(
    runtime: kaa.Runtime, config: kaa.Config, tmp: Path, image: Path
) -> None:
    config.args = ["echo", "from the bundle"]
    bundle = tmp / "bundle"
    bundle.mkdir()
    config.save(bundle)
    assert kaa.run(bundle=bundle, stdout=kaa.PIPE, runtime=runtime).stdout == b"from the bundle\n"
    assert kaa.run(["echo", "x"], config=config, stdout=kaa.PIPE, runtime=runtime).stdout == b"x\n"
    with pytest.raises(TypeError, match="exclude"):
        kaa.run(bundle=bundle, rootfs=image, runtime=runtime)
    with pytest.raises(TypeError, match="no option"):
        kaa.run(["true"], memori=3, runtime=runtime)  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("options", "error", "pointer"),
    [
        ({"args": ["no-such-program"]}, kaa.SyscallError, "/process/args/0"),
        ({"args": []}, kaa.ConfigError, "/process/args"),
        ({"cwd": "relative"}, kaa.ConfigError, "/process/cwd"),
        ({"rootfs": "/no/such/root"}, kaa.ConfigError, "/root/path"),
        ({"rootfs": "/proc/self/root"}, kaa.ConfigError, "/root/path"),
        ({"pids": 2**70}, kaa.ConfigError, "/linux/resources/pids/limit"),
        ({"memory": "much"}, kaa.ConfigError, None),
        ({"cpus": 0}, kaa.ConfigError, None),
        ({"id": "a/b"}, kaa.KaaError, None),
        ({"mounts": [{"destination": "/x", "type": "nofs"}]}, kaa.SyscallError, "/mounts/7"),
    ],
)
def test_errors_say_where_and_leave_nothing(
    image: Path,
    runtime: kaa.Runtime,
    options: dict[str, object],
    error: type[kaa.KaaError],
    pointer: str | None,
) -> None:
    with pytest.raises(error) as raised:
        kaa.run(**{"args": ["true"], "rootfs": image, "runtime": runtime, **options})  # type: ignore[arg-type]
    assert raised.value.pointer == pointer
    assert not list(Path(runtime.root).glob("[!.]*"))


def test_a_syscall_error_has_its_parts(image: Path, runtime: kaa.Runtime) -> None:
    with pytest.raises(kaa.SyscallError) as raised:
        kaa.run(["true"], rootfs=image, runtime=runtime,
                mounts=[{"destination": "/x", "type": "nofs"}])  # fmt: skip
    assert raised.value.call == "fsopen"
    assert raised.value.errno == 19
    assert "/x" in raised.value.reason


def test_the_caller_is_not_changed(image: Path, runtime: kaa.Runtime) -> None:
    def facts() -> tuple[object, ...]:
        return (
            os.getcwd(),
            dict(os.environ),
            signal.pthread_sigmask(signal.SIG_BLOCK, []),
            [signal.getsignal(number) for number in range(1, 65) if number not in (32, 33)],
            threading.active_count(),
            os.sched_getaffinity(0),
            Path("/proc/self/status").read_text().split("Umask:")[1].split()[0],
        )

    before = facts()
    with kaa.Popen(["sleep", "1"], rootfs=image, runtime=runtime, network="none") as process:
        assert facts() == before
        process.kill()
    assert facts() == before


def test_other_children_are_left_alone(image: Path, runtime: kaa.Runtime) -> None:
    with subprocess.Popen([sys.executable, "-c", "raise SystemExit(7)"]) as other:
        os.waitid(os.P_PID, other.pid, os.WEXITED | os.WNOWAIT)
        assert kaa.run(["true"], rootfs=image, runtime=runtime).returncode == 0
        assert other.wait() == 7


def test_somebody_else_collects_our_child(image: Path, runtime: kaa.Runtime) -> None:
    process = kaa.Popen(["true"], rootfs=image, runtime=runtime)
    os.waitpid(process.pid, 0)
    assert process.wait() == 255


def test_a_poststop_hook_has_streams_of_its_own(
    runtime: kaa.Runtime, config: kaa.Config, tmp: Path
) -> None:
    """The container's pipes are closed by then, and their numbers may be others'."""
    config.add_hook("poststop", "/bin/sh", "-c", f"cat > {tmp}/said; echo nobody hears this")
    for number in range(3):
        done = kaa.run(["echo", str(number)], config=config, capture_output=True, runtime=runtime)
        assert done.stdout == f"{number}\n".encode()
        assert '"stopped"' in (tmp / "said").read_text()
        (tmp / "said").unlink()


DAEMON = """
import os, sys
for fd in (0, 1, 2):
    os.close(fd)
import kaa
runtime = kaa.Runtime(sys.argv[2])
done = kaa.run(["sh", "-c", "echo said; ls /proc/self/fd"], rootfs=sys.argv[1], stdout=kaa.PIPE,
               runtime=runtime, network=kaa.Network())
config = kaa.Config()
config.rootfs, config.args = sys.argv[1], ["true"]
config.add_hook("poststop", "/bin/true")
again = kaa.run(config=config, runtime=runtime)
with open(sys.argv[3], "wb") as report:
    report.write(b"%s %d" % (done.stdout, again.returncode))
"""


def test_a_daemon_without_standard_streams(image: Path, runtime: kaa.Runtime, tmp: Path) -> None:
    report = tmp / "report"
    source = Path(kaa.__file__).parents[1]
    subprocess.run(
        [sys.executable, "-c", DAEMON, image, runtime.root, report],
        check=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": str(source)},
    )
    words = report.read_text().split()
    assert words == ["said", "0", "1", "2", "3", "0"]  # 3 is the directory that ls reads


def test_many_threads(image: Path, runtime: kaa.Runtime) -> None:
    found: list[tuple[int, int, str]] = []

    def work(number: int) -> None:
        for turn in range(3):
            code = (10 * number + turn) % 256
            done = shell(f"echo {code}; exit {code}", image, runtime)
            found.append((code, done.returncode, done.stdout))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 24
    for code, returncode, said in found:
        assert (returncode, said) == (code, f"{code}\n")


def test_a_pipe_to_a_running_container(image: Path, runtime: kaa.Runtime) -> None:
    with kaa.Popen(
        ["cat"], stdin=kaa.PIPE, stdout=kaa.PIPE, text=True, rootfs=image, runtime=runtime
    ) as process:
        assert process.stdin and process.stdout
        for line in ("one\n", "two\n"):
            process.stdin.write(line)
            process.stdin.flush()
            assert process.stdout.readline() == line
        [listed] = runtime.list()
        assert listed.id == process.id
    assert process.returncode == 0


def test_an_exception_in_the_block_kills(image: Path, runtime: kaa.Runtime) -> None:
    with (
        pytest.raises(ZeroDivisionError),
        kaa.Popen(["sleep", "1000"], rootfs=image, runtime=runtime) as process,
    ):
        raise ZeroDivisionError
    assert process.returncode == -signal.SIGKILL
