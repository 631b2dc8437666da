"""Signals by name and number (signal(7)); the numbers are those of x86_64 and aarch64."""

from kaa.errors import UsageError

MAX = 64
RTMIN = 34  # 32 and 33 belong to the C library
RTMAX = 64

_NAMES = (
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
    "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG",
    "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
)  # fmt: skip
_NUMBERS = {name: number for number, name in enumerate(_NAMES, 1)}
_NUMBERS |= {"IOT": 6, "CLD": 17, "POLL": 29, "UNUSED": 31, "RTMIN": RTMIN, "RTMAX": RTMAX}


def parse(text: str) -> int:
    """The number of a signal that was written as 9, KILL, SIGKILL, kill, RTMIN+3 or RTMAX-1.

    0 is no signal, but may be sent to see whether a process is there. Raises UsageError.
    """
    number = _number(text) if text.isascii() else None
    if number is None:
        raise UsageError(f'unknown signal "{text}"')
    return number


def _number(text: str) -> int | None:
    if text.isdigit():
        return int(text) if len(text) < 4 and int(text) <= MAX else None
    name = text.upper().removeprefix("SIG")
    if name in _NUMBERS:
        return _NUMBERS[name]
    base, offset = name[:6], name[6:]
    if base not in ("RTMIN+", "RTMAX-") or not offset.isdigit() or len(offset) > 2:
        return None
    number = RTMIN + int(offset) if base == "RTMIN+" else RTMAX - int(offset)
    return number if RTMIN <= number <= RTMAX else None
