"""kaa's filters against libseccomp's: the same verdict for every call of every architecture."""

import random
from typing import Any

import pytest
from unit.seccomp import bpf, oracle
from unit.seccomp.profiles import arg, compiled, load, rule, section

MACHINES: dict[str, tuple[list[str], list[int]]] = {
    "x86_64": (["SCMP_ARCH_X86", "SCMP_ARCH_X32"], [bpf.X86_64, bpf.I386, bpf.ARM]),
    "aarch64": (["SCMP_ARCH_ARM"], [bpf.AARCH64, bpf.ARM, bpf.I386]),
}
NUMBERS = [
    *range(560),
    *range(0x0EFFF0, 0x0F0010),
    *range(0x3FFFFFF0, 0x40000230),
    *range(0xFFFFFF00, 0x100000000),
]
WORDS = [0, 1, 2, 3, 8, 40, 2**31, 2**32 - 1, 2**32, 2**32 + 1, 2**40, 2**63, 2**64 - 1]

# What 32-bit x86 makes through socketcall(2) or ipc(2).
MULTIPLEXED = {
    *("accept", "accept4", "bind", "connect", "getpeername", "getsockname", "getsockopt"),
    *("listen", "recv", "recvfrom", "recvmmsg", "recvmsg", "send", "sendmmsg", "sendmsg"),
    *("sendto", "setsockopt", "shutdown", "socket", "socketpair"),
    *("msgctl", "msgget", "msgrcv", "msgsnd", "semctl", "semget", "semop", "semtimedop"),
    *("shmat", "shmctl", "shmdt", "shmget"),
}


def compare(profile: dict[str, Any], machine: str, chance: random.Random, rounds: int) -> None:
    ours, theirs = compiled(profile, machine).program, oracle.program(profile, machine)
    for arch in MACHINES[machine][1]:
        for number in NUMBERS:
            for _ in range(rounds):
                args = tuple(chance.choice(WORDS) for _ in range(6))
                expected = bpf.run(theirs, arch, number, args)
                assert bpf.run(ours, arch, number, args) == expected, (arch, number, args)


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("also", [False, True])
@pytest.mark.parametrize("name", ["docker-like", "podman-like"])
def test_whole_profiles(name: str, also: bool, machine: str) -> None:
    profile = load(name) | {"defaultErrnoRet": 38}  # libseccomp answers no differently
    profile["architectures"] = MACHINES[machine][0] if also else []
    compare(profile, machine, random.Random(name), 2)


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("seed", range(10))
def test_random_profiles(seed: int, machine: str) -> None:
    """At most one rule with arguments a call: what libseccomp is good at."""
    chance = random.Random(seed)
    names = sorted({name for entry in load("docker-like")["syscalls"] for name in entry["names"]})
    chance.shuffle(names)
    rules = [rule(chance.choice(list(oracle.ACTIONS)), *names[:60])]
    for name in names[40:140]:  # some of them have a rule already
        if name in {"socketcall", "ipc"} or (name in names[:60] and name in MULTIPLEXED):
            continue  # rules that contradict each other
        args = [
            arg(index, chance.choice(oracle.OPERATORS), chance.choice(WORDS), chance.choice(WORDS))
            for index in chance.sample(range(6), chance.choice([0, 1, 1, 2, 3, 6]))
        ]
        if name in MULTIPLEXED:
            # libseccomp looks for the others among socketcall's own, where they never are
            args = [a for a in args if a["index"] == 0]
        rules.append(rule(chance.choice(list(oracle.ACTIONS)), name, args=args))
    default = chance.choice(["ALLOW", "LOG", "ERRNO"])
    profile = section(default, *rules)
    if default == "ERRNO":
        profile["defaultErrnoRet"] = 38
    profile["architectures"] = chance.choice([[], MACHINES[machine][0]])
    compare(profile, machine, chance, 1)
