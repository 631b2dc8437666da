"""The `linux.seccomp` object, checked and put into the kernel's terms.

runtime-spec, config-linux.md, "Seccomp"; where it is silent, kaa does as runc.
No library is needed to find a profile wrong.
"""

from errno import EPERM
from typing import Any, NamedTuple, NoReturn

from kaa.compile.seccomp import NEW_LISTENER
from kaa.errors import ConfigError

ACTIONS: dict[str, int] = {
    "SCMP_ACT_KILL": 0x00000000,
    "SCMP_ACT_KILL_PROCESS": 0x80000000,
    "SCMP_ACT_KILL_THREAD": 0x00000000,
    "SCMP_ACT_TRAP": 0x00030000,
    "SCMP_ACT_ERRNO": 0x00050000,
    "SCMP_ACT_TRACE": 0x7FF00000,
    "SCMP_ACT_ALLOW": 0x7FFF0000,
    "SCMP_ACT_LOG": 0x7FFC0000,
    "SCMP_ACT_NOTIFY": 0x7FC00000,
}
ALLOW = ACTIONS["SCMP_ACT_ALLOW"]
ERRNO = ACTIONS["SCMP_ACT_ERRNO"]
LOG = ACTIONS["SCMP_ACT_LOG"]
NOTIFY = ACTIONS["SCMP_ACT_NOTIFY"]
TRACE = ACTIONS["SCMP_ACT_TRACE"]

# The largest value that the action can carry: MAX_ERRNO, and SECCOMP_RET_DATA.
_LARGEST_DATA = {"SCMP_ACT_ERRNO": 4095, "SCMP_ACT_TRACE": 0xFFFF}

OPERATORS: dict[str, int] = {
    "SCMP_CMP_NE": 1,
    "SCMP_CMP_LT": 2,
    "SCMP_CMP_LE": 3,
    "SCMP_CMP_EQ": 4,
    "SCMP_CMP_GE": 5,
    "SCMP_CMP_GT": 6,
    "SCMP_CMP_MASKED_EQ": 7,
}

ARCHITECTURES: tuple[str, ...] = (
    "SCMP_ARCH_X86",
    "SCMP_ARCH_X86_64",
    "SCMP_ARCH_X32",
    "SCMP_ARCH_ARM",
    "SCMP_ARCH_AARCH64",
    "SCMP_ARCH_LOONGARCH64",
    "SCMP_ARCH_M68K",
    "SCMP_ARCH_MIPS",
    "SCMP_ARCH_MIPS64",
    "SCMP_ARCH_MIPS64N32",
    "SCMP_ARCH_MIPSEL",
    "SCMP_ARCH_MIPSEL64",
    "SCMP_ARCH_MIPSEL64N32",
    "SCMP_ARCH_PPC",
    "SCMP_ARCH_PPC64",
    "SCMP_ARCH_PPC64LE",
    "SCMP_ARCH_S390",
    "SCMP_ARCH_S390X",
    "SCMP_ARCH_SH",
    "SCMP_ARCH_SHEB",
    "SCMP_ARCH_PARISC",
    "SCMP_ARCH_PARISC64",
    "SCMP_ARCH_RISCV64",
)

