"""libseccomp, through ctypes: which number a call has on which architecture.

seccomp_syscall_resolve_name(3). Its tables come with the distribution's updates.
"""

import ctypes
import os

from kaa.compile import seccomp_bpf, seccomp_filter, seccomp_profile
from kaa.compile.seccomp import identity
from kaa.errors import ConfigError

SONAME = "libseccomp.so.2"
OLDEST = (2, 5, 0)

_HINT = "apt install libseccomp2, dnf install libseccomp, or apk add libseccomp"


class _Version(ctypes.Structure):
    """struct scmp_version"""

    _fields_ = (("major", ctypes.c_uint), ("minor", ctypes.c_uint), ("micro", ctypes.c_uint))


class Library:
    """libseccomp, loaded; `version` is its version.

    `identity` says which files the filters come from: the library, and kaa's
    own part of the work, as they were when they were loaded.
    """

    def __init__(self, library: ctypes.CDLL) -> None:
        version = library.seccomp_version
        version.restype = ctypes.POINTER(_Version)
        version.argtypes = []
        found = version().contents
        self.version: tuple[int, int, int] = (found.major, found.minor, found.micro)
        self._resolve = library.seccomp_syscall_resolve_name_arch
        self._resolve.restype = ctypes.c_int
        self._resolve.argtypes = [ctypes.c_uint32, ctypes.c_char_p]
        modules = [__file__, seccomp_bpf.__file__, seccomp_filter.__file__]
        self.identity = identity([_path_in_memory(), *modules, seccomp_profile.__file__])

    def number(self, architecture: int, call: str) -> int:
        """The call's number on the architecture (SCMP_ARCH_*); negative if it has none there."""
        # "?" is in no call's name
        number: int = self._resolve(architecture, call.encode("ascii", "replace"))
        return number


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
        if library.version < OLDEST:
            raise ConfigError(
                f"libseccomp {_dotted(library.version)} is too old, {_dotted(OLDEST)} is needed",
                pointer=pointer,
                hint=_HINT,
            )
        _loaded = library
    return _loaded


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
