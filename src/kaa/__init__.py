"""kaa, an OCI container runtime: a drop-in for runc, a library, a namespace toolkit.

The public names are imported when they are first used: whoever runs one
command should not pay for the rest.
"""

__version__ = "0.1.0"

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kaa.caller import Caller as Caller
    from kaa.errors import CgroupError as CgroupError
    from kaa.errors import ConfigError as ConfigError
    from kaa.errors import ContainerExists as ContainerExists
    from kaa.errors import ContainerNotFound as ContainerNotFound
    from kaa.errors import HookError as HookError
    from kaa.errors import InitDied as InitDied
    from kaa.errors import KaaError as KaaError
    from kaa.errors import NotRunning as NotRunning
    from kaa.errors import SyscallError as SyscallError
    from kaa.program.program import Program as Program

_HOME = {
    "Caller": "kaa.caller",
    "CgroupError": "kaa.errors",
    "ConfigError": "kaa.errors",
    "ContainerExists": "kaa.errors",
    "ContainerNotFound": "kaa.errors",
    "HookError": "kaa.errors",
    "InitDied": "kaa.errors",
    "KaaError": "kaa.errors",
    "NotRunning": "kaa.errors",
    "Program": "kaa.program.program",
    "SyscallError": "kaa.errors",
}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'kaa' has no attribute {name!r}")
    value = getattr(__import__(_HOME[name], None, None, [name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
