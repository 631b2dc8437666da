"""Programs for people: `kaa explain`, and the words of errors. Not on the hot path."""

from errno import E2BIG, EACCES, EBUSY, EINVAL, ELOOP, ENODEV, ENOSPC, ENOSYS, ENOTDIR, EPERM, EROFS
from typing import Any

from kaa.errors import ERRNO_NAMES
from kaa.program.calls import CALLS, SPECIALS
from kaa.program.op import IGNORE, NO_SLOT, SKIP, Op
from kaa.program.program import Program, Ref, Slot

_PATH_NAMES = {"path", "newpath", "topath", "target", "source", "dest", "name"}

_HINTS: dict[tuple[str, int], str] = {
    ("openat2", ENOSYS): "kaa needs Linux 5.14 or newer",
    ("mount_setattr", ENOSYS): "kaa needs Linux 5.14 or newer",
    ("mount_setattr", EPERM): "a flag that the user namespace has locked cannot be cleared",
    ("mount_setattr", EBUSY): "a file is open for writing on a mount that is to be read-only",
    ("open_tree", EINVAL): "a bind over locked mounts must be recursive: use rbind",
    ("fsopen", ENODEV): "the kernel has no such file system",
    ("move_mount", EINVAL): "a directory goes on a directory, a file on a file",
    ("move_mount", ENOTDIR): "a directory goes on a directory, a file on a file",
    ("pivot_root", EINVAL): "the rootfs may be on the initial ramfs: use --no-pivot",
    ("resolve", ELOOP): "a symbolic link stands where none may be",
    ("resolve", EROFS): "the mountpoint is missing and its parent is read-only",
    ("unshare", ENOSPC): "a limit in /proc/sys/user/max_*_namespaces is reached",
    ("unshare", EPERM): "root, or a user namespace, is needed",
    ("unshare", EINVAL): "the kernel lacks this namespace type",
    ("setns", EINVAL): "the path is not a namespace of this type",
    ("setns", EPERM): "the namespace belongs to a user namespace we have no power over",
    ("prlimit64", EPERM): "raising a hard limit needs CAP_SYS_RESOURCE",
    ("setresuid", EINVAL): "the uid is not mapped in the user namespace",
    ("setresgid", EINVAL): "the gid is not mapped in the user namespace",
    ("setgroups", EINVAL): "a gid is not mapped in the user namespace",
    ("setgroups", EPERM): "this user namespace denies setgroups",
    ("capset", EPERM): "kaa does not hold a capability that the process is to have",
    ("seccomp", EACCES): "without noNewPrivileges a filter needs CAP_SYS_ADMIN",
    ("execve", E2BIG): "the arguments and environment are too large",
}


def hint_for(call: str, errno: int) -> str | None:
    """What usually is the matter, if that is known."""
    return _HINTS.get((call, errno))


def argument_names(call: str) -> list[str]:
    """The names of a call's arguments."""
    return (CALLS.get(call) or SPECIALS.get(call) or "").lstrip("=").split()


def path_of(op: Op, program: Program) -> str | None:
    """The path that the call was about, if it has one."""
    for name, arg in zip(argument_names(op.call), op.args, strict=False):
        if name in _PATH_NAMES and type(arg) is Ref:
            text = _string(program, arg)
            if text:
                return text
    return None


def _string(program: Program, ref: Ref) -> str:
    end = program.data.find(b"\0", ref.offset)
    return program.data[ref.offset : end].decode("utf-8", "backslashreplace")


def _argument(program: Program, arg: Any) -> str:
    if type(arg) is Slot:
        return f"s{arg.number}"
    if type(arg) is Ref:
        text = _string(program, arg)
        return f'"{text}"' if text and text.isprintable() else f"@{arg.offset}"
    if arg == -100:
        return "AT_FDCWD"
    return str(arg) if -4096 < arg < 4096 else hex(arg & 0xFFFFFFFFFFFFFFFF)


def explain(program: Program) -> str:
    """One line a call, and a heading wherever the reason changes."""
    lines: list[str] = []
    reason: tuple[str, str] = ("", "")
    for index, op in enumerate(program.ops):
        if (op.pointer, op.phrase) != reason:
            reason = (op.pointer, op.phrase)
            lines.append(f"# {op.phrase}{f'  [{op.pointer}]' if op.pointer else ''}")
        store = f"s{op.store} = " if op.store != NO_SLOT else ""
        names = argument_names(op.call)
        arguments = ", ".join(
            f"{name}={_argument(program, arg)}" for name, arg in zip(names, op.args, strict=False)
        )
        lines.append(f"{index:5}  {store}{op.call}({arguments}){_policy(op, index)}")
    return "\n".join(lines)


def _policy(op: Op, index: int) -> str:
    errnos = " ".join(ERRNO_NAMES.get(e, str(e)) for e in op.errnos) or "any error"
    if op.policy == IGNORE:
        return f"  ! {errnos}: go on"
    if op.policy == SKIP:
        return f"  ! {errnos}: go to {index + op.skip + 1}"
    return f"  -> {index + op.skip + 1}" if op.call == "jump" else ""
