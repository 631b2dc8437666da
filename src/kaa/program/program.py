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

from _struct import Struct
from posix import O_CLOEXEC, O_NOFOLLOW, O_WRONLY

from kaa.program.calls import CALLS, SPECIAL, SPECIALS
from kaa.program.op import ANY as ANY
from kaa.program.op import IGNORE, NO_SLOT, SKIP, STOP, Op

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

SLOTS = 256

IMMEDIATE, DATA, SLOT = 0, 1, 2

_WORD = 0xFFFFFFFFFFFFFFFF
OP = Struct("=4HB7B6Q")
_SKIP = Struct("=H")

_NUMBERS = {name: i for i, name in enumerate(CALLS)} | {
    name: SPECIAL + i for i, name in enumerate(SPECIALS)
}
_NAMES = {i: name for name, i in _NUMBERS.items()}
_ARITY = {n: len(a.lstrip("=").split()) for n, a in (CALLS | SPECIALS).items()}
_methods: "dict[str, Callable[..., Slot]]" = {}
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


class Program:
    """A batch in the making. `code` holds the ops as they will be sent."""

    def __init__(self, slots: Slots | None = None) -> None:
        self.slots = slots or Slots()
        self.code = bytearray()
        self.data = bytearray()
        self.relocations: list[tuple[int, int]] = []
        self._reason = ("", "")
        self._reasons: list[tuple[str, str]] = []
        self._strings: dict[str, Ref] = {}

    def at(self, pointer: str, phrase: str) -> None:
        """The ops that follow realise the config property `pointer`; `phrase` says how."""
        self._reason = (pointer, phrase)

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

    def __len__(self) -> int:
        return len(self._reasons)

    @property
    def ops(self) -> list[Op]:
        """The ops, decoded from what will be sent."""
        return [self.op(index) for index in range(len(self))]

    def op(self, index: int) -> Op:
        """The op at `index`, decoded. Raises IndexError."""
        reason = self._reasons[index]
        call, store, skip, kinds, policy, *rest = OP.unpack_from(self.code, index * OP.size)
        name = _NAMES[call]
        args: list[Any] = []
        for i in range(_ARITY[name]):
            kind, value = kinds >> 2 * i & 3, rest[7 + i]
            if kind == IMMEDIATE:
                args.append(value - (1 << 64) if value >> 63 else value)
            else:
                args.append(Ref(value) if kind == DATA else Slot(value))
        op = Op(name, tuple(args), *reason)
        op.store, op.skip, op.policy = store, skip, policy
        op.errnos = tuple(e for e in rest[:7] if e)
        return op

    def call(self, name: str, *args: "Any", **how: "Any") -> Slot:
        """Append a call by its name, as the methods do that are named after the calls."""
        return _method(name)(self, *args, **how)

    def __getattr__(self, name: str) -> "Callable[..., Slot]":
        if name not in _NUMBERS:
            raise AttributeError(name)
        setattr(Program, name, _method(name))
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
            _SKIP.pack_into(self.code, index * OP.size + 4, len(self) - index - 1)

    def jump(self, label: Label) -> None:
        """Go on at the label."""
        label.froms.append(len(self))
        self.call("jump")

    def write_file(self, path: str, content: str, *, dirfd: "int | Slot" = -100) -> None:
        """Open for writing (no link is followed in the last part), write, close."""
        fd = self.call("openat", dirfd, path, O_WRONLY | O_CLOEXEC | O_NOFOLLOW, 0)
        raw = content.encode("utf-8", "surrogateescape")
        self.call("write", fd, raw, len(raw))
        self.close(fd)

    def place_data(self, arg: "Any") -> Ref:
        """Put a string, bytes or a vector of strings into the data segment."""
        kind = type(arg)
        if kind is str:
            return self.string(arg)
        if kind is bytes or kind is bytearray:
            return self.bytes(arg)
        if kind is list or kind is tuple:
            return self.vector(arg)
        raise TypeError(f"{arg!r} cannot be an argument of a system call")


def _method(name: str) -> "Callable[..., Slot]":
    """The method of `Program` for a call, made when it is first used.

    A container is some 500 calls, so the body below is the hottest in kaa: it
    encodes at once instead of keeping objects to be encoded later.
    """
    found = _methods.get(name)
    if found is not None:
        return found
    number, arity, returns_fd = _NUMBERS[name], _ARITY[name], name in _RETURNS_FD
    padding = (0,) * 6
    pack = OP.pack

    def method(
        self: Program,
        *args: "Any",
        ok: tuple[int, ...] = (),
        goto: "tuple[Any, ...] | None" = None,
        keep: bool = False,
        into: Slot | None = None,
    ) -> Slot:
        kinds = 0
        values: list[int] = []
        shift = 0
        for arg in args:
            kind = type(arg)
            if kind is int:
                values.append(arg & _WORD)
            elif kind is Slot:
                values.append(arg.number)
                kinds |= SLOT << shift
            elif arg is None:
                values.append(0)
            elif kind is bool:
                values.append(int(arg))
            else:
                values.append((arg if kind is Ref else self.place_data(arg)).offset)
                kinds |= DATA << shift
            shift += 2
        if len(values) > arity:
            raise TypeError(f"{name} takes {arity} arguments")
        policy, errnos = STOP, ok
        if ok:
            policy = IGNORE
            if ok == ANY:
                errnos = ()
        elif goto is not None:
            policy, errnos = SKIP, goto[1:]
            goto[0].froms.append(len(self._reasons))
        if len(errnos) > 7:
            raise ValueError("an op has room for 7 errnos")
        slot = into
        if slot is None:
            slot = self.slots.take() if keep or returns_fd else Slot(NO_SLOT)
        self.code += pack(
            number,
            slot.number,
            0,
            kinds,
            policy,
            *(*errnos, 0, 0, 0, 0, 0, 0, 0)[:7],
            *(*values, *padding)[:6],
        )
        self._reasons.append(self._reason)
        return slot

    _methods[name] = method
    return method
