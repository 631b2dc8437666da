"""A profile as a filter program: what happens to every number of every architecture.

libseccomp knows the calls' names and numbers. The program is kaa's own, because
libseccomp's (2.5.4) compiler makes wrong ones of several rules with argument
comparisons for one call, and does not come back from some. For everything else
the verdicts are the same as libseccomp's, which the tests hold it to.
"""

from errno import ENOSYS
from typing import TYPE_CHECKING, NamedTuple

from kaa.compile import seccomp_bpf as bpf
from kaa.compile.seccomp import INSTRUCTION, MAX_INSTRUCTIONS
from kaa.compile.seccomp_profile import ACTIONS, ERRNO, OPERATORS, Comparison, Profile, Rule
from kaa.errors import ConfigError

if TYPE_CHECKING:
    from kaa.compile.libseccomp import Library

_KILL = ACTIONS["SCMP_ACT_KILL"]
_X32_BIT = 0x40000000
_CANCELLED = 0xFFFFFFFF  # -1 is what a tracer leaves of a call that must not happen


class Architecture(NamedTuple):
    """A table of call numbers: from `first` on, those from `private` on are not for all.

    x32 shares x86_64's AUDIT_ARCH_*; its numbers have a bit set. Where arguments are
    not `wide` only their lower halves count.
    """

    token: int  # libseccomp's number
    audit: int  # AUDIT_ARCH_*, the kernel's
    wide: bool
    first: int = 0
    private: int = _CANCELLED


ARCHITECTURES = {
    "x86_64": Architecture(0xC000003E, 0xC000003E, wide=True),
    "x32": Architecture(0x4000003E, 0xC000003E, wide=False, first=_X32_BIT),
    "x86": Architecture(0x40000003, 0x40000003, wide=False),
    "aarch64": Architecture(0xC00000B7, 0xC00000B7, wide=True),
    "arm": Architecture(0x40000028, 0x40000028, wide=False, private=0x0F0000),  # set_tls ...
}

# What a kernel of the machine (as in uname(2)) can run; its own comes first.
MACHINES = {
    "x86_64": ("x86_64", "x86", "x32"),
    "i686": ("x86_64", "x86", "x32"),  # x86_64 under personality(PER_LINUX32)
    "aarch64": ("aarch64", "arm"),
    "armv8l": ("aarch64", "arm"),
}

# 32-bit x86 has socketcall(2) and ipc(2), whose first argument says which call is
# meant. libseccomp's number for such a call is minus that and minus 100 or 200.
# Most of them can also be made directly, since Linux 4.3 and 5.1.
_SOCKETCALL, _IPC = 102, 117
_X86_DIRECT = {
    "recvmmsg": 337,
    "sendmmsg": 345,
    "socket": 359,
    "socketpair": 360,
    "bind": 361,
    "connect": 362,
    "listen": 363,
    "accept4": 364,
    "getsockopt": 365,
    "setsockopt": 366,
    "getsockname": 367,
    "getpeername": 368,
    "sendto": 369,
    "sendmsg": 370,
    "recvfrom": 371,
    "recvmsg": 372,
    "shutdown": 373,
    "semget": 393,
    "semctl": 394,
    "shmget": 395,
    "shmctl": 396,
    "shmat": 397,
    "shmdt": 398,
    "msgget": 399,
    "msgsnd": 400,
    "msgrcv": 401,
    "msgctl": 402,
}

# For each call (by number): comparisons, none being "always", and the action for them.
_Calls = dict[int, dict[tuple[Comparison, ...], int]]


def compile_profile(library: "Library", profile: Profile, machine: str) -> bytes:
    """`profile` as an array of struct sock_filter, for `machine` (as in uname(2)).

    Of several rules for one call, one without comparisons goes before all that have
    some; among those the first that fits decides. Call names that libseccomp does not
    know are skipped, and so are architectures that the machine's kernel cannot run.
    Raises ConfigError for rules that contradict each other, and for a program that
    the kernel would refuse.
    """
    lines: dict[int, dict[int, bytes]] = {}
    for name in _architectures(profile, machine):
        line = lines.setdefault(ARCHITECTURES[name].audit, {})
        _draw(line, library, profile, name)
    program = b"".join(
        bpf.by_architecture(audit, bpf.by_number(_segments(line))) for audit, line in lines.items()
    )
    program += bpf.returns(_KILL)  # for the architectures that are not in the profile
    count = len(program) // INSTRUCTION
    if count > MAX_INSTRUCTIONS:
        raise ConfigError(
            f"the filter has {count} instructions, the kernel takes {MAX_INSTRUCTIONS}",
            pointer=profile.pointer,
            hint="fewer architectures or fewer argument comparisons make it smaller",
        )
    return program


