"""Programs and replies as bytes: docs/protocol.md in Python."""

from _struct import Struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kaa.program.program import Program

MAGIC = 0x3161616B
_HEADER = Struct("=6IQ")
_RELOCATION = Struct("=2I")
REPLY = Struct("=IIiiII")
PROGRESS = Struct("=IIiii")
TAKEN_OFFSET = 20
SAID_OFFSET = 24
WORDS_OFFSET = 28
PROGRESS_SIZE = 4096

STARTING, SET_UP, CREATED, GO, EXECUTING = range(5)


def encode(program: "Program") -> bytes:
    """The batch for `program`."""
    relocations = b"".join([_RELOCATION.pack(*r) for r in program.relocations])
    size = _HEADER.size + len(program.code) + len(relocations) + len(program.data)
    header = _HEADER.pack(
        MAGIC, size, len(program), len(program.relocations), len(program.data), 0, 0
    )
    return b"".join((header, program.code, relocations, program.data))


def initial_progress() -> bytes:
    """The page as Python creates it."""
    return PROGRESS.pack(STARTING, 0, 0, -1, 0) + bytes(PROGRESS_SIZE - PROGRESS.size)
