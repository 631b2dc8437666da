"""Parts of linux.seccomp, and the agent at the other end of its listenerPath."""

import array
import json
import os
import socket
import threading
from pathlib import Path
from typing import Any

Json = dict[str, Any]
ALLOW: Json = {"defaultAction": "SCMP_ACT_ALLOW"}


def refuse(*names: str, action: str = "SCMP_ACT_ERRNO", **more: Any) -> Json:
    return {"names": list(names), "action": action, **more}


class Agent:
    """Listens at listenerPath and keeps the one message that it is sent."""

    def __init__(self, path: Path) -> None:
        self.document: Json = {}
        self.descriptors: list[int] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(20)
        self._socket.bind(str(path))
        self._socket.listen(1)
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        connection, _ = self._socket.accept()
        with connection:
            found = array.array("i")
            data, ancillary, _, _ = connection.recvmsg(1 << 16, socket.CMSG_SPACE(8 * 4))
            for _, _, content in ancillary:
                found.frombytes(content)
            self.descriptors = list(found)
            self.document = json.loads(data)

    def close(self) -> None:
        self._thread.join(20)
        self._socket.close()
        for descriptor in self.descriptors:
            os.close(descriptor)
