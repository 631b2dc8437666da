"""One op of a program, for reading: what the call was, and which property wanted it."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

NO_SLOT = 0xFFFF
ANY: tuple[int, ...] = (0,)
STOP, IGNORE, SKIP = 0, 1, 2


class Op:
    """One call as a reader sees it, and where it came from."""

    __slots__ = ("args", "call", "errnos", "phrase", "pointer", "policy", "skip", "store")

    def __init__(self, call: str, args: "tuple[Any, ...]", pointer: str, phrase: str) -> None:
        self.call = call
        self.args = args
        self.store = NO_SLOT
        self.policy = STOP
        self.errnos: tuple[int, ...] = ()
        self.skip = 0
        self.pointer = pointer
        self.phrase = phrase