def _architectures(profile: Profile, machine: str) -> list[str]:
    """The machine's own, which is always in the filter, and those of the profile."""
    possible = MACHINES.get(machine)
    if possible is None:
        raise ConfigError(f"no seccomp filter for a machine {machine}", pointer=profile.pointer)
    wanted = {name.removeprefix("SCMP_ARCH_").lower() for name in profile.architectures}
    return [name for name in possible if name in wanted or name == possible[0]]


def _draw(line: dict[int, bytes], library: "Library", profile: Profile, name: str) -> None:
    """Mark on the line of all numbers where other code begins: what is for this one and beyond."""
    architecture = ARCHITECTURES[name]
    default = bpf.returns(profile.default)
    calls, known = _calls(library, profile, name)
    line[architecture.first] = default
    for number in sorted(calls):
        line[number] = _code(calls[number], architecture.wide, profile.default)
        line[number + 1] = default
    known = [number for number in known if number < architecture.private]
    if known and profile.wants_enosys:
        line[max(known) + 1] = bpf.returns(ERRNO | ENOSYS)
        line.setdefault(architecture.private, default)
    if name == "x86_64":
        line[_X32_BIT] = bpf.returns(_KILL)  # unless x32 is drawn there
    line[_CANCELLED] = default


def _segments(line: dict[int, bytes]) -> list[tuple[int, bytes]]:
    """The line in order, without marks that change nothing."""
    segments: list[tuple[int, bytes]] = []
    for number in sorted(line):
        if not segments or segments[-1][1] != line[number]:
            segments.append((number, line[number]))
    return segments


def _code(alternatives: dict[tuple[Comparison, ...], int], wide: bool, default: int) -> bytes:
    always = alternatives.get(())
    if always is not None:
        return bpf.returns(always)
    code = b"".join(bpf.when(these, wide, action) for these, action in alternatives.items())
    return code + bpf.returns(default)


def _calls(library: "Library", profile: Profile, name: str) -> tuple[_Calls, list[int]]:
    """What the rules say about the architecture's calls, and the numbers of all they name."""
    calls: _Calls = {}
    known = []
    # Rules without comparisons come first, also for what socketcall and ipc stand for.
    for rule in sorted(profile.rules, key=lambda rule: rule.alternatives != [[]]):
        for index, call in enumerate(rule.names):
            number = library.number(ARCHITECTURES[name].token, call)
            if name == "x86" and number < 0:
                if rule.action != profile.default:
                    _multiplexed(calls, number, rule.action)
                number = _X86_DIRECT.get(call, -1)
            if number < 0:
                continue
            known.append(number)
            if rule.action != profile.default:
                _add(calls.setdefault(number, {}), rule, f"{rule.pointer}/names/{index}", call)
    return calls, known


def _add(
    alternatives: dict[tuple[Comparison, ...], int], rule: Rule, pointer: str, call: str
) -> None:
    if () in alternatives:
        return
    for comparisons in rule.alternatives:
        action = alternatives.setdefault(tuple(sorted(comparisons)), rule.action)
        if action != rule.action:
            raise ConfigError(
                f"another rule for {call} has the same arguments and another action",
                pointer=pointer,
            )


def _multiplexed(calls: _Calls, number: int, action: int) -> None:
    """The call as one of socketcall's or ipc's.

    Its own arguments are in memory, out of a filter's sight: a rule about them is for all.
    """
    for multiplexer, hundred in ((_SOCKETCALL, 100), (_IPC, 200)):
        if hundred < -number < hundred + 100:
            which = Comparison(0, OPERATORS["SCMP_CMP_EQ"], -number - hundred, 0)
            calls.setdefault(multiplexer, {}).setdefault((which,), action)
