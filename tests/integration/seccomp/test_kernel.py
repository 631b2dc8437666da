"""Filters loaded by kaa-init into real processes: the kernel does what the profile says."""

import errno
import fcntl
import json
import os
import select
import signal
import struct
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from unit.seccomp.profiles import arg, load, rule, section

from kaa.caller import Caller
from kaa.compile import seccomp
from kaa.errors import SyscallError
from kaa.program.init import Init
from kaa.program.program import Program

MACHINE = os.uname().machine
BUSYBOX = "/bin/busybox"

# x86_64
GETPID, MKDIR, PERSONALITY, GETPPID, SCHED_YIELD = 39, 83, 135, 110, 24
EPOLL_PWAIT2, WRITE = 441, 1

EPERM, ENOSYS = -errno.EPERM, -errno.ENOSYS

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
    pytest.mark.skipif(MACHINE != "x86_64", reason="the call numbers here are x86_64's"),
]


@pytest.fixture(scope="module")
def probe() -> Iterator[str]:
    """The compiled probe.c. (Also: kaa-init's sealed copy stays open, so it is made first.)"""
    Init.spawn(Caller.of_this_process()).end()
    with tempfile.TemporaryDirectory(prefix="kaa-seccomp-", dir="/tmp") as directory:
        binary = f"{directory}/probe"
        source = Path(__file__).with_name("probe.c")
        command = ["cc", "-O1", "-Wall", "-Wextra", "-Werror", "-static", "-pthread"]
        subprocess.run([*command, "-o", binary, str(source)], check=True)
        yield binary


class Ended:
    """What became of a process: its output, and its wait status."""

    def __init__(self, status: int, output: str) -> None:
        self.status = status
        self.lines = output.splitlines()

    @property
    def signal(self) -> int:
        return os.WTERMSIG(self.status) if os.WIFSIGNALED(self.status) else 0

    @property
    def results(self) -> list[int]:
        assert self.status == 0, (self.status, self.lines)
        return [int(line) for line in self.lines]


class Filtered:
    """A process that is about to be executed, its filter loaded."""

    def __init__(self, profile: dict[str, Any], *, no_new_privs: bool = True) -> None:
        made = seccomp.filter_for(profile, cache_dir="", uid=0, machine=MACHINE)
        self.listener = -1
        self._out, out = os.pipe2(os.O_CLOEXEC)
        null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
        caller = Caller(cwd="/", environ={}, euid=0, egid=0, pid=0, stdio=(null, out, out))
        try:
            self.init = Init.spawn(caller)
        finally:
            os.close(null)
            os.close(out)
        program = Program(self.init.slots)
        program.prlimit64(0, 4, struct.pack("=QQ", 0, 0), None)  # RLIMIT_CORE
        if no_new_privs:
            program.prctl(38, 1, 0, 0, 0)
        listener = seccomp.append(program, made)
        if listener is not None:
            program.send_fd(listener)
            program.close(listener)
        try:
            reply = self.init.run(program)
        except BaseException:
            self.init.kill()
            os.close(self._out)
            raise
        if listener is not None:
            self.listener = reply.fds.pop()

    def execute(self, *argv: str) -> Ended:
        program = Program(self.init.slots)
        program.execve(argv[0], list(argv), ["PATH=/bin"])
        self.init.send(program)
        with open(self._out) as stream:
            output = stream.read()
        self.init.socket.close()
        _, status = os.waitpid(self.init.pid, 0)
        self.init.pid = self.init._stage = 0
        self.init.close()
        if self.listener >= 0:
            os.close(self.listener)
        return Ended(status, output)


def run(profile: dict[str, Any], *argv: str, **how: Any) -> Ended:
    return Filtered(profile, **how).execute(*argv)


def test_the_probe_itself(probe: str) -> None:
    """Without a rule in the way every call does what it does."""
    profile = section("ALLOW", architectures=["SCMP_ARCH_X86"])
    calls = [str(GETPPID), f"{EPOLL_PWAIT2},-1", "i386:64"]
    ppid, wait, ppid32 = run(profile, probe, *calls).results
    assert ppid == ppid32 == os.getpid()
    assert wait not in {ENOSYS, EPERM}


