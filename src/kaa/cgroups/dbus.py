"""A connection to a systemd manager over D-Bus: org.freedesktop.systemd1(5).

jeepney writes and reads the messages. The connection is made here, with
`_socket`: what jeepney has for that looks at the environment, and logs in with a
uid that is wrong in a user namespace. Only imported where a scope is managed.
"""

import _socket
import posix
from time import monotonic
from typing import Any

from kaa import site_packages
from kaa.errors import CgroupError, strerror

CALL_S = 25.0
JOB_S = 30.0
_NAME = "org.freedesktop.systemd1"
_PATH = "/org/freedesktop/systemd1"
_MANAGER = f"{_NAME}.Manager"
_PROPERTIES = "org.freedesktop.DBus.Properties"
_DRIVER = ("/org/freedesktop/DBus", "org.freedesktop.DBus", "org.freedesktop.DBus")
_LOGIN_LONGEST = 4096

NO_SUCH_UNIT = f"{_NAME}.NoSuchUnit"
UNIT_EXISTS = f"{_NAME}.UnitExists"


class BusError(CgroupError):
    """systemd refused a call; `name` is D-Bus's name for why."""

    def __init__(self, message: str, name: str) -> None:
        super().__init__(message)
        self.name = name


class Manager:
    """The systemd at the first of `addresses` that answers; a context manager.

    An address is a path, of a message bus or of systemd's own socket; the latter is
    called "private" and needs no bus. `user` is only for the words of an error.
    """

    def __init__(self, addresses: list[str], *, user: bool) -> None:
        site_packages.enable()
        try:
            import jeepney
        except ImportError:
            raise CgroupError(
                "the Python package jeepney is needed to talk to systemd",
                hint="install it (pip install jeepney; Debian: apt install python3-jeepney), or"
                " let kaa manage the cgroups itself: without --systemd-cgroup",
            ) from None
        self._jeepney = jeepney
        self._parser = jeepney.Parser()
        self._serial = 0
        self._jobs: dict[str, str] = {}
        self.address, self._socket = _connect(addresses, user=user)
        self._private = self.address.endswith("/private")
        try:
            _log_in(self._socket)
            if not self._private:
                self._call(*_DRIVER, "Hello")
                self._call(
                    *_DRIVER,
                    "AddMatch",
                    "s",
                    (f"type='signal',interface='{_MANAGER}',member='JobRemoved',path='{_PATH}'",),
                )
            self._call(_PATH, _NAME, _MANAGER, "Subscribe")
        except OSError as error:
            self._socket.close()
            raise self._lost(error) from None
        except BaseException:
            self._socket.close()
            raise

    def __enter__(self) -> "Manager":
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    # -- what is asked of systemd ----------------------------------------------

    def property(self, name: str) -> Any:
        """A property of the manager."""
        ((_, value),) = self._call(_PATH, _NAME, _PROPERTIES, "Get", "ss", (_MANAGER, name))
        return value

    def version(self) -> int:
        """The number of systemd's release; 0 if it has none that we understand."""
        digits = ""
        for character in self.property("Version").removeprefix("v"):
            if not character.isdigit():
                break
            digits += character
        return int(digits or 0)

    def start_transient(self, unit: str, properties: list[tuple[str, tuple[str, Any]]]) -> str:
        """Queue the job that makes a unit of these properties; returns the job."""
        (job,) = self._manage(
            "StartTransientUnit", "ssa(sv)a(sa(sv))", (unit, "fail", properties, [])
        )
        return str(job)

    def stop(self, unit: str) -> str:
        """Queue the job that stops a unit; returns the job."""
        (job,) = self._manage("StopUnit", "ss", (unit, "replace"))
        return str(job)

    def reset_failed(self, unit: str) -> None:
        """Let systemd forget that the unit has failed, and so the unit."""
        self._manage("ResetFailedUnit", "s", (unit,))

    def set_properties(self, unit: str, properties: list[tuple[str, tuple[str, Any]]]) -> None:
        """Change a unit until it ends; returns when systemd has written its cgroup's files."""
        self._manage("SetUnitProperties", "sba(sv)", (unit, True, properties))
        # They are written before systemd looks at the next message.
        self.property("Version")

    def attach(self, unit: str, below: str, pid: int) -> None:
        """Move a process into the unit's cgroup, or `below` ("/sub") that."""
        self._manage("AttachProcessesToUnit", "ssau", (unit, below, [pid]))

    def wait(self, job: str, timeout_s: float = JOB_S) -> str:
        """Wait for the end of a job: "done", or in one word how it failed."""
        deadline = monotonic() + timeout_s
        while job not in self._jobs:
            try:
                self._take_in(self._receive(deadline))
            except TimeoutError:
                raise CgroupError(
                    f"systemd has not finished a job within {timeout_s:g} s",
                    hint="`systemctl list-jobs` shows what it is waiting for",
                ) from None
            except OSError as error:
                raise self._lost(error) from None
        return self._jobs.pop(job)

    # -- messages -----------------------------------------------------------------

    def _manage(self, method: str, signature: str, body: tuple[Any, ...]) -> tuple[Any, ...]:
        return self._call(_PATH, _NAME, _MANAGER, method, signature, body)

    def _call(
        self,
        path: str,
        name: str,
        interface: str,
        method: str,
        signature: str = "",
        body: tuple[Any, ...] = (),
    ) -> tuple[Any, ...]:
        jeepney = self._jeepney
        address = jeepney.DBusAddress(path, bus_name=name, interface=interface)
        message = jeepney.new_method_call(address, method, signature or None, body)
        self._serial += 1
        serial = self._serial
        deadline = monotonic() + CALL_S
        fields = jeepney.HeaderFields
        try:
            self._socket.settimeout(CALL_S)
            self._socket.sendall(message.serialise(serial))
            while True:
                answer = self._receive(deadline)
                if answer.header.fields.get(fields.reply_serial) == serial:
                    break
                self._take_in(answer)
        except TimeoutError:
            raise CgroupError(f"systemd has not answered {method} within {CALL_S:g} s") from None
        except OSError as error:
            raise self._lost(error) from None
        if answer.header.message_type is jeepney.MessageType.error:
            why = answer.body[0] if answer.body else "no reason given"
            raise BusError(f"systemd: {method}: {why}", answer.header.fields[fields.error_name])
        found: tuple[Any, ...] = answer.body
        return found

    def _receive(self, deadline: float) -> Any:
        while (message := self._parser.get_next_message()) is None:
            self._socket.settimeout(max(0.001, deadline - monotonic()))
            data = self._socket.recv(1 << 16)
            if not data:
                raise ConnectionResetError
            self._parser.add_data(data)
        return message

    def _take_in(self, message: Any) -> None:
        """A message that is no answer: remember which jobs have ended, and how."""
        if message.header.fields.get(self._jeepney.HeaderFields.member) == "JobRemoved":
            _, job, _, result = message.body
            self._jobs[job] = result

    def _lost(self, error: OSError) -> CgroupError:
        why = strerror(error.errno) if error.errno else "the connection was closed"
        return CgroupError(
            f"talk to systemd at {self.address}: {why}", path=self.address, errno=error.errno
        )


