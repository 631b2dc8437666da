"""The builder: a `Program` is a list of system calls for kaa-init, and why each is there.

Building one is pure; nothing here touches the kernel. See docs/protocol.md for
what it becomes.

    p = Program()
    p.at("/hostname", "set the host name")
    p.sethostname("box", 3)

Every name in `calls.CALLS` and `calls.SPECIALS` is a method. Its positional
arguments are what the call takes: ints, strings and bytes (placed in the data
segment), `Slot`s, `Ref`s, `None` for a null pointer, and lists of strings for
an argv-like vector. Keywords, the same for every method:

    ok=(EEXIST,)          these errnos do not stop the program (`ANY`: none does)
    goto=(label, EPERM)   on these errnos (none given: on any) go on at the label
    keep=True             the result is wanted: the method returns its Slot
                          (calls that return descriptors keep theirs anyway)
"""

from posix import O_CLOEXEC, O_NOFOLLOW, O_WRONLY

from kaa.program.calls import CALLS, SPECIAL, SPECIALS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

ANY: tuple[int, ...] = (0,)
NO_SLOT = 0xFFFF
SLOTS = 256

IMMEDIATE, DATA, SLOT = 0, 1, 2
STOP, IGNORE, SKIP = 0, 1, 2

_NUMBERS = {name: i for i, name in enumerate(CALLS)} | {
    name: SPECIAL + i for i, name in enumerate(SPECIALS)
}
_ARITY = {n: len(a.lstrip("=").split()) for n, a in (CALLS | SPECIALS).items()}
_RETURNS_FD = frozenset(n for n, a in (CALLS | SPECIALS).items() if a.startswith("="))


class Slot:
    """A register of kaa-init's: holds a descriptor or another result."""

    __slots__ = ("number",)

    def __init__(self, number: int) -> None:
        self.number = number

    def __repr__(self) -> str:
        return f"s{self.number}"


class Ref:
    """A place in the data segment."""

    __slots__ = ("offset",)

    def __init__(self, offset: int) -> None:
        self.offset = offset

    def __add__(self, n: int) -> "Ref":
        return Ref(self.offset + n)


class Label:
    """A place in the program, ahead of the ops that go there."""

    __slots__ = ("froms",)

    def __init__(self) -> None:
        self.froms: list[int] = []


class Slots:
    """Hands out slot numbers; shared by the programs that one kaa-init runs."""

    __slots__ = ("_free", "_next")

    def __init__(self) -> None:
        self._free: list[int] = []
        self._next = 0

    def take(self) -> Slot:
        """A slot that nobody uses."""
        if self._free:
            return Slot(self._free.pop())
        if self._next == SLOTS:
            raise OverflowError("a program may hold at most 256 slots at once")
        self._next += 1
        return Slot(self._next - 1)

    def give_back(self, slot: Slot) -> None:
        """The slot's value is not needed any more."""
        self._free.append(slot.number)


class Op:
    """One call, and where it came from."""

    __slots__ = ("args", "call", "errnos", "phrase", "pointer", "policy", "skip", "store")

    def __init__(
        self, call: str, args: "tuple[Any, ...]", store: int, pointer: str, phrase: str
    ) -> None:
        self.call = call
        self.args = args
        self.store = store
        self.policy = STOP
        self.errnos: tuple[int, ...] = ()
        self.skip = 0
        self.pointer = pointer
        self.phrase = phrase


