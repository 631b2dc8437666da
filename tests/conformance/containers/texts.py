"""What a command says, and how it ends, for a container in each state."""

from typing import NamedTuple

ID = "{id}"


class Case(NamedTuple):
    """In `state`, this command line ends with the exit code and the words; "" is silence."""

    state: str
    line: str
    code: int
    words: str

    def __str__(self) -> str:
        return f"{self.state}: {self.line}"


MISSING = "container does not exist"
CANNOT = "cannot delete container"
CASES = [
    *(Case("missing", f"{name} {ID}", 1, MISSING) for name in ("state", "start", "pause", "ps")),
    *(Case("missing", f"{name} {ID}", 1, MISSING) for name in ("resume", "delete", "kill")),
    Case("missing", f"kill {ID} KILL", 1, MISSING),
    Case("missing", f"update --pids-limit 9 {ID}", 1, MISSING),
    Case("missing", f"events --stats {ID}", 1, MISSING),
    Case("missing", f"exec {ID} true", 255, f"exec failed: {MISSING}"),
    Case("missing", f"delete --force {ID}", 0, ""),
    Case("missing", "state a/b", 1, "invalid container ID format"),
    Case("missing", "create ..", 1, "invalid container ID format"),
    Case("created", f"resume {ID}", 1, "container not paused"),
    Case("created", f"create {ID}", 1, "container with given ID already exists"),
    Case("created", f"run {ID}", 1, "container with given ID already exists"),
    Case("created", f"state {ID}", 0, ""),
    Case("created", f"kill {ID} 0", 0, ""),
    Case("created", f"delete {ID}", 0, ""),
    Case("running", f"start {ID}", 1, "cannot start an already running container"),
    Case("running", f"resume {ID}", 1, "container not paused"),
    Case("running", f"delete {ID}", 1, f"{CANNOT} {ID} that is not stopped: running"),
    Case("running", f"kill {ID} FOO", 1, 'unknown signal "FOO"'),
    Case("running", f"create {ID}", 1, "container with given ID already exists"),
    Case("running", f"exec {ID} no-such-program", 255, "executable file not found in $PATH"),
    Case("running", f"exec {ID} /etc/passwd", 255, "permission denied"),
    Case("running", f"exec {ID} /no/such/program", 255, "no such file or directory"),
    Case("running", f"pause {ID}", 0, ""),
    Case("running", f"kill --all {ID} KILL", 0, ""),
    Case("running", f"delete --force {ID}", 0, ""),
    Case("paused", f"exec {ID} true", 255, "exec failed: cannot exec in a paused container (use --ignore-paused to override)"),  # noqa: E501
    Case("paused", f"start {ID}", 1, "cannot start a container in the paused state"),
    Case("paused", f"pause {ID}", 1, "container not running"),
    Case("paused", f"delete {ID}", 1, f"{CANNOT} {ID} that is not stopped: paused"),
    Case("paused", f"resume {ID}", 0, ""),
    Case("paused", f"delete --force {ID}", 0, ""),
    Case("stopped", f"kill {ID}", 1, "container not running"),
    Case("stopped", f"kill {ID} KILL", 1, "container not running"),
    Case("stopped", f"kill --all {ID} KILL", 0, ""),
    Case("stopped", f"pause {ID}", 1, "container not running"),
    Case("stopped", f"resume {ID}", 1, "container not paused"),
    Case("stopped", f"update --pids-limit 9 {ID}", 1, "container not running"),
    Case("stopped", f"start {ID}", 1, "cannot start a container that has stopped"),
    Case("stopped", f"exec {ID} true", 255, "exec failed: cannot exec in a stopped container"),
    Case("stopped", f"events --stats {ID}", 1, f"container with id {ID} is not running"),
    Case("stopped", f"state {ID}", 0, ""),
    Case("stopped", f"ps {ID}", 0, ""),
    Case("stopped", f"delete {ID}", 0, ""),
    Case("stopped", f"create {ID}", 1, "container with given ID already exists"),
]  # fmt: skip
