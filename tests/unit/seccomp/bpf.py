"""The kernel's side of a seccomp filter, in Python: classic BPF over struct seccomp_data."""

import struct

X86_64 = 0xC000003E
I386 = 0x40000003
AARCH64 = 0xC00000B7
ARM = 0x40000028

KILL_PROCESS = 0x80000000
KILL_THREAD = 0
TRAP = 0x00030000
ERRNO = 0x00050000
NOTIFY = 0x7FC00000
TRACE = 0x7FF00000
LOG = 0x7FFC0000
ALLOW = 0x7FFF0000

ENOSYS = ERRNO | 38

_JUMPS = {0x10: int.__eq__, 0x20: int.__gt__, 0x30: int.__ge__, 0x40: int.__and__}
_ALU = {0x50: int.__and__, 0x40: int.__or__, 0xA0: int.__xor__}


def run(program: bytes, arch: int, nr: int, args: tuple[int, ...] = ()) -> int:
    """What the filter returns for the call. Anything that the kernel would refuse is an error."""
    values = [arg & 0xFFFFFFFFFFFFFFFF for arg in (*args, 0, 0, 0, 0, 0, 0)[:6]]
    data = struct.pack("=IIQ6Q", nr & 0xFFFFFFFF, arch, 0, *values)
    code = [struct.unpack_from("=HBBI", program, at) for at in range(0, len(program), 8)]
    assert 0 < len(code) <= 4096
    assert len(program) % 8 == 0
    accumulator = 0
    at = 0
    while True:
        op, then, otherwise, k = code[at]
        at += 1
        if op == 0x20:
            assert k % 4 == 0
            assert k < 64
            (accumulator,) = struct.unpack_from("=I", data, k)
        elif op == 0x05:
            at += k
        elif op & 7 == 5:
            assert op & 8 == 0
            at += then if _JUMPS[op & 0xF0](accumulator, k) else otherwise
        elif op & 7 == 4:
            accumulator = _ALU[op & 0xF0](accumulator, k)
        else:
            assert op == 0x06, hex(op)
            return int(k)
