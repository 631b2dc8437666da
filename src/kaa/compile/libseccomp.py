"""Profiles compiled to BPF by libseccomp, through ctypes; see seccomp_rule_add(3).

Only its compiler is used: the flags are kaa's own business, and nothing is
loaded into the calling process.
"""

import ctypes
import os
from errno import EEXIST, EINVAL
from typing import Any

from kaa.compile import seccomp_bpf, seccomp_profile
from kaa.compile.seccomp import INSTRUCTION, MAX_INSTRUCTIONS, identity
from kaa.compile.seccomp_profile import Comparison, Profile, Rule
from kaa.errors import ConfigError, strerror

SONAME = "libseccomp.so.2"
OLDEST = (2, 5, 0)

# What libseccomp is to believe the kernel understands: SCMP_ACT_NOTIFY and all
# before it. By itself it would ask the running kernel, by system calls in our process.
_API_LEVEL = 5
_OPTIMIZE = 8  # SCMP_FLTATR_CTL_OPTIMIZE
_BINARY_TREE = 2
_TREE_FROM = 33  # calls; with fewer, a list is as quick

_X32 = "SCMP_ARCH_X32"
_X32_BIT = 0x40000000
_AUDIT_ARCH_64BIT = 0x80000000
_LAST_NUMBER = 0xFFFFFFFE  # -1 is what a tracer leaves of a call that it has cancelled
_ARM_PRIVATE = 0x0F0000  # set_tls and the like, far above all others

# Where uname(2) and libseccomp use different words.
_ARCHITECTURE_OF = {"i686": "x86", "armv7l": "arm", "armv8l": "arm"}

_CONTEXT, _INT, _U32 = ctypes.c_void_p, ctypes.c_int, ctypes.c_uint32


class _Comparison(ctypes.Structure):
    """struct scmp_arg_cmp"""

    _fields_ = (
        ("arg", ctypes.c_uint),
        ("op", ctypes.c_int),
        ("datum_a", ctypes.c_uint64),
        ("datum_b", ctypes.c_uint64),
    )


class _Version(ctypes.Structure):
    """struct scmp_version"""

    _fields_ = (("major", ctypes.c_uint), ("minor", ctypes.c_uint), ("micro", ctypes.c_uint))


_PROTOTYPES: dict[str, tuple[Any, ...]] = {  # the result, then the arguments
    "seccomp_version": (ctypes.POINTER(_Version),),
    "seccomp_api_set": (_INT, ctypes.c_uint),
    "seccomp_init": (_CONTEXT, _U32),
    "seccomp_release": (None, _CONTEXT),
    "seccomp_attr_set": (_INT, _CONTEXT, _INT, _U32),
    "seccomp_arch_native": (_U32,),
    "seccomp_arch_resolve_name": (_U32, ctypes.c_char_p),
    "seccomp_arch_add": (_INT, _CONTEXT, _U32),
    "seccomp_arch_remove": (_INT, _CONTEXT, _U32),
    "seccomp_syscall_resolve_name": (_INT, ctypes.c_char_p),
    "seccomp_syscall_resolve_name_arch": (_INT, _U32, ctypes.c_char_p),
    "seccomp_rule_add_array": (
        _INT,
        _CONTEXT,
        _U32,
        _INT,
        ctypes.c_uint,
        ctypes.POINTER(_Comparison),
    ),
    "seccomp_export_bpf": (_INT, _CONTEXT, _INT),
}


class Library:
    """libseccomp, loaded: its functions without their prefix, its version.

    `identity` says which files the filters come from: the library, and kaa's
    own half of the work, as they were when they were loaded.
    """

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library
        for name, (result, *arguments) in _PROTOTYPES.items():
            function = getattr(library, name)
            function.restype = result
            function.argtypes = arguments
        version = library.seccomp_version().contents
        self.version: tuple[int, int, int] = (version.major, version.minor, version.micro)
        modules = [__file__, seccomp_bpf.__file__, seccomp_profile.__file__]
        self.identity = identity([_path_in_memory(), *modules])

    def __getattr__(self, name: str) -> Any:
        return getattr(self._library, f"seccomp_{name}")


_loaded: Library | None = None


def load(pointer: str = "/linux/seccomp") -> Library:
    """libseccomp; raises ConfigError at `pointer` when this machine has none that will do."""
    global _loaded
    if _loaded is None:
        try:
            library = Library(ctypes.CDLL(SONAME))
        except OSError as error:
            raise ConfigError(
                f"a seccomp filter needs {SONAME}, which cannot be loaded: {error}",
                pointer=pointer,
                hint=_HINT,
            ) from None
        except AttributeError as error:
            raise ConfigError(
                f"{SONAME} is too old: {error}", pointer=pointer, hint=_HINT
            ) from None
        if library.version < OLDEST or library.api_set(_API_LEVEL):
            raise ConfigError(
                f"libseccomp {_dotted(library.version)} is too old, {_dotted(OLDEST)} is needed",
                pointer=pointer,
                hint=_HINT,
            )
        _loaded = library
    return _loaded


_HINT = "apt install libseccomp2, dnf install libseccomp, or apk add libseccomp"


