"""linux.seccomp, property by property, in containers that run."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from conformance.containers.seccomp import ALLOW, Agent, Json, refuse
from kit.container import Container

RULES = 500

pytestmark = pytest.mark.skipif(
    os.uname().machine not in ("x86_64", "aarch64"), reason="an architecture kaa-init is not for"
)


def says(container: Container, section: Json, script: str) -> str:
    """What the script prints under the filter, errors too."""
    container.linux["seccomp"] = section
    return container.script(f"{{ {script}; }} 2>&1; true").run().ok().out


def test_a_rule_with_the_errno_it_says(container: Container) -> None:
    section = {**ALLOW, "syscalls": [refuse("mkdir", "mkdirat", errnoRet=28)]}
    assert "No space left on device" in says(container, section, "mkdir /tmp/x")


def test_a_rule_without_an_errno_is_eperm(container: Container) -> None:
    section = {**ALLOW, "syscalls": [refuse("mkdir", "mkdirat", "no_such_call")]}
    assert "Operation not permitted" in says(container, section, "mkdir /tmp/x")


def test_the_default_errno(container: Container) -> None:
    """Everything busybox needs is allowed, but for what it makes directories with."""
    names = """access arch_prctl brk capget chdir clone clone3 close dup dup2 dup3 execve
        exit exit_group faccessat faccessat2 fchdir fcntl fork fstat fstatfs futex getcwd getdents64
        getegid geteuid getgid getpgrp getpid getppid getrandom getuid ioctl lseek lstat mmap
        mprotect mremap munmap newfstatat open openat pipe pipe2 poll ppoll prctl pread64 prlimit64
        read readlink readlinkat rseq rt_sigaction rt_sigprocmask rt_sigreturn set_robust_list
        setpgid set_tid_address sigaltstack stat statx sysinfo uname umask vfork wait4 write
        writev"""
    section = {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": 30,
        "syscalls": [{"names": names.split(), "action": "SCMP_ACT_ALLOW"}],
    }
    assert "Read-only file system" in says(container, section, "mkdir /tmp/x")


@pytest.mark.parametrize(
    ("op", "value", "second", "refused"),
    [
        ("SCMP_CMP_EQ", 0o700, 0, True),
        ("SCMP_CMP_NE", 0o700, 0, False),
        ("SCMP_CMP_MASKED_EQ", 0o070, 0o000, True),
        ("SCMP_CMP_MASKED_EQ", 0o070, 0o070, False),
        ("SCMP_CMP_GT", 0o700, 0, False),
    ],
)
def test_arguments(container: Container, op: str, value: int, second: int, refused: bool) -> None:
    """chmod(2), by the mode it is to set."""
    compared = {"value": value, "valueTwo": second, "op": op}
    rules = [
        refuse("chmod", args=[{"index": 1, **compared}]),
        refuse("fchmodat", args=[{"index": 2, **compared}]),
    ]
    said = says(container, {**ALLOW, "syscalls": rules}, "chmod 700 /etc/passwd && echo done")
    assert ("Operation not permitted" in said) == refused
    assert ("done" in said) != refused


def test_architectures(container: Container) -> None:
    ours = "SCMP_ARCH_X86_64" if os.uname().machine == "x86_64" else "SCMP_ARCH_AARCH64"
    section = {**ALLOW, "architectures": [ours], "syscalls": [refuse("mkdir", "mkdirat")]}
    assert "Operation not permitted" in says(container, section, "mkdir /tmp/x")


@pytest.mark.kaa_only("an old libseccomp has not all of them")
@pytest.mark.parametrize(
    "flags",
    [[], ["SECCOMP_FILTER_FLAG_LOG"], ["SECCOMP_FILTER_FLAG_SPEC_ALLOW"],
     ["SECCOMP_FILTER_FLAG_TSYNC"]],
)  # fmt: skip
def test_flags(container: Container, flags: list[str]) -> None:
    """Speculation is disabled for a process with a filter, unless the flag says not to."""
    section = {**ALLOW, "flags": flags, "syscalls": [refuse("mkdir", "mkdirat")]}
    said = says(container, section, "mkdir /tmp/x; grep Seccomp /proc/self/status")
    assert "Operation not permitted" in said
    assert "Seccomp:\t2" in said


@pytest.mark.parametrize("privileges", [True, False])
def test_with_and_without_new_privileges(container: Container, privileges: bool) -> None:
    container.process["noNewPrivileges"] = not privileges
    container.process["user"] = {"uid": 1000, "gid": 1000}
    section = {**ALLOW, "syscalls": [refuse("mkdir", "mkdirat")]}
    said = says(container, section, "mkdir /tmp/x; grep -E 'NoNewPrivs|CapEff' /proc/self/status")
    assert "Operation not permitted" in said
    assert f"NoNewPrivs:\t{0 if privileges else 1}" in said
    assert "CapEff:\t0000000000000000" in said


def test_exec_has_the_filter_too(container: Container) -> None:
    container.linux["seccomp"] = {**ALLOW, "syscalls": [refuse("mkdir", "mkdirat", errnoRet=28)]}
    container.sleeping()
    container.exec("mkdir", "/tmp/x").failed("No space left")


@pytest.mark.parametrize("action", ["SCMP_ACT_KILL_PROCESS", "SCMP_ACT_KILL", "SCMP_ACT_TRAP"])
def test_deadly_actions(container: Container, action: str) -> None:
    container.linux["seccomp"] = {
        **ALLOW,
        "syscalls": [refuse("mkdir", "mkdirat", action=action)],
    }
    result = container.script("mkdir /tmp/x; echo $?").run()
    assert result.ok().out.endswith(f"{128 + signal.SIGSYS}\n")


@pytest.mark.parametrize(
    ("name", "section"),
    [
        ("defaultAction", {"defaultAction": "SCMP_ACT_NONE"}),
        ("flags/0", {**ALLOW, "flags": ["SECCOMP_FILTER_FLAG_NONE"]}),
        ("architectures/0", {**ALLOW, "architectures": ["SCMP_ARCH_NONE"]}),
        ("syscalls/0/action", {**ALLOW, "syscalls": [refuse("mkdir", action="SCMP_ACT_NONE")]}),
        (
            "listenerPath",
            {**ALLOW, "syscalls": [refuse("mkdir", action="SCMP_ACT_NOTIFY")]},
        ),
    ],
)
@pytest.mark.kaa_only("its own pointers")
def test_a_section_that_is_wrong(container: Container, name: str, section: Json) -> None:
    container.linux["seccomp"] = section
    container.run().failed(f"/linux/seccomp/{name}", code=1)


@pytest.mark.parametrize("together", [True, False])
def test_a_listener(container: Container, tmp: Path, together: bool) -> None:
    """It is told who asks (runtime.md, Container Process State), and given the descriptor."""
    agent = Agent(tmp / "agent")
    container.linux["seccomp"] = {
        **ALLOW,
        "listenerPath": str(tmp / "agent"),
        "listenerMetadata": "what the engine wants to remember",
        "syscalls": [refuse("mkdir", action="SCMP_ACT_NOTIFY")],
    }
    container.process["args"] = ["sleep", "1000"]
    try:
        if together:
            container.run("--detach").ok()
        else:
            container.up()
        pid = container.pid
    finally:
        agent.close()
    assert agent.document["metadata"] == "what the engine wants to remember"
    assert agent.document["fds"] == ["seccompFd"]
    assert agent.document["pid"] == pid
    assert agent.document["state"]["id"] == container.id
    assert agent.document["ociVersion"].startswith("1.")
    assert len(agent.descriptors) == 1


def test_nobody_listens(container: Container, tmp: Path) -> None:
    container.linux["seccomp"] = {
        **ALLOW,
        "listenerPath": str(tmp / "nobody"),
        "syscalls": [refuse("mkdir", action="SCMP_ACT_NOTIFY")],
    }
    container.run().failed("nobody", code=1)


def test_five_hundred_rules(container: Container, nothing_is_left: Callable[[], None]) -> None:
    """Each with a comparison of its own: the filter really has that many branches."""
    rules = [
        refuse("chmod", args=[{"index": 1, "value": 0o10000 + n, "op": "SCMP_CMP_EQ"}])
        for n in range(RULES - 1)
    ]
    rules.append(refuse("mkdir", "mkdirat", errnoRet=28))
    said = says(container, {**ALLOW, "syscalls": rules}, "mkdir /tmp/x; chmod 700 /tmp && echo ok")
    assert "No space left on device" in said
    assert said.endswith("ok\n")
    nothing_is_left()