class Program:
    """A batch in the making."""

    def __init__(self, slots: Slots | None = None) -> None:
        self.slots = slots or Slots()
        self.ops: list[Op] = []
        self.data = bytearray()
        self.relocations: list[tuple[int, int]] = []
        self.emitted = 0
        self._pointer = ""
        self._phrase = ""
        self._strings: dict[str, Ref] = {}

    def at(self, pointer: str, phrase: str) -> None:
        """The ops that follow realise the config property `pointer`; `phrase` says how."""
        self._pointer = pointer
        self._phrase = phrase

    # -- data ------------------------------------------------------------

    def bytes(self, value: bytes | bytearray) -> Ref:
        """Place bytes in the data segment, aligned to 8."""
        offset = len(self.data)
        self.data += value
        self.data += bytes(-len(self.data) % 8)
        return Ref(offset)

    def buffer(self, size: int) -> Ref:
        """Room for the kernel to write into."""
        return self.bytes(bytes(size))

    def string(self, value: str) -> Ref:
        """A NUL-terminated string; equal strings are placed once, so treat it as read-only."""
        ref = self._strings.get(value)
        if ref is None:
            ref = self._strings[value] = self.bytes(
                value.encode("utf-8", "surrogateescape") + b"\0"
            )
        return ref

    def vector(self, values: "list[str] | tuple[str, ...]") -> Ref:
        """A NULL-terminated array of pointers to strings."""
        strings = [self.string(v) for v in values]
        ref = self.buffer(8 * (len(strings) + 1))
        for i, string in enumerate(strings):
            self.pointer(ref + 8 * i, string)
        return ref

    def pointer(self, where: Ref, target: Ref) -> None:
        """Make the 64-bit word at `where` point at `target`."""
        self.relocations.append((where.offset, target.offset))

    # -- ops -------------------------------------------------------------

    def call(
        self,
        name: str,
        *args: "Any",
        ok: tuple[int, ...] = (),
        goto: "tuple[Any, ...] | None" = None,
        keep: bool = False,
        into: Slot | None = None,
    ) -> Slot:
        """Append a call; what the methods named after the calls do."""
        if len(args) > _ARITY[name]:
            raise TypeError(f"{name} takes {_ARITY[name]} arguments")
        slot = into
        if slot is None:
            slot = self.slots.take() if keep or name in _RETURNS_FD else Slot(NO_SLOT)
        placed = tuple([self._place(a) for a in args])
        op = Op(name, placed, slot.number, self._pointer, self._phrase)
        if ok:
            op.policy = IGNORE
            op.errnos = _errnos(() if ok == ANY else ok)
        elif goto is not None:
            op.policy = SKIP
            op.errnos = _errnos(tuple(goto[1:]))
            goto[0].froms.append(len(self.ops))
        self.ops.append(op)
        return slot

    def __getattr__(self, name: str) -> "Callable[..., Slot]":
        if name not in _NUMBERS:
            raise AttributeError(name)

        def method(self: "Program", *args: "Any", **how: "Any") -> Slot:
            return self.call(name, *args, **how)

        setattr(Program, name, method)
        return getattr(self, name)  # type: ignore[no-any-return]

    def close(self, fd: Slot) -> None:
        """Close the descriptor and free its slot."""
        self.call("close", fd)
        self.slots.give_back(fd)

    def emit(self, address: Ref, length: "int | Slot") -> None:
        """Add bytes to the reply."""
        self.call("emit", address, length)

    def label(self) -> Label:
        """A label for `goto`; `place` it later in the program."""
        return Label()

    def place(self, label: Label) -> None:
        """The label is here: before the op that is appended next."""
        for index in label.froms:
            self.ops[index].skip = len(self.ops) - index - 1

    def jump(self, label: Label) -> None:
        """Go on at the label."""
        label.froms.append(len(self.ops))
        self.call("jump")

    def write_file(self, path: str, content: str, *, dirfd: "int | Slot" = -100) -> None:
        """Open for writing (no link is followed in the last part), write, close."""
        fd = self.call("openat", dirfd, path, O_WRONLY | O_CLOEXEC | O_NOFOLLOW, 0)
        raw = content.encode("utf-8", "surrogateescape")
        self.call("write", fd, raw, len(raw))
        self.close(fd)

    def _place(self, arg: "Any") -> "Any":
        kind = type(arg)
        if kind is int or kind is Slot or kind is Ref:
            return arg
        if kind is str:
            return self.string(arg)
        if kind is bytes or kind is bytearray:
            return self.bytes(arg)
        if arg is None:
            return 0
        if kind is list or kind is tuple:
            return self.vector(arg)
        if kind is bool:
            return int(arg)
        raise TypeError(f"{arg!r} cannot be an argument of a system call")


def _errnos(errnos: tuple[int, ...]) -> tuple[int, ...]:
    if len(errnos) > 7:
        raise ValueError("an op has room for 7 errnos")
    return errnos


def number(name: str) -> int:
    """The number that stands for the call in a batch."""
    return _NUMBERS[name]