def _connect(addresses: list[str], *, user: bool) -> tuple[str, "_socket.socket"]:
    failure: OSError | None = None
    for address in addresses:
        found = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC, 0)
        found.settimeout(CALL_S)
        try:
            # a path that begins with a NUL is an abstract one
            found.connect(address)
        except OSError as error:
            found.close()
            failure = failure or error
            continue
        return address, found
    whose = "your systemd (systemctl --user)" if user else "systemd"
    why = strerror(failure.errno or 0) if failure else "its socket is not known"
    raise CgroupError(
        f"connect to {whose}: {why}",
        path=addresses[0] if addresses else None,
        errno=failure.errno if failure else None,
        hint=(
            "log in with a session of its own (loginctl enable-linger starts one for good), and"
            " set XDG_RUNTIME_DIR or DBUS_SESSION_BUS_ADDRESS"
            if user
            else "is systemd the init of this machine?"
        ),
    )


def _log_in(connection: "_socket.socket") -> None:
    """The handshake of the D-Bus specification ("Authentication Protocol").

    EXTERNAL without a name: the kernel says who we are, in whatever user namespace. All
    of it at once: a message that comes together with BEGIN, systemd does not notice.
    """
    connection.sendall(b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n")
    said = b""
    while said.count(b"\r\n") < 2:
        more = connection.recv(_LOGIN_LONGEST)
        said += more
        if not more or len(said) > _LOGIN_LONGEST:
            raise ConnectionResetError
    if not said.startswith(b"DATA\r\nOK "):
        raise CgroupError(f"systemd does not let us in: {said.decode('ascii', 'replace')!r}")


def addresses(environ: dict[str, str], euid: int, *, user: bool) -> list[str]:
    """Where a systemd may be reached, the likeliest first.

    systemd's own socket comes before the message bus, as for systemctl(1), unless
    the environment names a bus.
    """
    if not user:
        named = _paths(environ.get("DBUS_SYSTEM_BUS_ADDRESS", ""))
        return [*named, "/run/systemd/private", "/run/dbus/system_bus_socket"]
    named = _paths(environ.get("DBUS_SESSION_BUS_ADDRESS", ""))
    runtime = environ.get("XDG_RUNTIME_DIR") or f"/run/user/{euid}"
    return [*named, f"{runtime}/systemd/private", f"{runtime}/bus"]


def _paths(addresses: str) -> list[str]:
    """The UNIX sockets of a D-Bus address ("unix:path=/run/bus,guid=...;unix:abstract=x")."""
    found = []
    for address in addresses.split(";"):
        transport, _, options = address.partition(":")
        if transport != "unix":
            continue
        for option in options.split(","):
            key, _, value = option.partition("=")
            if key in ("path", "abstract"):
                found.append(("\0" if key == "abstract" else "") + _unescaped(value))
    return found


def _unescaped(value: str) -> str:
    head, *rest = value.split("%")
    try:
        return head + "".join(chr(int(part[:2], 16)) + part[2:] for part in rest)
    except ValueError:
        return value


def is_running() -> bool:
    """Whether systemd is the machine's init: sd_booted(3)."""
    try:
        posix.stat("/run/systemd/system")
    except OSError:
        return False
    return True