# TSYNC is for the other threads of the loading process; kaa-init has none.
FLAGS: dict[str, int] = {
    "SECCOMP_FILTER_FLAG_TSYNC": 0,
    "SECCOMP_FILTER_FLAG_LOG": 2,
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW": 4,
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV": 32,
}
_SPEC_ALLOW = FLAGS["SECCOMP_FILTER_FLAG_SPEC_ALLOW"]
_WAIT_KILLABLE_RECV = FLAGS["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]


class Comparison(NamedTuple):
    """An argument of a call (0 to 5) compared with a value, by one of `OPERATORS`.

    MASKED_EQ means: argument & value == value_two.
    """

    argument: int
    operator: int
    value: int
    value_two: int


class Rule(NamedTuple):
    """`action` for the named calls when every comparison of one of the `alternatives` holds.

    An alternative without comparisons always holds. An `action` that is the
    default's changes nothing, but such a rule still says that its author knew the calls.
    """

    pointer: str
    names: list[str]
    action: int
    alternatives: list[list[Comparison]]


class Profile(NamedTuple):
    """A whole `linux.seccomp` object. `flags` are those of SECCOMP_SET_MODE_FILTER."""

    pointer: str
    default: int
    architectures: list[str]
    flags: int
    rules: list[Rule]

    @property
    def wants_enosys(self) -> bool:
        """Whether calls newer than the profile are to fail with ENOSYS.

        A C library tries a new call and falls back to an older one on ENOSYS, and only
        then: a profile written before the call existed must not answer EPERM. The kernel
        numbers calls in the order of their invention (roughly), so a number above all
        that the profile names is taken for one. Where the default lets calls through it
        applies to them as well (a tracer is expected to know what it does).
        """
        return self.default & 0xFFFF0000 not in {ALLOW, LOG, TRACE}


def parse(section: dict[str, Any], pointer: str) -> Profile:
    """The profile in `section`, which is at `pointer`; raises ConfigError with the exact place."""
    default = _action(section, pointer, "defaultAction", "defaultErrnoRet")
    if default == NOTIFY:
        _fail(
            f"{pointer}/defaultAction",
            "SCMP_ACT_NOTIFY cannot be the default action",
            "the listener could never be handed over",
        )
    rules = [
        _rule(entry, f"{pointer}/syscalls/{index}")
        for index, entry in enumerate(_list(section, "syscalls", pointer))
    ]
    return Profile(
        pointer,
        default,
        _architectures(section, pointer),
        _flags(section, pointer, any(rule.action == NOTIFY for rule in rules)),
        rules,
    )


def _rule(entry: Any, pointer: str) -> Rule:
    if type(entry) is not dict:
        _fail(pointer, "must be an object")
    names = _list(entry, "names", pointer)
    if not names:
        _fail(f"{pointer}/names", "must name at least one system call")
    for index, name in enumerate(names):
        if type(name) is not str or not name or "\0" in name:
            _fail(f"{pointer}/names/{index}", "must be the name of a system call")
    action = _action(entry, pointer, "action", "errnoRet")
    if action == NOTIFY and "write" in names:
        _fail(
            f"{pointer}/names/{names.index('write')}",
            "SCMP_ACT_NOTIFY cannot be used for write",
            "a process that must ask before it may write cannot hand over the listener",
        )
    comparisons = [
        _comparison(arg, f"{pointer}/args/{index}")
        for index, arg in enumerate(_list(entry, "args", pointer))
    ]
    return Rule(pointer, names, action, _alternatives(comparisons))


def _alternatives(comparisons: list[Comparison]) -> list[list[Comparison]]:
    """All must hold; but when two are about one argument, any suffices (as runc has it).

    libseccomp has no two comparisons of one argument in a rule, and profiles have been
    written for what the runtimes made of that.
    """
    if len({comparison.argument for comparison in comparisons}) == len(comparisons):
        return [comparisons]
    return [[comparison] for comparison in comparisons]


def _comparison(arg: Any, pointer: str) -> Comparison:
    if type(arg) is not dict:
        _fail(pointer, "must be an object")
    operator = arg.get("op")
    if type(operator) is not str or operator not in OPERATORS:
        _fail(f"{pointer}/op", f"unknown operator {operator!r}", f"one of {', '.join(OPERATORS)}")
    return Comparison(
        _number(arg, "index", pointer, 5),
        OPERATORS[operator],
        _number(arg, "value", pointer, 2**64 - 1),
        _number(arg, "valueTwo", pointer, 2**64 - 1, missing=0),
    )


def _action(entry: dict[str, Any], pointer: str, name: str, errno_name: str) -> int:
    """SECCOMP_RET_*: the kind, and the errno in the low half."""
    action = entry.get(name)
    if type(action) is not str or action not in ACTIONS:
        what = f"unknown action {action!r}" if action else "an action is needed"
        _fail(f"{pointer}/{name}", what, f"one of {', '.join(ACTIONS)}")
    largest = _LARGEST_DATA.get(action)
    if largest is not None:
        return ACTIONS[action] | _number(entry, errno_name, pointer, largest, missing=EPERM)
    if entry.get(errno_name) is not None:
        _fail(
            f"{pointer}/{errno_name}",
            f"{action} returns no errno",
            "only SCMP_ACT_ERRNO and SCMP_ACT_TRACE do",
        )
    return ACTIONS[action]


def _architectures(section: dict[str, Any], pointer: str) -> list[str]:
    found = _list(section, "architectures", pointer)
    for index, name in enumerate(found):
        if type(name) is not str or name not in ARCHITECTURES:
            _fail(
                f"{pointer}/architectures/{index}",
                f"unknown architecture {name!r}",
                f"one of {', '.join(ARCHITECTURES)}",
            )
    return found


def _flags(section: dict[str, Any], pointer: str, notify: bool) -> int:
    if section.get("flags") is None:
        flags = _SPEC_ALLOW
    else:
        flags = 0
        for index, name in enumerate(_list(section, "flags", pointer)):
            if type(name) is not str or name not in FLAGS:
                _fail(
                    f"{pointer}/flags/{index}",
                    f"unknown flag {name!r}",
                    f"one of {', '.join(FLAGS)}",
                )
            flags |= FLAGS[name]
    if notify:
        return flags | NEW_LISTENER
    return flags & ~_WAIT_KILLABLE_RECV  # EINVAL without a listener


def _list(entry: dict[str, Any], name: str, pointer: str) -> list[Any]:
    value = entry.get(name)
    if value is None:
        return []
    if type(value) is not list:
        _fail(f"{pointer}/{name}", "must be an array")
    return value


def _number(
    entry: dict[str, Any], name: str, pointer: str, largest: int, missing: int | None = None
) -> int:
    value = entry.get(name)
    if value is None and missing is not None:
        return missing
    if type(value) is not int or not 0 <= value <= largest:
        _fail(f"{pointer}/{name}", f"must be an integer from 0 to {largest}")
    return value


def _fail(pointer: str, message: str, hint: str | None = None) -> NoReturn:
    raise ConfigError(message, pointer=pointer, hint=hint)