@pytest.mark.parametrize("number", [0, 1, 13, 38, 4094])
def test_errno(probe: str, number: int) -> None:
    profile = section("ALLOW", rule("ERRNO", "getppid", errnoRet=number))
    assert run(profile, probe, str(GETPPID), str(SCHED_YIELD)).results == [-number, 0]


@pytest.mark.parametrize("action", ["KILL", "KILL_THREAD", "KILL_PROCESS", "TRAP"])
def test_deadly_actions(probe: str, action: str) -> None:
    ended = run(section("ALLOW", rule(action, "getppid")), probe, str(SCHED_YIELD), str(GETPPID))
    assert ended.signal == signal.SIGSYS
    assert ended.lines == ["0"]


@pytest.mark.parametrize(("action", "survives"), [("KILL_THREAD", True), ("KILL_PROCESS", False)])
def test_a_thread_or_the_process(probe: str, action: str, survives: bool) -> None:
    ended = run(section("ALLOW", rule(action, "getppid")), probe, "thread", str(GETPPID))
    assert (ended.lines == ["main lives"]) == survives
    assert ended.signal == (0 if survives else signal.SIGSYS)


def test_trap_can_be_caught(probe: str) -> None:
    ended = run(section("ALLOW", rule("TRAP", "getppid")), probe, "catch", str(GETPPID))
    assert ended.status == 0
    assert ended.lines[0] == f"trapped {GETPPID}"


def test_trace_without_a_tracer(probe: str) -> None:
    assert run(section("ALLOW", rule("TRACE", "getppid")), probe, str(GETPPID)).results == [ENOSYS]


@pytest.mark.parametrize(
    ("profile", "logged"),
    [
        (section("ALLOW", rule("LOG", "getppid")), True),
        (section("ALLOW", rule("ERRNO", "getppid"), flags=["SECCOMP_FILTER_FLAG_LOG"]), True),
        (section("ALLOW", rule("ERRNO", "getppid")), False),
    ],
)
def test_log(probe: str, profile: dict[str, Any], logged: bool) -> None:
    actions = Path("/proc/sys/kernel/seccomp/actions_logged")
    if not {"log", "errno"} <= set(actions.read_text().split()):
        pytest.skip(f"{actions} leaves out log or errno")
    kmsg = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        os.lseek(kmsg, 0, os.SEEK_END)
        control = section("ALLOW", rule("LOG", "getppid"))
        for _ in range(8):  # the kernel prints ten messages in five seconds, whoever causes them
            before, found, after = [_logs(kmsg, probe, p) for p in (control, profile, control)]
            if before and after:
                assert found == logged
                return
            time.sleep(2)
        pytest.skip("this kernel's audit records do not reach /dev/kmsg")
    finally:
        os.close(kmsg)


def _logs(kmsg: int, probe: str, profile: dict[str, Any]) -> bool:
    """Whether the kernel says that it has seen the call."""
    process = Filtered(profile)
    mark = f" pid={process.init.pid} "
    assert process.execute(probe, str(GETPPID)).status == 0
    while select.select([kmsg], [], [], 0.3)[0]:
        try:
            record = os.read(kmsg, 8192).decode(errors="replace")
        except BrokenPipeError:
            continue  # the oldest records were overwritten meanwhile
        if "type=1326" in record and mark in record:
            return True
    return False


def test_arguments(probe: str) -> None:
    profile = section(
        "ALLOW",
        rule("ERRNO", "lseek", args=[arg(0, "EQ", 2**32 - 1), arg(1, "GT", 2**40)], errnoRet=77),
    )
    calls = [f"8,{2**32 - 1},{offset}" for offset in (2**40 - 1, 2**40, 2**40 + 1, 2**41)]
    results = run(profile, probe, *calls).results
    assert results == [-errno.EBADF, -errno.EBADF, -77, -77]


