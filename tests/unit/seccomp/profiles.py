"""Profiles for tests, and ways to write them."""

import json
from pathlib import Path
from typing import Any

from kaa.compile import seccomp

DATA = Path(__file__).resolve().parents[2] / "data" / "seccomp"

# A few calls by number, from the kernel's tables (asm/unistd.h).
NUMBERS: dict[str, dict[str, int]] = {
    "x86_64": {
        "read": 0,
        "write": 1,
        "close": 3,
        "lseek": 8,
        "mmap": 9,
        "socket": 41,
        "clone": 56,
        "getcwd": 79,
        "mkdir": 83,
        "ptrace": 101,
        "personality": 135,
        "prctl": 157,
        "mount": 165,
        "splice": 275,
        "close_range": 436,
    },
    "aarch64": {
        "read": 63,
        "write": 64,
        "close": 57,
        "lseek": 62,
        "mmap": 222,
        "socket": 198,
        "clone": 220,
        "getcwd": 17,
        "ptrace": 117,
        "personality": 92,
        "prctl": 167,
        "mount": 40,
        "splice": 76,
        "close_range": 436,
    },
}


def load(name: str) -> dict[str, Any]:
    """One of the profiles in tests/data/seccomp."""
    loaded: dict[str, Any] = json.loads((DATA / f"{name}.json").read_text())
    return loaded


def arg(index: int, op: str, value: int, value_two: int = 0) -> dict[str, Any]:
    """A comparison; `op` without its prefix."""
    return {"index": index, "value": value, "valueTwo": value_two, "op": f"SCMP_CMP_{op}"}


def rule(action: str, *names: str, args: list[Any] | None = None, **more: Any) -> dict[str, Any]:
    """A rule; `action` without its prefix."""
    entry: dict[str, Any] = {"names": list(names), "action": f"SCMP_ACT_{action}", **more}
    if args is not None:
        entry["args"] = args
    return entry


def section(default: str, *rules: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A `linux.seccomp` object; `default` without its prefix."""
    return {"defaultAction": f"SCMP_ACT_{default}", "syscalls": list(rules), **more}


def compiled(profile: dict[str, Any], machine: str = "x86_64") -> seccomp.Filter:
    """Its filter, made without a cache."""
    return seccomp.filter_for(profile, cache_dir="", uid=0, machine=machine)
