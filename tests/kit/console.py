"""The other end of --console-socket: receives the terminal's master."""

import array
import os
import socket
from pathlib import Path


class ConsoleSocket:
    """A UNIX socket at `path` that takes one descriptor."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(20)
        self._socket.bind(str(path))
        self._socket.listen(1)

    def receive(self) -> tuple[int, bytes]:
        """The descriptor (to be closed by the caller) and the bytes that came with it."""
        connection, _ = self._socket.accept()
        with connection:
            connection.settimeout(20)
            descriptors = array.array("i")
            data, ancillary, _, _ = connection.recvmsg(4096, socket.CMSG_SPACE(8 * 4))
            for level, kind, content in ancillary:
                if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                    descriptors.frombytes(content)
        for extra in descriptors[1:]:
            os.close(extra)
        assert len(descriptors) == 1, f"{len(descriptors)} descriptors were sent"
        return descriptors[0], data

    def close(self) -> None:
        self._socket.close()
        self.path.unlink(missing_ok=True)