def test_masked_eq(probe: str) -> None:
    profile = section(
        "ALLOW", rule("ERRNO", "lseek", args=[arg(1, "MASKED_EQ", 0xF0, 0x50)], errnoRet=77)
    )
    calls = [f"8,99,{offset}" for offset in (0x50, 0x15F, 0x60)]
    assert run(profile, probe, *calls).results == [-77, -77, -errno.EBADF]


def test_calls_newer_than_the_profile(probe: str) -> None:
    """epoll_pwait2 exists, but not for a profile that ends with faccessat2."""
    profile = load("docker-like")
    for entry in profile["syscalls"]:
        entry["names"] = [n for n in entry["names"] if n not in NEW]
    profile["syscalls"] = [entry for entry in profile["syscalls"] if entry["names"]]
    calls = (f"{EPOLL_PWAIT2},-1", "445,-1", f"{PERSONALITY},0x40000", "321,0", "439,-1,0,0")
    results = run(profile, probe, *calls).results
    assert results == [ENOSYS, ENOSYS, EPERM, EPERM, -errno.EFAULT]
    assert run(load("docker-like"), probe, f"{EPOLL_PWAIT2},-1").results[0] != ENOSYS


NEW = [
    *("process_madvise", "epoll_pwait2", "mount_setattr", "landlock_create_ruleset"),
    *("landlock_add_rule", "landlock_restrict_self", "memfd_secret", "process_mrelease"),
    *("futex_waitv", "set_mempolicy_home_node", "cachestat", "fchmodat2", "map_shadow_stack"),
    *("futex_wake", "futex_wait", "futex_requeue", "statmount", "listmount", "lsm_get_self_attr"),
    *("lsm_set_self_attr", "lsm_list_modules", "mseal", "setxattrat", "getxattrat"),
    *("listxattrat", "removexattrat", "open_tree_attr", "quotactl_fd"),
]


def test_32_bit_calls(probe: str) -> None:
    rules = [rule("ERRNO", "getppid", errnoRet=77)]
    both = section("ALLOW", *rules, architectures=["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"])
    assert run(both, probe, str(GETPPID), "i386:64", "i386:158").results == [-77, -77, 0]
    ended = run(section("ALLOW", *rules), probe, str(GETPPID), "i386:158")
    assert ended.signal == signal.SIGSYS
    assert ended.lines == ["-77"]


@pytest.mark.parametrize("name", ["docker-like", "podman-like"])
def test_a_whole_profile(probe: str, name: str) -> None:
    """A shell works; what the profile keeps back is kept back."""
    profile = load(name)
    script = "for i in 1 2 3; do echo $i | cat; done; ls / >/dev/null && echo listed"
    ended = run(profile, BUSYBOX, "sh", "-c", script)
    assert (ended.status, ended.lines) == (0, ["1", "2", "3", "listed"])
    bpf, persona = run(profile, probe, "321,0", f"{PERSONALITY},0x40000").results
    assert bpf == EPERM
    assert persona == -profile["defaultErrnoRet"]
    assert run(profile, probe, f"{PERSONALITY},8").results[0] >= 0


def test_five_hundred_rules(probe: str) -> None:
    names = {name for entry in load("docker-like")["syscalls"] for name in entry["names"]}
    names.remove("personality")
    rules = [
        rule("ALLOW", name, args=[arg(5, "NE", 2**63), arg(4, "LE", 2**64 - 1)])
        for name in sorted(names)
    ]
    rules += [rule("ALLOW", "personality", args=[arg(0, "EQ", v)]) for v in range(500 - len(rules))]
    calls = [f"{PERSONALITY},{2**20}", f"{GETPPID},0,0,0,0,0,{2**63}", str(SCHED_YIELD)]
    assert run(section("ERRNO", *rules), probe, *calls).results == [EPERM, EPERM, 0]


@pytest.mark.parametrize(
    "flags",
    [
        [],
        ["SECCOMP_FILTER_FLAG_TSYNC", "SECCOMP_FILTER_FLAG_LOG"],
        ["SECCOMP_FILTER_FLAG_SPEC_ALLOW"],
        ["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"],
    ],
)
def test_every_flag_is_taken(probe: str, flags: list[str]) -> None:
    profile = section("ALLOW", rule("ERRNO", "getppid"), flags=flags)
    assert run(profile, probe, str(GETPPID)).results == [EPERM]


