"""Namespaces in a configuration, and whether this machine has them: namespaces(7)."""

import errno
import os
from collections.abc import Iterator
from typing import Any

from kaa.api.launching import caller
from kaa.compile.inputs import NAMESPACES
from kaa.compile.namespaces import clone_flags
from kaa.errors import ConfigError, SyscallError
from kaa.program.init import Init
from kaa.program.program import Program

FILES = {
    "user": "user",
    "mount": "mnt",
    "cgroup": "cgroup",
    "uts": "uts",
    "ipc": "ipc",
    "network": "net",
    "pid": "pid",
    "time": "time",
}
"""The kinds of config.json, and the names of their files in /proc/PID/ns."""


class Namespaces:
    """`linux.namespaces` of a configuration: a view, so that changes are the configuration's.

    A kind that is not in it is inherited; one with a path is joined; one
    without is new. Iterating gives the kinds.
    """

    def __init__(self, entries: list[dict[str, Any]] | None = None) -> None:
        self._entries: list[dict[str, Any]] = [] if entries is None else entries

    def add(self, kind: str, path: str = "") -> None:
        """A new namespace of the kind, or the one at `path`; replaces what was said before.

        Raises ConfigError for a kind that config.json does not know.
        """
        _check(kind)
        entry = {"type": kind, "path": path} if path else {"type": kind}
        for index, old in enumerate(self._entries):
            if old.get("type") == kind:
                self._entries[index] = entry
                return
        self._entries.append(entry)

    def remove(self, kind: str) -> bool:
        """Inherit this kind; False if it was inherited already."""
        _check(kind)
        before = len(self._entries)
        self._entries[:] = [entry for entry in self._entries if entry.get("type") != kind]
        return len(self._entries) < before

    def contains(self, kind: str) -> bool:
        """Whether the container has a namespace of this kind, new or joined."""
        _check(kind)
        return kind in self

    def path_of(self, kind: str) -> str:
        """The path of the namespace that is joined, "" if it is new. KeyError if inherited."""
        _check(kind)
        for entry in self._entries:
            if entry.get("type") == kind:
                return entry.get("path") or ""
        raise KeyError(kind)

    def clone_flags(self) -> int:
        """The CLONE_NEW* bits, clone(2), of the namespaces that are new."""
        return clone_flags({kind: self.path_of(kind) for kind in self})

    def __contains__(self, kind: object) -> bool:
        return any(entry.get("type") == kind for entry in self._entries)

    def __iter__(self) -> Iterator[str]:
        return iter([entry["type"] for entry in self._entries])

    def __len__(self) -> int:
        return len(self._entries)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Namespaces):
            return NotImplemented
        return {k: self.path_of(k) for k in self} == {k: other.path_of(k) for k in other}

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        parts = [f"{k}={self.path_of(k)}" if self.path_of(k) else k for k in self]
        return f"<Namespaces {' '.join(parts)}>"


def is_supported(kind: str) -> bool:
    """Whether this machine lets us make namespaces of the kind.

    The kernel's file in /proc/self/ns says whether it knows the kind at all. A
    limit of zero in /proc/sys/user, or a security module that forbids it, shows
    only when it is tried, and so a process tries: alone for who is root, below
    a new user namespace for everybody else. Raises ConfigError for a kind that
    config.json does not know.
    """
    _check(kind)
    if not os.path.lexists(f"/proc/self/ns/{FILES[kind]}"):
        return False
    flags = NAMESPACES[kind]
    if os.geteuid() != 0:
        flags |= NAMESPACES["user"]
    init = Init.spawn(caller())
    try:
        program = Program(init.slots)
        program.at("/linux/namespaces", f"try to make a {kind} namespace")
        program.unshare(flags)
        init.run(program)
    except SyscallError as error:
        if error.errno in (errno.EINVAL, errno.EPERM, errno.ENOSPC, errno.EUSERS, errno.ENOSYS):
            return False
        raise
    finally:
        init.end()
    return True


def _check(kind: str) -> None:
    if kind not in NAMESPACES:
        raise ConfigError(f'there is no namespace "{kind}": only {", ".join(NAMESPACES)}')
