"""kaa, an OCI container runtime: a drop-in for runc, a library, a namespace toolkit.

    >>> import kaa
    >>> kaa.run(["echo", "hello"], capture_output=True, text=True).stdout
    'hello\\n'

The public names are imported when they are first used: whoever runs one
command should not pay for the rest. docs/library.md is their tutorial.
"""

__version__ = "0.1.0"

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kaa import aio as aio
    from kaa.api.config import Config as Config
    from kaa.api.container import Container as Container
    from kaa.api.container import State as State
    from kaa.api.container import Stats as Stats
    from kaa.api.errors import ContainerFailed as ContainerFailed
    from kaa.api.errors import OutputLimitExceeded as OutputLimitExceeded
    from kaa.api.errors import TimeoutExpired as TimeoutExpired
    from kaa.api.mounts import Mount as Mount
    from kaa.api.namespaces import Namespaces as Namespaces
    from kaa.api.namespaces import is_supported as is_supported
    from kaa.api.options import ContainerOptions as ContainerOptions
    from kaa.api.process import Process as Process
    from kaa.api.profile import default_seccomp as default_seccomp
    from kaa.api.run import CompletedContainer as CompletedContainer
    from kaa.api.run import CompletedProcess as CompletedProcess
    from kaa.api.run import Popen as Popen
    from kaa.api.run import run as run
    from kaa.api.runtime import Runtime as Runtime
    from kaa.api.stdio import DEVNULL as DEVNULL
    from kaa.api.stdio import PIPE as PIPE
    from kaa.api.stdio import STDOUT as STDOUT
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
    from kaa.network.bridge import Bridge as Bridge
    from kaa.network.model import Network as Network
    from kaa.network.model import Route as Route
    from kaa.program.program import Program as Program

_NAMES = {
    "kaa.api.config": "Config",
    "kaa.api.container": "Container State Stats",
    "kaa.api.errors": "ContainerFailed OutputLimitExceeded TimeoutExpired",
    "kaa.api.mounts": "Mount",
    "kaa.api.namespaces": "Namespaces is_supported",
    "kaa.api.options": "ContainerOptions",
    "kaa.api.process": "Process",
    "kaa.api.profile": "default_seccomp",
    "kaa.api.run": "CompletedContainer CompletedProcess Popen run",
    "kaa.api.runtime": "Runtime",
    "kaa.api.stdio": "DEVNULL PIPE STDOUT",
    "kaa.caller": "Caller",
    "kaa.errors": "CgroupError ConfigError ContainerExists ContainerNotFound HookError InitDied"
    " KaaError NotRunning SyscallError",
    "kaa.network.bridge": "Bridge",
    "kaa.network.model": "Network Route",
    "kaa.program.program": "Program",
}
_HOME = {name: module for module, names in _NAMES.items() for name in names.split()}

__all__ = [  # noqa: PLE0604  (names that __getattr__ provides)
    "__version__",
    "aio",
    *sorted(_HOME),
]


def __getattr__(name: str) -> object:
    if name == "aio":
        return __import__("kaa.aio", None, None, ["run"])
    if name not in _HOME:
        raise AttributeError(f"module 'kaa' has no attribute {name!r}")
    value = getattr(__import__(_HOME[name], None, None, [name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
