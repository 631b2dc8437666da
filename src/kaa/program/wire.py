"""Programs and replies as bytes: docs/protocol.md in Python."""

from _struct import Struct

from kaa.program.program import DATA, IMMEDIATE, SLOT, Op, Program, Ref, Slot, number

MAGIC = 0x3161616B
_HEADER = Struct("=6IQ")
_OP = Struct("=4HB7B6Q")
_RELOCATION = Struct("=2I")
REPLY = Struct("=IIiiII")
PROGRESS = Struct("=IIiii")
TAKEN_OFFSET = 20
PROGRESS_SIZE = 4096

STARTING, SET_UP, CREATED, GO, EXECUTING = range(5)


def encode(program: Program) -> bytes:
    """The batch for `program`."""
    ops = program.ops
    parts = [b"", *[_encode_op(op) for op in ops]]
    parts.extend(_RELOCATION.pack(*r) for r in program.relocations)
    parts.append(bytes(program.data))
    size = _HEADER.size + sum(map(len, parts))
    parts[0] = _HEADER.pack(
        MAGIC, size, len(ops), len(program.relocations), len(program.data), 0, 0
    )
    return b"".join(parts)


def _encode_op(op: Op) -> bytes:
    kinds = 0
    values = [0, 0, 0, 0, 0, 0]
    for i, arg in enumerate(op.args):
        if type(arg) is Slot:
            kind, value = SLOT, arg.number
        elif type(arg) is Ref:
            kind, value = DATA, arg.offset
        else:
            kind, value = IMMEDIATE, arg & 0xFFFFFFFFFFFFFFFF
        kinds |= kind << 2 * i
        values[i] = value
    errnos = (*op.errnos, 0, 0, 0, 0, 0, 0, 0)[:7]
    return _OP.pack(number(op.call), op.store, op.skip, kinds, op.policy, *errnos, *values)


def initial_progress() -> bytes:
    """The page as Python creates it."""
    return PROGRESS.pack(STARTING, 0, 0, -1, 0) + bytes(PROGRESS_SIZE - PROGRESS.size)
