"""NOTIFY_SOCKET: what the process says by sd_notify(3) is passed on to our own supervisor.

The container sees a directory of ours with a socket in it, not the
supervisor's socket: only what a service may say about itself is passed on,
never which process is the main one or what descriptors to keep.
"""

import posix
from _socket import AF_UNIX, MSG_NOSIGNAL, SCM_RIGHTS, SOCK_CLOEXEC, SOCK_DGRAM, SOL_SOCKET, socket
from _struct import pack
from errno import ETIMEDOUT
from select import POLLIN, poll

from kaa.container import record as records
from kaa.errors import KaaError, strerror

TYPE_CHECKING = False
if TYPE_CHECKING:
    from threading import Thread

    from kaa.compile.inputs import Inputs
    from kaa.container.runtime import Runtime

_DIRECTORY = "/run/notify"
_NAME = "notify.sock"
_DATAGRAM_MAX = 1 << 16
_PATIENCE_S = 30.0  # with a supervisor that does not read
_PASSED_ON = (
    b"READY=1",
    b"RELOADING=1",
    b"STOPPING=1",
    b"WATCHDOG=1",
    b"STATUS=",
    b"ERRNO=",
    b"MONOTONIC_USEC=",
    b"EXTEND_TIMEOUT_USEC=",
)


def prepare(inputs: "Inputs", path: str) -> None:
    """Make the directory in the container's, at `path`, and have it mounted, with the variable."""
    posix.mkdir(f"{path}/notify", 0o755)
    posix.chmod(f"{path}/notify", 0o755)  # whatever the umask is
    mounts = list(inputs.config.get("mounts") or [])
    inputs.source_kinds[len(mounts)] = "dir"
    mounts.append(
        {
            "destination": _DIRECTORY,
            "type": "none",
            "source": f"{path}/notify",
            "options": ["bind", "ro", "nosuid", "nodev", "noexec"],
        }
    )
    inputs.config["mounts"] = mounts
    inputs.notify_socket = f"{_DIRECTORY}/{_NAME}"


def remove(path: str) -> None:
    """Remove what `prepare` made, and the socket."""
    records.remove_directory(f"{path}/notify")


class NotifySocket:
    """Our end of the container's socket, and the way to the supervisor's.

    Bound before the process starts, so that nothing is lost. Raises KaaError.
    """

    def __init__(self, runtime: "Runtime", path: str) -> None:
        self._host = runtime.caller.environ["NOTIFY_SOCKET"]
        self._warn = runtime.warn
        self._socket = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC)
        folder = -1
        try:
            folder = posix.open(
                f"{path}/notify", posix.O_PATH | posix.O_DIRECTORY | posix.O_CLOEXEC
            )
            name = f"/proc/self/fd/{folder}/{_NAME}"  # an address holds 107 bytes
            try:
                posix.unlink(name)
            except FileNotFoundError:
                pass
            self._socket.bind(name)
            posix.chmod(name, 0o777)  # any user of the container may have something to say
        except OSError as error:
            self._socket.close()
            raise KaaError(
                f"bind the notify socket in {path}/notify: {strerror(error.errno or 0)}",
                call="bind",
                errno=error.errno,
            ) from None
        finally:
            if folder >= 0:
                posix.close(folder)
        self._stop = -1
        self._thread: Thread | None = None

    def await_ready(self, pid: int, pidfd: int) -> None:
        """Pass everything on until the process is ready, or has ended.

        With READY=1 goes its pid, since it is to be the supervisor's main
        process, and then a barrier (sd_notify_barrier(3)): we may be gone at
        once, and the supervisor wants to know who has spoken. A supervisor
        that cannot be reached is worth a warning: the container runs.
        """
        try:
            self._await_ready(pid, pidfd)
        except KaaError as error:
            self._warn(str(error))

    def _await_ready(self, pid: int, pidfd: int) -> None:
        waiting = poll()
        waiting.register(self._socket, POLLIN)
        waiting.register(pidfd, POLLIN)
        while True:
            ready = [fd for fd, _ in waiting.poll()]
            if self._socket.fileno() not in ready:
                return
            lines = self._receive()
            if b"READY=1" in lines:
                self._send([*lines, b"MAINPID=%d" % pid])
                self._barrier()
                return
            self._send(lines)

    def serve(self) -> None:
        """Pass everything on in a thread, until `close`."""
        from threading import Thread

        end, self._stop = posix.pipe()
        self._thread = Thread(target=self._serve, args=(end,), daemon=True)
        self._thread.start()

    def _serve(self, end: int) -> None:
        waiting = poll()
        waiting.register(self._socket, POLLIN)
        waiting.register(end, POLLIN)
        try:
            while True:
                ready = [fd for fd, _ in waiting.poll()]
                if self._socket.fileno() in ready:
                    try:
                        self._send(self._receive())
                    except KaaError:
                        continue  # the supervisor may come back, and the process goes on
                elif ready:
                    return
        finally:
            posix.close(end)
            self._socket.close()

    def _receive(self) -> list[bytes]:
        """The lines of a datagram that may be passed on; descriptors with it are dropped, which
        is also how a barrier is answered."""
        lines = self._socket.recv(_DATAGRAM_MAX).split(b"\n")
        return [line for line in lines if line.startswith(_PASSED_ON)]

    def _send(self, lines: list[bytes]) -> None:
        if lines:
            self._to_host([b"\n".join(lines)], [])

    def _barrier(self) -> None:
        read, write = posix.pipe()
        try:
            try:
                rights = (SOL_SOCKET, SCM_RIGHTS, pack("=i", write))
                self._to_host([b"BARRIER=1"], [rights])
            finally:
                posix.close(write)
            # whoever does not know barriers drops the descriptor, so this ends in any case
            waiting = poll()
            waiting.register(read, 0)
            waiting.poll(_PATIENCE_S * 1000)
        finally:
            posix.close(read)

    def _to_host(self, message: list[bytes], ancillary: "list[tuple[int, int, bytes]]") -> None:
        host = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC)
        host.settimeout(_PATIENCE_S)
        try:
            address = self._host
            host.connect(f"\0{address[1:]}" if address.startswith("@") else address)
            host.sendmsg(message, ancillary, MSG_NOSIGNAL)
        except OSError as error:
            raise KaaError(
                f"notify {self._host}: {strerror(error.errno or ETIMEDOUT)}",
                path=self._host,
                errno=error.errno or ETIMEDOUT,
                hint="NOTIFY_SOCKET is set: unset it if nobody listens there",
            ) from None
        finally:
            host.close()

    def close(self) -> None:
        """Stop listening; what was sent already is still passed on."""
        if self._thread is None:
            self._socket.close()
        elif self._stop >= 0:
            posix.close(self._stop)
            self._stop = -1
            self._thread.join()
