"""The processes that came from the tests: below pytest or its reaper (see hostns)."""

import os
import signal
from pathlib import Path


def ours() -> list[int]:
    """The children of pytest, and the orphans that went to its reaper."""
    own = os.getpid()
    return [pid for pid in (*children(os.getppid()), *children(own)) if pid != own]


def children(pid: int) -> list[int]:
    """The direct children of a process."""
    found: list[int] = []
    try:
        for task in Path(f"/proc/{pid}/task").iterdir():
            found += map(int, (task / "children").read_text().split())
    except (FileNotFoundError, ProcessLookupError):
        pass  # it, or one of its threads, has just ended
    return found


def describe(pid: int) -> str:
    """Pid, state and command line, or nothing when it has gone."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return f"{pid} ({state(pid)}) {words}"


def state(pid: int) -> str:
    """Its state's letter (proc_pid_stat(5)), or nothing when it has gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return ""


def gone(pid: int) -> bool:
    """Whether it has ended, collected or not."""
    return state(pid) in ("", "Z", "X")


def end(pids: list[int]) -> None:
    """Kill these and their descendants."""
    for pid in pids:
        below = children(pid)
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        end(below)