def test_root_needs_no_no_new_privs(probe: str) -> None:
    profile = section("ALLOW", rule("ERRNO", "getppid"))
    assert run(profile, probe, str(GETPPID), no_new_privs=False).results == [EPERM]


@pytest.mark.parametrize("flags", [[], ["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]])
def test_notify(probe: str, flags: list[str]) -> None:
    """A listener decides: getppid returns what it says."""
    profile = section("ALLOW", rule("NOTIFY", "getppid"), listenerPath="/unused", flags=flags)
    try:
        process = Filtered(profile)
    except SyscallError as error:
        if flags and error.errno == errno.EINVAL:
            pytest.skip("no SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV before Linux 5.19")
        raise
    listener = os.dup(process.listener)
    pids = []

    def answer() -> None:
        request = bytearray(80)  # struct seccomp_notif
        fcntl.ioctl(listener, 0xC0502100, request)  # SECCOMP_IOCTL_NOTIF_RECV
        cookie, pid, _, number = struct.unpack_from("=QIIi", request)
        pids.append((pid, number))
        reply = struct.pack("=QqiI", cookie, 4711, 0, 0)
        fcntl.ioctl(listener, 0xC0182101, reply)  # SECCOMP_IOCTL_NOTIF_SEND

    pid = process.init.pid
    thread = threading.Thread(target=answer)
    thread.start()
    try:
        assert process.execute(probe, str(GETPPID)).results == [4711]
    finally:
        thread.join()
        os.close(listener)
    assert pids == [(pid, GETPPID)]


def test_a_second_listener_is_an_error_that_says_where() -> None:
    """And nothing is left of the process."""
    profile = section("ALLOW", rule("NOTIFY", "getppid"), listenerPath="/unused")
    made = seccomp.filter_for(profile, cache_dir="", uid=0, machine=MACHINE)
    init = Init.spawn(Caller.of_this_process())
    try:
        program = Program(init.slots)
        seccomp.append(program, made)
        seccomp.append(program, made)
        with pytest.raises(SyscallError) as error:
            init.run(program)
    finally:
        init.kill()
    assert error.value.pointer == "/linux/seccomp"
    assert error.value.errno == errno.EBUSY
    assert error.value.call == "seccomp"


def test_podmans_own_profile(probe: str) -> None:
    """containers-common's file, as podman hands it over for a container without capabilities."""
    path = Path("/usr/share/containers/seccomp.json")
    if not path.exists():
        pytest.skip(f"{path} is not installed (golang-github-containers-common)")
    source = json.loads(path.read_text())
    (ours,) = [a for a in source["archMap"] if a["architecture"] == "SCMP_ARCH_X86_64"]
    profile = section(source["defaultAction"].removeprefix("SCMP_ACT_"))
    profile["defaultErrnoRet"] = source.get("defaultErrnoRet")
    profile["architectures"] = [ours["architecture"], *ours["subArchitectures"]]
    for entry in source["syscalls"]:
        wanted = entry["includes"]
        if not wanted.get("caps") and "amd64" in wanted.get("arches", ["amd64"]):
            profile["syscalls"].append(entry)
    ended = run(profile, BUSYBOX, "sh", "-c", "ls / | wc -l")
    assert (ended.status, ended.lines) == (0, [str(len(visible("/")))])
    sockets = [f"41,{family},3,{protocol}" for family, protocol in [(16, 9), (16, 0), (2, 0)]]
    results = run(profile, probe, *sockets, "321,0", f"{PERSONALITY},0x40000").results
    assert results[0] == -errno.EINVAL  # no audit socket without CAP_AUDIT_WRITE
    assert results[1] >= 0
    assert results[3:] == [EPERM, -source["defaultErrnoRet"]]


def visible(directory: str) -> list[str]:
    return [name for name in os.listdir(directory) if not name.startswith(".")]
