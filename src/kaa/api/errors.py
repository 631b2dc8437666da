"""The exceptions that only the library raises; all others are in `kaa.errors`."""

from kaa.errors import KaaError


class ContainerFailed(KaaError):
    """With `check`: the process ended with `returncode` (negative: by that signal).

    `stdout` and `stderr` are what was captured of its output, else None.
    """

    def __init__(
        self,
        args: list[str],
        returncode: int,
        stdout: bytes | str | None,
        stderr: bytes | str | None,
        oom_killed: bool,
    ) -> None:
        how = f"exit status {returncode}" if returncode >= 0 else f"signal {-returncode}"
        out_of_memory = "; its memory limit was reached" if oom_killed else ""
        super().__init__(f"{args} ended with {how}{out_of_memory}")
        self.cmd = args
        self.returncode = returncode
        self.stdout = stdout
        self.stderr = stderr
        self.oom_killed = oom_killed


class TimeoutExpired(KaaError):
    """The process was not done in time; `stdout` and `stderr` are its output until then."""

    def __init__(
        self,
        args: list[str],
        timeout: float,
        stdout: bytes | str | None = None,
        stderr: bytes | str | None = None,
    ) -> None:
        super().__init__(f"{args} was not done after {timeout} seconds")
        self.cmd = args
        self.timeout = timeout
        self.stdout = stdout
        self.stderr = stderr


class OutputLimitExceeded(KaaError):
    """The process wrote more than `limit` bytes and was killed; `stdout` and `stderr` hold them."""

    def __init__(
        self,
        args: list[str],
        limit: int,
        stdout: bytes | str | None = None,
        stderr: bytes | str | None = None,
    ) -> None:
        super().__init__(f"{args} wrote more than {limit} bytes")
        self.cmd = args
        self.limit = limit
        self.stdout = stdout
        self.stderr = stderr
