"""Classic BPF for seccomp: call numbers and argument comparisons as instructions.

bpf(4), seccomp(2). Code is `bytes`, an array of struct sock_filter. Jumps only go
forward and are relative, so that pieces can be put together by concatenation;
every piece either returns or falls out of its end.
"""

from _struct import Struct

from kaa.compile.seccomp_profile import OPERATORS, Comparison

_INSTRUCTION = Struct("=HBBI")  # struct sock_filter: code, jt, jf, k

_LOAD = 0x20  # BPF_LD | BPF_W | BPF_ABS
_AND = 0x54  # BPF_ALU | BPF_AND | BPF_K
_JUMP = 0x05  # BPF_JMP | BPF_JA
_EQUAL = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
_GREATER = 0x25  # BPF_JMP | BPF_JGT | BPF_K
_AT_LEAST = 0x35  # BPF_JMP | BPF_JGE | BPF_K
_RETURN = 0x06  # BPF_RET | BPF_K

# Offsets in struct seccomp_data. Of an argument the lower half comes first: kaa's
# machines are all little-endian.
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16
_WORD = 0xFFFFFFFF

# What the low halves must (or must not) be to each other.
_LOW_TESTS = {
    OPERATORS["SCMP_CMP_EQ"]: (_EQUAL, True),
    OPERATORS["SCMP_CMP_NE"]: (_EQUAL, False),
    OPERATORS["SCMP_CMP_GT"]: (_GREATER, True),
    OPERATORS["SCMP_CMP_LE"]: (_GREATER, False),
    OPERATORS["SCMP_CMP_GE"]: (_AT_LEAST, True),
    OPERATORS["SCMP_CMP_LT"]: (_AT_LEAST, False),
    OPERATORS["SCMP_CMP_MASKED_EQ"]: (_EQUAL, True),
}
_MASKED = OPERATORS["SCMP_CMP_MASKED_EQ"]


def returns(action: int) -> bytes:
    """The filter's answer is `action` (SECCOMP_RET_*)."""
    return _instruction(_RETURN, action)


def by_architecture(architecture: int, code: bytes) -> bytes:
    """Run `code`, which must return, for calls of this AUDIT_ARCH_*."""
    return _instruction(_LOAD, _ARCHITECTURE) + _unless(_EQUAL, architecture, code)


def by_number(segments: list[tuple[int, bytes]]) -> bytes:
    """Run the code of the segment that the call's number is in, by binary search.

    `segments` are (first number, code that returns), sorted; the first begins at 0.
    """
    return _instruction(_LOAD, _NUMBER) + _search(segments)


def when(comparisons: tuple[Comparison, ...], wide: bool, action: int) -> bytes:
    """Return `action` if all hold, else fall through.

    Arguments are 64 bits if `wide`, otherwise the lower half is all that counts.
    """
    code = returns(action)
    for comparison in reversed(comparisons):
        code = _if_holds(comparison, wide, code)
    return code


def _search(segments: list[tuple[int, bytes]]) -> bytes:
    if len(segments) == 1:
        return segments[0][1]
    middle = len(segments) // 2
    upper = _search(segments[middle:])
    return _unless(_AT_LEAST, segments[middle][0], upper) + _search(segments[:middle])


def _unless(code: int, k: int, body: bytes) -> bytes:
    """`body` if the test holds, else past it."""
    length = _length(body)
    if length <= 0xFF:
        return _instruction(code, k, otherwise=length) + body
    return _instruction(code, k, then=1) + _instruction(_JUMP, length) + body


def _if_holds(comparison: Comparison, wide: bool, body: bytes) -> bytes:
    """`body` if the comparison holds, else past it (at most some 40 instructions)."""
    operator, mask, value = comparison.operator, comparison.value, comparison.value
    if operator == _MASKED:
        value = mask & comparison.value_two
    where = _ARGUMENTS + 8 * comparison.argument
    past = _length(body)
    test, holds = _LOW_TESTS[operator]
    low = _instruction(_LOAD, where)
    if operator == _MASKED:
        low += _instruction(_AND, mask & _WORD)
    low += (
        _instruction(test, value & _WORD, otherwise=past)
        if holds
        else _instruction(test, value & _WORD, then=past)
    )
    if not wide:
        return low + body
    high = _instruction(_LOAD, where + 4)
    # From behind the test of the high halves: to the body, and past it.
    to_body, to_end = _length(low), _length(low) + past
    if operator == _MASKED:
        high += _instruction(_AND, mask >> 32)
    if test != _EQUAL:  # an order, decided by the high halves unless they are equal
        greater, less = (to_body, to_end) if holds else (to_end, to_body)
        high += _instruction(_GREATER, value >> 32, then=greater + 1)
    else:
        less = to_end if holds else to_body
    high += _instruction(_EQUAL, value >> 32, otherwise=less)
    return high + low + body


def _length(code: bytes) -> int:
    return len(code) // _INSTRUCTION.size


def _instruction(code: int, k: int, *, then: int = 0, otherwise: int = 0) -> bytes:
    return _INSTRUCTION.pack(code, then, otherwise, k)
