"""`linux.seccomp` as a filter program and the op that loads it; see seccomp(2).

Compiling a profile takes ctypes, libseccomp and some ten milliseconds, so the result is
kept. When a start finds it, this module and the cache are all that is loaded.
"""

from _struct import Struct
from posix import close, stat

from kaa.compile import seccomp_cache as cache
from kaa.errors import ConfigError
from kaa.program.op import NO_SLOT
from kaa.program.program import Program, Slot

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

SET_MODE_FILTER = 1
NEW_LISTENER = 8

INSTRUCTION = 8  # bytes of a struct sock_filter
MAX_INSTRUCTIONS = 4096  # BPF_MAXINSNS

_FORMAT = "kaa seccomp 2"
_FPROG = Struct("=H6xQ")
_ENTRY = Struct("=III")  # flags, lengths of the sources and of the program
# What a filter is made from. The listener's properties may differ per container.
_INGREDIENTS = ("defaultAction", "defaultErrnoRet", "architectures", "flags", "syscalls")


class Filter:
    """A compiled profile.

    `program` is an array of struct sock_filter, `flags` are those of
    SECCOMP_SET_MODE_FILTER. `notify` says that loading it gives a listener,
    which goes to `listener_path` with `listener_metadata`.
    """

    __slots__ = ("flags", "listener_metadata", "listener_path", "program")

    def __init__(self, program: bytes, flags: int) -> None:
        self.program = program
        self.flags = flags
        self.listener_path = ""
        self.listener_metadata = ""

    @property
    def notify(self) -> bool:
        """Some call is decided by a process that listens, see seccomp_unotify(2)."""
        return bool(self.flags & NEW_LISTENER)


def filter_for(
    section: "dict[str, Any]",
    *,
    cache_dir: str,
    uid: int,
    machine: str,
    pointer: str = "/linux/seccomp",
) -> Filter:
    """The filter for the `linux.seccomp` object `section`.

    `cache_dir` is a directory of `uid`'s (made when missing, its parent must
    exist; "" does without; one that others could write to is not used).
    `machine` is the architecture as in uname(2). `pointer` is where `section`
    is in the document. Raises ConfigError for a profile that makes no sense,
    and when libseccomp is needed and missing.
    """
    if type(section) is not dict:
        raise ConfigError("must be an object", pointer=pointer)
    directory = cache.open_directory(cache_dir, uid) if cache_dir else -1
    try:
        found = _cached_filter(directory, section, uid, machine, pointer)
    finally:
        if directory >= 0:
            close(directory)
    _set_listener(found, section, pointer)
    return found


def append(program: Program, loaded: Filter, pointer: str = "/linux/seccomp") -> "Slot | None":
    """Append the op that loads the filter into the calling thread.

    For a filter that notifies, returns the slot that will hold the listener.
    Without no_new_privs the thread needs CAP_SYS_ADMIN in its user namespace.
    """
    program.at(pointer, "load the seccomp filter")
    code = program.bytes(loaded.program)
    fprog = program.bytes(_FPROG.pack(len(loaded.program) // INSTRUCTION, 0))
    program.pointer(fprog + 8, code)
    if loaded.notify:
        return program.call("seccomp", SET_MODE_FILTER, loaded.flags, fprog)
    program.call("seccomp", SET_MODE_FILTER, loaded.flags, fprog, into=Slot(NO_SLOT))
    return None


def identity(sources: "list[str]") -> bytes:
    """Which files these are now: after an upgrade, others. Empty if one is missing."""
    numbers = []
    for path in sources:
        try:
            status = stat(path)
        except (OSError, ValueError):
            return b""
        numbers.append((status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns))
    return "\n".join([*sources, ascii(numbers)]).encode("utf-8", "surrogateescape")


def _cached_filter(
    directory: int, section: "dict[str, Any]", uid: int, machine: str, pointer: str
) -> Filter:
    if directory < 0:
        return _compile(section, machine, pointer)[0]
    key = _key(section, machine, pointer)
    entry = cache.read(directory, uid, key)
    found = _unpack(entry) if entry is not None else None
    if found is None:
        found, made_from = _compile(section, machine, pointer)
        if made_from:
            cache.write(directory, key, _pack(found, made_from))
    return found


def _compile(section: "dict[str, Any]", machine: str, pointer: str) -> "tuple[Filter, bytes]":
    """The filter, and the identity of the files that decide what it is."""
    try:
        from kaa.compile import libseccomp, seccomp_filter, seccomp_profile
    except ImportError as error:
        raise ConfigError(
            f"compiling a seccomp filter needs all of Python's library: {error}",
            pointer=pointer,
            hint="apt install python3, if this is python3-minimal",
        ) from None
    profile = seccomp_profile.parse(section, pointer)
    library = libseccomp.load(pointer)
    program = seccomp_filter.compile_profile(library, profile, machine)
    return Filter(program, profile.flags), library.identity


def _set_listener(found: Filter, section: "dict[str, Any]", pointer: str) -> None:
    path, metadata = [
        _text(section, name, pointer) for name in ("listenerPath", "listenerMetadata")
    ]
    if metadata and not path:
        raise ConfigError(
            "may be given only together with listenerPath", pointer=f"{pointer}/listenerMetadata"
        )
    if found.notify and not path:
        raise ConfigError(
            "is needed, because the profile has a rule with SCMP_ACT_NOTIFY",
            pointer=f"{pointer}/listenerPath",
        )
    found.listener_path = path
    found.listener_metadata = metadata


def _text(section: "dict[str, Any]", name: str, pointer: str) -> str:
    value = section.get(name)
    if value is None:
        return ""
    try:
        if type(value) is str and b"\0" not in value.encode("utf-8", "surrogateescape"):
            return value
    except UnicodeEncodeError:
        pass
    raise ConfigError("must be a string of characters other than NUL", pointer=f"{pointer}/{name}")


def _key(section: "dict[str, Any]", machine: str, pointer: str) -> str:
    # Of what JSON can express ascii() gives equal texts only for equal values; the
    # same profile with its properties in another order is merely compiled twice.
    # __file__: two installations of kaa may share the cache directory.
    parts = [section.get(name) for name in _INGREDIENTS]
    try:
        text = ascii((_FORMAT, __file__, machine, parts))
    except RecursionError:
        raise ConfigError("is nested too deeply", pointer=pointer) from None
    return cache.digest(text.encode()).hex()


def _pack(filter_: Filter, made_from: bytes) -> bytes:
    program = filter_.program
    return _ENTRY.pack(filter_.flags, len(made_from), len(program)) + made_from + program


def _unpack(entry: bytes) -> "Filter | None":
    """The filter in a cache entry, unless something that it was made from has changed since."""
    flags, split, size = _ENTRY.unpack_from(entry)
    made_from, program = entry[_ENTRY.size :][:split], entry[_ENTRY.size + split :]
    sources = made_from.decode("utf-8", "surrogateescape").split("\n")[:-1]
    if len(program) != size or identity(sources) != made_from:
        return None
    return Filter(program, flags)
