"""Classic BPF written by hand: calls that are newer than the profile fail with ENOSYS.

A C library tries a new call and falls back to an older one on ENOSYS, and only
then. A profile that was written before the call existed would answer EPERM, and
programs break. The kernel numbers calls in the order of their invention (roughly),
so a number above all those that the profile knows is taken for such a call.
"""

from _struct import Struct
from errno import ENOSYS

_INSTRUCTION = Struct("=HBBI")  # struct sock_filter: code, jt, jf, k

_LOAD = 0x20  # BPF_LD | BPF_W | BPF_ABS
_EQUAL = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
_GREATER = 0x25  # BPF_JMP | BPF_JGT | BPF_K
_AT_LEAST = 0x35  # BPF_JMP | BPF_JGE | BPF_K
_RETURN = 0x06  # BPF_RET | BPF_K

_NR, _ARCH = 0, 4  # offsets in struct seccomp_data
_RET_ERRNO = 0x00050000


def enosys_for(ranges: dict[int, list[tuple[int, int]]]) -> bytes:
    """Instructions to put in front of a filter.

    `ranges` maps an AUDIT_ARCH_* value to ranges of call numbers (first and last)
    that shall fail with ENOSYS. Everything else falls through to what follows.
    """
    return b"".join(_for_architecture(arch, ranges[arch]) for arch in ranges)


def _for_architecture(arch: int, ranges: list[tuple[int, int]]) -> bytes:
    body = _instruction(_LOAD, _NR)
    for first, last in ranges:
        body += (
            _instruction(_AT_LEAST, first, otherwise=2)
            + _instruction(_GREATER, last, then=1)
            + _instruction(_RETURN, _RET_ERRNO | ENOSYS)
        )
    # The architecture is loaded again for each, so that no block has to jump over all others.
    skipped = len(body) // _INSTRUCTION.size
    return _instruction(_LOAD, _ARCH) + _instruction(_EQUAL, arch, otherwise=skipped) + body


def _instruction(code: int, k: int, *, then: int = 0, otherwise: int = 0) -> bytes:
    return _INSTRUCTION.pack(code, then, otherwise, k)