def compile_profile(library: Library, profile: Profile, machine: str) -> bytes:
    """`profile` as an array of struct sock_filter, for `machine` (as in uname(2)).

    Raises ConfigError for what libseccomp does not know or cannot express. Call
    names that it does not know are skipped.
    """
    native = _token(library, machine, profile.pointer)
    tokens = {_ARCHITECTURE_OF.get(machine, machine): native}
    for index, name in enumerate(profile.architectures):
        short = _short(name)
        tokens[short] = _token(library, short, f"{profile.pointer}/architectures/{index}")
    context = library.init(profile.default)
    if not context:
        raise ConfigError("libseccomp cannot begin a filter", pointer=profile.pointer)
    try:
        _set_architectures(library, context, profile, native)
        if sum(len(rule.names) for rule in profile.rules) >= _TREE_FROM:
            _check(library.attr_set(context, _OPTIMIZE, _BINARY_TREE), "optimize", profile.pointer)
        for rule in profile.rules:
            if rule.action != profile.default:
                _add_rule(library, context, rule)
        program = _export(library, context, profile.pointer)
    finally:
        library.release(context)
    if profile.wants_enosys:
        program = seccomp_bpf.enosys_for(_unknown_numbers(library, profile, tokens)) + program
    count = len(program) // INSTRUCTION
    if count > MAX_INSTRUCTIONS:
        raise ConfigError(
            f"the filter has {count} instructions, the kernel takes {MAX_INSTRUCTIONS}",
            pointer=profile.pointer,
            hint="fewer architectures or fewer argument comparisons make it smaller",
        )
    return program


def _set_architectures(library: Library, context: int, profile: Profile, native: int) -> None:
    """The machine's own architecture is always in the filter, as with runc."""
    host = library.arch_native()
    if native != host:
        _check(library.arch_add(context, native), "add the architecture", profile.pointer)
        _check(library.arch_remove(context, host), "leave out the host's", profile.pointer)
    for index, name in enumerate(profile.architectures):
        pointer = f"{profile.pointer}/architectures/{index}"
        token = _token(library, _short(name), pointer)
        result = library.arch_add(context, token)
        if result != -EEXIST:
            _check(result, f"add {name} to a filter for this machine", pointer)


def _add_rule(library: Library, context: int, rule: Rule) -> None:
    for index, name in enumerate(rule.names):
        number = library.syscall_resolve_name(_encoded(name))
        if number == -1:
            continue  # no call by this name as far as libseccomp knows
        for comparisons in rule.alternatives:
            array = _array(comparisons)
            result = library.rule_add_array(context, rule.action, number, len(array), array)
            pointer = f"{rule.pointer}/names/{index}"
            if result == -EEXIST:
                raise ConfigError(
                    f"another rule for {name} has the same arguments and another action",
                    pointer=pointer,
                )
            _check(result, f"add a rule for {name}", pointer)


def _array(comparisons: list[Comparison]) -> Any:
    return (_Comparison * len(comparisons))(*[_Comparison(*one) for one in comparisons])


def _export(library: Library, context: int, pointer: str) -> bytes:
    fd = _anonymous_file()
    try:
        _check(library.export_bpf(context, fd), "write the filter", pointer)
        return os.pread(fd, os.fstat(fd).st_size, 0)
    finally:
        os.close(fd)


def _anonymous_file() -> int:
    flags = os.MFD_CLOEXEC
    try:
        return os.memfd_create("kaa-seccomp", flags | 8)  # MFD_NOEXEC_SEAL: some systems insist
    except OSError as error:
        if error.errno != EINVAL:  # Linux before 6.3 has no such flag
            raise
        return os.memfd_create("kaa-seccomp", flags)


def _unknown_numbers(
    library: Library, profile: Profile, tokens: dict[str, int]
) -> dict[int, list[tuple[int, int]]]:
    """For each AUDIT_ARCH_* value the call numbers that are newer than the profile."""
    names = [_encoded(name) for rule in profile.rules for name in rule.names]
    ranges: dict[int, list[tuple[int, int]]] = {}
    for short, token in tokens.items():
        last = {"x86_64": _X32_BIT - 1, "arm": _ARM_PRIVATE - 1}.get(short, _LAST_NUMBER)
        resolve = library.syscall_resolve_name_arch
        known = [number for name in names if 0 <= (number := resolve(token, name)) < last]
        if known:  # x32 is x86_64 with a bit set in the number
            arch = token | _AUDIT_ARCH_64BIT if short == _short(_X32) else token
            ranges.setdefault(arch, []).append((max(known) + 1, last))
    return ranges


def _token(library: Library, name: str, pointer: str) -> int:
    """libseccomp's (and, but for x32, the kernel's AUDIT_ARCH_*) number of the architecture."""
    token: int = library.arch_resolve_name(_ARCHITECTURE_OF.get(name, name).encode())
    if not token:
        version = _dotted(library.version)
        raise ConfigError(f"libseccomp {version} does not know {name}", pointer=pointer)
    return token


def _short(name: str) -> str:
    """SCMP_ARCH_X86_64 in libseccomp's own spelling, x86_64."""
    return name.removeprefix("SCMP_ARCH_").lower()


def _encoded(name: str) -> bytes:
    return name.encode("ascii", "replace")  # "?" is in no call's name


def _check(result: int, what: str, pointer: str) -> None:
    if result < 0:
        raise ConfigError(
            f"libseccomp cannot {what}: {strerror(-result)}", pointer=pointer, errno=-result
        )


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))


def _path_in_memory() -> str:
    """The file that the library was loaded from; "" if that cannot be told.

    Where the usual link leads there, it is the link: an upgrade turns it to another file.
    """
    name = f"/{SONAME}".encode()
    try:
        with open("/proc/self/maps", "rb") as maps:
            for line in maps:
                if name in line:
                    path = os.fsdecode(line.rstrip(b"\n").split(b" ", 5)[5].strip())
                    link = f"{os.path.dirname(path)}/{SONAME}"
                    return link if os.path.samefile(link, path) else path
    except OSError:
        pass
    return ""
