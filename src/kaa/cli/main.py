"""The entry of the command line: from argv to an exit code.

Only the module of the command that was asked for is imported.
"""

import posix
from errno import ENOMEM

import kaa
from kaa.caller import Caller
from kaa.cli.log import LEVELS, Log
from kaa.cli.parse import Misuse, parse
from kaa.cli.table import KAA, STATE_ROOT
from kaa.errors import KaaError, UsageError, from_oserror, strerror

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from kaa.cli.parse import Parsed
    from kaa.cli.table import Command
    from kaa.container.runtime import Runtime

_INTERRUPTED = 130
_INITIAL_USER_NAMESPACE = "user:[4026531837]"
_DOCUMENT_MAX = 64 << 20  # bytes
_TRISTATE = {"auto": None, "true": True, "false": False}
_MANAGERS = ("cgroupfs", "systemd", "disabled")


class Session:
    """What one command works with.

    `root` is the absolute directory of the containers' state, `root_given`
    whether the command line named it. `options` holds the command's options
    that were given, `args` its operands.
    """

    __slots__ = ("args", "caller", "globals", "log", "options", "root", "root_given")

    def __init__(self, caller: Caller, log: Log, parsed: "Parsed") -> None:
        self.caller = caller
        self.log = log
        self.globals = parsed.globals
        self.options = parsed.options
        self.args = parsed.args
        self.root_given = "root" in parsed.globals
        self.root = state_root(caller, parsed.globals)

    def runtime(self) -> "Runtime":
        """The runtime that the global options describe. Raises UsageError."""
        from kaa.container.runtime import Runtime

        rootless = self.globals.get("rootless", "auto")
        if rootless not in _TRISTATE:
            raise UsageError(f'invalid rootless: "{rootless}" is not true, false or auto')
        manager = self.globals.get("cgroup-manager", "cgroupfs")
        if manager not in _MANAGERS:
            raise UsageError(f"invalid cgroup-manager: {manager}")
        return Runtime(
            self.root,
            self.caller,
            systemd_cgroup=self.globals.get("systemd-cgroup", False) or manager == "systemd",
            rootless=_TRISTATE[rootless],
            warn=self.log.warn,
            no_cgroup=manager == "disabled",
        )

    def path(self, option: str, base: str = "") -> str:
        """The option's value as an absolute path ("" if it was not given).

        A relative one begins at `base`, or at the caller's working directory.
        """
        value: str = self.options.get(option, "")
        if not value:
            return ""
        return self.caller.path(value if value[0] == "/" or not base else f"{base}/{value}")

    def bundle(self) -> str:
        """The absolute path of the bundle."""
        return self.path("bundle") or self.caller.cwd

    def creation(self) -> "dict[str, Any]":
        """What `create` and `run` are called with.

        The sockets are relative to the bundle and the pid file to the caller's
        directory: runc changes into the bundle between the two.
        """
        bundle = self.bundle()
        given = self.options.get
        return {
            "bundle": bundle,
            "pid_file": self.path("pid-file"),
            "console_socket": self.path("console-socket", bundle),
            "pidfd_socket": self.path("pidfd-socket", bundle),
            "no_pivot": given("no-pivot", False),
            "no_new_keyring": given("no-new-keyring", False),
            "preserve_fds": given("preserve-fds", 0),
        }

    def write(self, text: str | bytes) -> None:
        """Print on the caller's standard output. Raises KaaError if that cannot be done.

        What has no UTF-8 form is escaped as in JSON.
        """
        _print(self.caller, text)

    def read(self, path: str | None) -> bytes:
        """A document that the user named; None is standard input. Raises KaaError."""
        try:
            if path is None:
                return _read(self.caller.stdio[0])
            fd = posix.open(self.caller.path(path), posix.O_RDONLY | posix.O_CLOEXEC)
            try:
                return _read(fd)
            finally:
                posix.close(fd)
        except OSError as error:
            raise from_oserror(error, "open" if path else "read standard input") from error


def main(argv: list[str]) -> int:
    """Run the command line `argv` (without the program's name); returns the exit code."""
    try:
        _open_missing_stdio()
    except OSError as error:
        return _report(error, KAA, Log(2))
    return run(argv, Caller.of_this_process())


def run(argv: list[str], caller: Caller) -> int:
    """`main` for a given caller. Whatever goes wrong ends as one line and an exit code."""
    log = Log(caller.stdio[2])
    command = KAA
    try:
        parsed = _parse(argv, caller, log)
        _set_up(log, caller, parsed.globals)
        command = parsed.route[-1]
        if parsed.options.get("version"):
            _print(caller, version())
        elif command.commands or parsed.options.get("help"):
            from kaa.cli import help

            _print(caller, help.text(parsed.route))
        else:
            return _perform(parsed, caller, log)
        return 0
    except (Exception, KeyboardInterrupt) as error:
        return _report(error, command, log)
    finally:
        log.close()


def _parse(argv: list[str], caller: Caller, log: Log) -> "Parsed":
    """The command line. If it makes no sense, help is printed and Misuse raised."""
    try:
        return parse(argv)
    except Misuse as error:
        _set_up(log, caller, error.globals)
        if error.shown:
            from kaa.cli import help

            _print(caller, f"{error.shown}\n\n{help.text(error.route)}")
        raise


