"""Who is asking: the one object through which hot modules see the process they run in.

A resident kaa serves other processes' calls with the same code, so nothing
below the entry point may look at its own cwd, environment, umask or credentials.
"""

import posix


class Caller:
    """A snapshot of the calling process.

    `cwd` is absolute; `environ` maps str to str (surrogateescape); `umask` is
    informative only (kaa gives every file it makes an explicit mode);
    `stdio` are the descriptors that become 0, 1 and 2 of the container's process.
    """

    __slots__ = ("cwd", "egid", "environ", "euid", "pid", "stdio")

    def __init__(
        self,
        *,
        cwd: str,
        environ: dict[str, str],
        euid: int,
        egid: int,
        pid: int,
        stdio: tuple[int, int, int] = (0, 1, 2),
    ) -> None:
        self.cwd = cwd
        self.environ = environ
        self.euid = euid
        self.egid = egid
        self.pid = pid
        self.stdio = stdio

    @classmethod
    def of_this_process(cls) -> "Caller":
        """The process that is running now."""
        decode = _decode
        try:
            cwd = posix.getcwd()
        except FileNotFoundError:
            cwd = "/"
        return cls(
            cwd=cwd,
            environ={decode(k): decode(v) for k, v in posix.environ.items()},
            euid=posix.geteuid(),
            egid=posix.getegid(),
            pid=posix.getpid(),
        )

    def path(self, path: str) -> str:
        """`path` made absolute against the caller's working directory; links are not followed."""
        return normpath(path if path.startswith("/") else f"{self.cwd}/{path}")


def _decode(value: bytes | str) -> str:
    return value if isinstance(value, str) else value.decode("utf-8", "surrogateescape")


def normpath(path: str) -> str:
    """An absolute path without ``.``, ``..`` and doubled slashes (lexically)."""
    parts: list[str] = []
    for part in path.split("/"):
        if part == "..":
            if parts:
                parts.pop()
        elif part and part != ".":
            parts.append(part)
    return "/" + "/".join(parts)
