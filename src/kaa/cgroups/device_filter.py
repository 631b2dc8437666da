"""The device list as an eBPF program, for cgroup v2 (bpf(2), BPF_PROG_TYPE_CGROUP_DEVICE).

The kernel runs it for every open and mknod of a device with the access, the
type and the numbers; its answer is 1 (allowed) or 0 (EPERM).
"""

from _struct import Struct
from posix import O_CLOEXEC, O_DIRECTORY, O_RDONLY

from kaa.cgroups.device_rules import ANY, DeviceList

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kaa.program.program import Program, Ref, Slot

_INSN = Struct("=BBhi")  # opcode, registers, offset, immediate

# opcodes (linux/bpf.h, linux/bpf_common.h)
_LOAD_U32 = 0x61  # dst = *(u32 *)(src + offset)
_MOV = 0xB7  # dst = immediate
_MOV_REGISTER = 0xBF  # dst = src
_AND = 0x57
_SHIFT_RIGHT = 0x77
_JUMP_EQUAL = 0x16  # of the lower 32 bits
_JUMP_UNEQUAL = 0x56
_EXIT = 0x95

_R0, _CONTEXT, _TYPE, _ACCESS, _MAJOR, _MINOR = range(6)  # what the registers hold
_TYPES = {"b": 1, "c": 2}
_ALL_ACCESS = 7

# bpf(2) commands and constants
_PROG_LOAD, _PROG_ATTACH, _PROG_DETACH = 5, 8, 9
_PROG_GET_FD_BY_ID, _PROG_QUERY = 13, 16
_CGROUP_DEVICE_PROGRAM, _CGROUP_DEVICE_HOOK = 15, 6
_ALLOW_MULTI = 2
_MOST_OLD_PROGRAMS = 16

_LOAD_ATTR = Struct("=IIQQIIQII16s")
_ATTACH_ATTR = Struct("=IIII")
_QUERY_ATTR = Struct("=IIIIQI")
_ROOM = 128  # the kernel may write a part of `union bpf_attr` that is newer than this text


def assemble(state: DeviceList) -> bytes:
    """The program for a device list, as an array of struct bpf_insn."""
    code = [
        _insn(_LOAD_U32, _TYPE, _CONTEXT, 0),
        _insn(_MOV_REGISTER, _ACCESS, _TYPE),
        _insn(_AND, _TYPE, immediate=0xFFFF),
        _insn(_SHIFT_RIGHT, _ACCESS, immediate=16),
        _insn(_LOAD_U32, _MAJOR, _CONTEXT, 4),
        _insn(_LOAD_U32, _MINOR, _CONTEXT, 8),
    ]
    for (kind, major, minor), access in state.exceptions.items():
        code += _exception(_TYPES[kind], major, minor, access, verdict=not state.allow)
    code += _answer(state.allow)
    return b"".join(code)


def _exception(kind: int, major: int, minor: int, access: int, *, verdict: bool) -> list[bytes]:
    """If the device matches, answer. An allowing exception must cover the whole
    access, a denying one any part of it."""
    tests = [(_JUMP_UNEQUAL, _TYPE, kind)]
    if major != ANY:
        tests.append((_JUMP_UNEQUAL, _MAJOR, major))
    if minor != ANY:
        tests.append((_JUMP_UNEQUAL, _MINOR, minor))
    body = [
        _insn(_MOV_REGISTER, _R0, _ACCESS),
        _insn(_AND, _R0, immediate=_ALL_ACCESS & ~access if verdict else access),
        _insn(_JUMP_UNEQUAL if verdict else _JUMP_EQUAL, _R0, offset=2),
        *_answer(verdict),
    ]
    end = len(tests) + len(body)
    jumps = [
        _insn(opcode, register, offset=end - at - 1, immediate=value)
        for at, (opcode, register, value) in enumerate(tests)
    ]
    return jumps + body


def _answer(allow: bool) -> list[bytes]:
    return [_insn(_MOV, _R0, immediate=int(allow)), _insn(_EXIT)]


def _insn(opcode: int, to: int = 0, source: int = 0, offset: int = 0, immediate: int = 0) -> bytes:
    signed = immediate - (1 << 32) if immediate >= 1 << 31 else immediate
    return _INSN.pack(opcode, to | source << 4, offset, signed)


def load_program(program: "Program", code: bytes, cgroup: str, *, replace: bool) -> None:
    """Append the calls that load `code` and attach it to the cgroup directory `cgroup`.

    With `replace`, programs that are attached already are detached *after* that,
    so that there is no moment without a filter; otherwise they stay, and a device must
    please them all.
    """
    program.at("/linux/resources/devices", "limit access to devices")
    directory = program.openat(-100, cgroup, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0)
    if replace:
        old = _query(program, directory)
    fd = _load(program, code)
    _hook(program, _PROG_ATTACH, directory, fd)
    program.close(fd)
    if replace:
        _detach(program, directory, old)
    program.close(directory)


def _load(program: "Program", code: bytes) -> "Slot":
    attr = program.bytes(
        _LOAD_ATTR.pack(
            _CGROUP_DEVICE_PROGRAM, len(code) // _INSN.size, 0, 0, 0, 0, 0, 0, 0, b"kaa_devices"
        )
    )
    program.pointer(attr + 8, program.bytes(code))
    program.pointer(attr + 16, program.string("Apache-2.0"))
    return program.call("bpf", _PROG_LOAD, attr, _LOAD_ATTR.size)


def _hook(program: "Program", command: int, directory: "Slot", fd: "Slot") -> None:
    flags = _ALLOW_MULTI if command == _PROG_ATTACH else 0
    attr = program.bytes(_ATTACH_ATTR.pack(0, 0, _CGROUP_DEVICE_HOOK, flags))
    program.poke(attr, 4, directory)
    program.poke(attr + 4, 4, fd)
    program.slots.give_back(program.bpf(command, attr, _ATTACH_ATTR.size))


def _query(program: "Program", directory: "Slot") -> "Ref":
    """The ids of the programs that are attached, zeros after the last."""
    ids = program.buffer(4 * (_MOST_OLD_PROGRAMS + 1))
    attr = program.bytes(
        _QUERY_ATTR.pack(0, _CGROUP_DEVICE_HOOK, 0, 0, 0, _MOST_OLD_PROGRAMS).ljust(_ROOM, b"\0")
    )
    program.pointer(attr + 16, ids)
    program.poke(attr, 4, directory)
    program.slots.give_back(program.bpf(_PROG_QUERY, attr, 64))
    return ids


def _detach(program: "Program", directory: "Slot", ids: "Ref") -> None:
    from errno import ENOENT

    done = program.label()
    for i in range(_MOST_OLD_PROGRAMS):
        one = ids + 4 * i
        present = program.label()
        program.check(one, 4, 0xFFFFFFFF, 0, ENOENT, goto=(present, ENOENT))
        program.jump(done)
        program.place(present)
        fd = program.bpf(_PROG_GET_FD_BY_ID, one, 4)  # the attribute is just the id
        _hook(program, _PROG_DETACH, directory, fd)
        program.close(fd)
    program.place(done)