def _perform(parsed: "Parsed", caller: Caller, log: Log) -> int:
    """Run the command; the exit code is what it says."""
    name = "_".join([command.name for command in parsed.route[1:]])
    session = Session(caller, log, parsed)
    log.debug(f"kaa {kaa.__version__}: {name}, root {session.root}")
    module = __import__(f"kaa.cli.commands.{name}", None, None, ("command",))
    code: int = module.command(session)
    return code


def _report(error: BaseException, command: "Command", log: Log) -> int:
    """Log why the command failed; returns its exit code."""
    code, record = command.failure_code, None
    if isinstance(error, OSError):
        error = from_oserror(error, command.name)
    if isinstance(error, KaaError):
        message, record = str(error), error.record()
        if isinstance(error, Misuse):
            log.error(message, record=record)
            return error.exit_code
        code = code if code != 1 else error.exit_code
    elif isinstance(error, MemoryError):
        message = strerror(ENOMEM)
    elif isinstance(error, RecursionError):
        message = "a document is nested too deeply"
    elif isinstance(error, KeyboardInterrupt):
        message, code = "interrupted", _INTERRUPTED
    else:  # a fault of kaa's own
        import traceback

        log.debug("".join(traceback.format_exception(error)))
        message = f"internal error: {type(error).__name__}: {error}"
    log.error(command.failure + message, record=record)
    return code


def _set_up(log: Log, caller: Caller, options: "dict[str, Any]") -> None:
    """Open the log as the global options say. Raises UsageError and KaaError."""
    form = options.get("log-format", "text")
    level = options.get("log-level", "debug" if options.get("debug") else "info")
    if form not in ("text", "json"):
        raise UsageError(f"invalid log-format: {form}")
    if level not in LEVELS:
        raise UsageError(f"invalid log-level: {level}")
    log.json = form == "json"
    log.set_level(level)
    if options.get("log"):
        try:
            log.open(caller.path(options["log"]))
        except OSError as error:
            raise from_oserror(error, "open the log") from error


def state_root(caller: Caller, options: "dict[str, Any]") -> str:
    """The absolute directory of the containers' state. Raises UsageError.

    $XDG_RUNTIME_DIR counts for those who are not the machine's root: any other
    user, and the root of a user namespace unless it calls itself root.
    """
    if "root" in options:
        given: str = options["root"]
        root = caller.path(given) if given else "/"
        if root == "/":
            raise UsageError(f'--root "{given}": must be a directory other than /')
        return root
    runtime_dir = caller.environ.get("XDG_RUNTIME_DIR", "")
    if not runtime_dir or not _honours_xdg(caller):
        return STATE_ROOT
    root = f"{caller.path(runtime_dir)}/kaa"
    _make_lasting(root)
    return root


def _honours_xdg(caller: Caller) -> bool:
    if caller.euid != 0:
        return True
    if caller.environ.get("USER") == "root":
        return False
    try:
        return posix.readlink("/proc/self/ns/user") != _INITIAL_USER_NAMESPACE
    except OSError:
        return False


def _make_lasting(root: str) -> None:
    """Make the directory with the sticky bit, which keeps cleaners of the XDG directory off."""
    try:
        try:
            posix.mkdir(root, 0o700)
        except FileExistsError:
            pass
        posix.chmod(root, 0o1700)
    except OSError as error:
        raise from_oserror(error, "make the root directory in $XDG_RUNTIME_DIR") from error


def version() -> str:
    """What `--version` prints; dockerd and go-runc read the lines."""
    import sys

    from kaa.container.state import OCI_VERSION

    lines = [f"kaa version {kaa.__version__}", f"spec: {OCI_VERSION}"]
    lines.append("python: " + ".".join([str(n) for n in sys.version_info[:3]]))
    try:
        from kaa.compile.libseccomp import load

        lines.append("libseccomp: " + ".".join([str(n) for n in load().version]))
    except KaaError:
        pass  # it is not installed
    return "\n".join(lines) + "\n"


def _open_missing_stdio() -> None:
    """Put /dev/null where 0, 1 or 2 is closed.

    The next file to be opened would take the number, and then be taken for the
    caller's standard output, or be handed to a container. Raises OSError.
    """
    for fd in (0, 1, 2):
        try:
            posix.fstat(fd)
        except OSError:
            posix.set_inheritable(posix.open("/dev/null", posix.O_RDWR), True)


def _print(caller: Caller, text: str | bytes) -> None:
    data = text.encode("utf-8", "backslashreplace") if isinstance(text, str) else text
    try:
        while data:
            data = data[posix.write(caller.stdio[1], data) :]
    except OSError as error:
        raise from_oserror(error, "write to standard output") from error


def _read(fd: int) -> bytes:
    content = b""
    while len(content) <= _DOCUMENT_MAX:
        more = posix.read(fd, 1 << 16)
        if not more:
            return content
        content += more
    raise KaaError(f"the document is larger than {_DOCUMENT_MAX >> 20} MiB")
