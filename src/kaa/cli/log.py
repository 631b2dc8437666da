"""Where kaa's messages go: the file of `--log`, or standard error.

The lines have the shape of runc's, in text and in JSON, because that is what
container engines read: of a log they take the last message of level "error"
as the reason of a failure.
"""

import fcntl
import posix
from time import gmtime, strftime

from kaa import codec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

LEVELS = ("debug", "info", "warning", "error")
_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._/@^+")
_ESCAPES = {"\n": "\\n", "\r": "\\r", "\t": "\\t", "\\": "\\\\", '"': '\\"'}
_ABOVE_STDIO = 3


class Log:
    """A log of one kaa command. `stderr` is the descriptor of the caller's standard error."""

    __slots__ = ("_fd", "_least", "_stderr", "json")

    def __init__(self, stderr: int) -> None:
        self._stderr = stderr
        self._fd = stderr
        self._least = LEVELS.index("info")
        self.json = False

    def open(self, path: str) -> None:
        """Append to the file `path` from now on. Raises OSError."""
        fd = posix.open(
            path, posix.O_WRONLY | posix.O_CREAT | posix.O_APPEND | posix.O_CLOEXEC, 0o644
        )
        if fd < _ABOVE_STDIO:
            # 0, 1 and 2 go to the container's process: the log must not be one of them.
            low, fd = fd, fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _ABOVE_STDIO)
            posix.close(low)
        self._fd = fd

    def close(self) -> None:
        """Close the file of `open`; what comes later goes to standard error."""
        fd, self._fd = self._fd, self._stderr
        if fd != self._stderr:
            posix.close(fd)

    def set_level(self, level: str) -> None:
        """Leave out what is less severe than `level`, which is one of `LEVELS`."""
        self._least = LEVELS.index(level)

    def debug(self, message: str) -> None:
        """Say what is being done."""
        self._write("debug", message, {})

    def warn(self, message: str) -> None:
        """Say what was odd, but no reason to stop."""
        self._write("warning", message, {})

    def error(self, message: str, *, record: "Mapping[str, object] | None" = None) -> None:
        """Say why the command fails; `record` holds the parts for a machine.

        With a log file, a copy of the plain sentence goes to standard error.
        """
        self._write("error", message, record or {})
        if self._fd != self._stderr:
            _put(self._stderr, escape(message) + "\n")

    def _write(self, level: str, message: str, record: "Mapping[str, object]") -> None:
        if LEVELS.index(level) < self._least:
            return
        time = strftime("%Y-%m-%dT%H:%M:%SZ", gmtime())
        if self.json:
            fields = {"level": level, "msg": _clean(message), "time": time}
            fields.update((k, _clean(str(v))) for k, v in record.items() if k not in fields)
            _put(self._fd, codec.dumps(fields).decode() + "\n")
        else:
            bare = message and _PLAIN.issuperset(message)
            shown = message if bare else f'"{escape(message, True)}"'
            _put(self._fd, f'time="{time}" level={level} msg={shown}\n')


def escape(text: str, quoted: bool = False) -> str:
    """`text` on one line, without anything that a terminal would obey.

    `quoted` escapes backslashes and quotes as well.
    """
    if text.isprintable() and not (quoted and ('"' in text or "\\" in text)):
        return text
    return "".join([_escaped(c, quoted) for c in text])


def _escaped(character: str, quoted: bool) -> str:
    if character.isprintable() and not (quoted and character in '"\\'):
        return character
    known = _ESCAPES.get(character)
    if known:
        return known
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that was no UTF-8 (surrogateescape)
        return f"\\x{code - 0xDC00:02x}"
    if code < 0x80:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _clean(text: str) -> str:
    """`text` without lone surrogates, which JSON in UTF-8 cannot hold."""
    return text.encode("utf-8", "replace").decode()


def _put(fd: int, line: str) -> None:
    """Write, if it can be done: a full disk or a closed stderr is no reason to fail."""
    data = line.encode("utf-8", "backslashreplace")
    try:
        while data:
            data = data[posix.write(fd, data) :]
    except OSError:
        return
