"""libseccomp's own compiler, for profiles that it is known to understand."""

import ctypes
import os
from typing import Any

OPERATORS = ["NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ"]
ACTIONS = {"ALLOW": 0x7FFF0000, "ERRNO": 0x00050000, "LOG": 0x7FFC0000, "TRAP": 0x00030000}


class Comparison(ctypes.Structure):
    """struct scmp_arg_cmp"""

    _fields_ = (
        ("arg", ctypes.c_uint),
        ("op", ctypes.c_int),
        ("a", ctypes.c_uint64),
        ("b", ctypes.c_uint64),
    )


def program(profile: dict[str, Any], machine: str) -> bytes:
    """What libseccomp makes of it; without an answer for calls newer than the profile."""
    library = ctypes.CDLL("libseccomp.so.2")
    library.seccomp_init.restype = ctypes.c_void_p
    context = ctypes.c_void_p(
        library.seccomp_init(action(profile, "defaultAction", "defaultErrnoRet"))
    )
    assert context
    try:
        native = library.seccomp_arch_native()
        token = library.seccomp_arch_resolve_name(machine.encode())
        if native != token:
            assert library.seccomp_arch_add(context, token) == 0
            assert library.seccomp_arch_remove(context, native) == 0
        for name in profile.get("architectures", []):
            token = library.seccomp_arch_resolve_name(
                name.removeprefix("SCMP_ARCH_").lower().encode()
            )
            assert library.seccomp_arch_add(context, token) in {0, -17}
        for entry in profile["syscalls"]:
            _add(library, context, profile, entry)
        fd = os.memfd_create("oracle")
        try:
            assert library.seccomp_export_bpf(context, fd) == 0
            return os.pread(fd, 1 << 20, 0)
        finally:
            os.close(fd)
    finally:
        library.seccomp_release(context)


def _add(
    library: ctypes.CDLL, context: ctypes.c_void_p, profile: dict[str, Any], entry: dict[str, Any]
) -> None:
    verdict = action(entry, "action", "errnoRet")
    if verdict == action(profile, "defaultAction", "defaultErrnoRet"):
        return
    args = [
        Comparison(
            arg["index"],
            1 + OPERATORS.index(arg["op"].removeprefix("SCMP_CMP_")),
            arg["value"],
            arg["valueTwo"],
        )
        for arg in entry.get("args") or []
    ]
    for name in entry["names"]:
        number = library.seccomp_syscall_resolve_name(name.encode())
        if number != -1:
            array = (Comparison * len(args))(*args)
            result = library.seccomp_rule_add_array(context, verdict, number, len(args), array)
            assert result == 0, (result, name, verdict, entry)


def action(entry: dict[str, Any], name: str, errno: str) -> int:
    """The kernel's number for the action."""
    kind = entry[name].removeprefix("SCMP_ACT_")
    return ACTIONS[kind] | (entry.get(errno, 1) if kind == "ERRNO" else 0)
