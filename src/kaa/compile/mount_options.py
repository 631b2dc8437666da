"""The strings of `mounts[].options`: runtime-spec config.md, "Linux mount options".

Every option that the specification names is in one of the tables here; what
is in none of them is data for the file system.
"""

from kaa.compile.mount_api import (
    ATIME,
    NOATIME,
    NODEV,
    NODIRATIME,
    NOEXEC,
    NOSUID,
    NOSYMFOLLOW,
    PRIVATE,
    RDONLY,
    SHARED,
    SLAVE,
    STRICTATIME,
    UNBINDABLE,
)

MS_RDONLY = 1
MS_NOATIME = 1 << 10
MS_SILENT = 1 << 15
MS_RELATIME = 1 << 21
MS_I_VERSION = 1 << 23
MS_STRICTATIME = 1 << 24

# What has no place in fsconfig(2) and needs mount(2).
ONLY_MOUNT2 = MS_SILENT | MS_I_VERSION

# attribute of mount_setattr(2), flag of mount(2), the names that set and clear them
_SWITCHES: tuple[tuple[int, int, str, str], ...] = (
    (RDONLY, MS_RDONLY, "ro", "rw"),
    (NOSUID, 1 << 1, "nosuid", "suid"),
    (NODEV, 1 << 2, "nodev", "dev"),
    (NOEXEC, 1 << 3, "noexec", "exec"),
    (NOSYMFOLLOW, 1 << 8, "nosymfollow", "symfollow"),
    (NODIRATIME, 1 << 11, "nodiratime", "diratime"),
    (0, 1 << 4, "sync", "async"),
    (0, 1 << 6, "mand", "nomand"),
    (0, 1 << 7, "dirsync", ""),
    (0, 1 << 25, "lazytime", "nolazytime"),
    (0, MS_I_VERSION, "iversion", "noiversion"),
    (0, MS_SILENT, "silent", "loud"),
)

# How access times are kept is one choice among three, so an option that undoes
# one of them goes back to the kernel's default; where there is nothing to undo,
# `norelatime` changes nothing, because a mount that is not relatime should stay so.
_RELATIME = 0
_ATIME = {"noatime": NOATIME, "strictatime": STRICTATIME, "relatime": _RELATIME}
_NOT_ATIME = {"atime": NOATIME, "nostrictatime": STRICTATIME}
_ATIME_MOUNT2 = {NOATIME: MS_NOATIME, STRICTATIME: MS_STRICTATIME, _RELATIME: MS_RELATIME}

_PROPAGATION = {
    prefix + name: (flag, prefix == "r")
    for name, flag in (
        ("private", PRIVATE),
        ("slave", SLAVE),
        ("shared", SHARED),
        ("unbindable", UNBINDABLE),
    )
    for prefix in ("", "r")
}
PROPAGATION: dict[str, tuple[int, bool]] = _PROPAGATION

_FLAGS: dict[str, tuple[int, int, bool]] = {}
_RECURSIVE: dict[str, tuple[int, int]] = {}
_SUPERBLOCK: dict[int, tuple[str, str]] = {}
for _attribute, _flag, _on, _off in _SWITCHES:
    _FLAGS[_on] = (_attribute, _flag, True)
    if _off:
        _FLAGS[_off] = (_attribute, _flag, False)
    if _attribute:
        _RECURSIVE["r" + _on] = (_attribute, 0)
        _RECURSIVE["r" + _off] = (0, _attribute)
    if (not _attribute or _attribute == RDONLY) and not _flag & ONLY_MOUNT2:
        _SUPERBLOCK[_flag] = (_on, _off)

_INERT = ("defaults", "norelatime", "rnorelatime")
_OTHER = ("bind", "rbind", "remount", "idmap", "ridmap", "tmpcopyup")


def known_options() -> list[str]:
    """Every option that kaa itself understands, sorted: `mountOptions` of the features document."""
    atime = (*_ATIME, *_NOT_ATIME)
    return sorted(
        {*_FLAGS, *_RECURSIVE, *_PROPAGATION, *_INERT, *_OTHER, *atime, *("r" + a for a in atime)}
    )


class MountOptions:
    """One entry's options, taken apart.

    `set` and `clear` are attributes of the mount, `recursive_set` and
    `recursive_clear` of the mount and all below it. `flags` and `cleared`
    are the same choices as flags of mount(2), with those of the file
    system among them. `propagation` is in the order given. `data` are the
    strings that the file system has to understand. `idmap` is "", "idmap" or
    "ridmap".
    """

    __slots__ = (
        "bind",
        "clear",
        "cleared",
        "copy_up",
        "data",
        "flags",
        "idmap",
        "propagation",
        "recursive",
        "recursive_clear",
        "recursive_set",
        "remount",
        "set",
    )

    def __init__(self, options: "list[str]") -> None:
        self.bind = self.recursive = self.remount = self.copy_up = False
        self.set = self.clear = self.flags = self.cleared = 0
        self.recursive_set = self.recursive_clear = 0
        self.propagation: list[tuple[int, bool]] = []
        self.data: list[str] = []
        self.idmap = ""
        atime: int | None = None
        recursive_atime: int | None = None
        for option in options:
            if option in _FLAGS:
                self._switch(*_FLAGS[option])
            elif option in _PROPAGATION:
                self.propagation.append(_PROPAGATION[option])
            elif option in _ATIME or option in _NOT_ATIME:
                atime = _choose(option, atime)
            elif option in _RECURSIVE:
                on, off = _RECURSIVE[option]
                self.recursive_set = self.recursive_set & ~off | on
                self.recursive_clear = self.recursive_clear & ~on | off
            elif option[:1] == "r" and (option[1:] in _ATIME or option[1:] in _NOT_ATIME):
                recursive_atime = _choose(option[1:], recursive_atime)
            elif option in _OTHER:
                self._act(option)
            elif option and option not in _INERT:
                self.data.append(option)
        if atime is not None:
            self.set |= atime
            self.clear |= ATIME
            self.flags |= _ATIME_MOUNT2[atime]
        if recursive_atime is not None:
            self.recursive_set |= recursive_atime
            self.recursive_clear |= ATIME

    def _switch(self, attribute: int, flag: int, on: bool) -> None:
        if on:
            self.set |= attribute
            self.clear &= ~attribute
            self.flags |= flag
            self.cleared &= ~flag
        else:
            self.set &= ~attribute
            self.clear |= attribute
            self.flags &= ~flag
            self.cleared |= flag

    def _act(self, option: str) -> None:
        if option in ("bind", "rbind"):
            self.bind = True
            self.recursive = self.recursive or option == "rbind"
        elif option == "remount":
            self.remount = True
        elif option == "tmpcopyup":
            self.copy_up = True
        else:
            self.idmap = option

    def superblock(self) -> "list[tuple[str, str | None]]":
        """The choices that are the file system's, as settings for fsconfig(2)."""
        found: list[tuple[str, str | None]] = []
        for flag, (on, off) in _SUPERBLOCK.items():
            if self.flags & flag:
                found.append((on, None))
            elif self.cleared & flag and off:
                found.append((off, None))
        return found


def _choose(option: str, chosen: "int | None") -> "int | None":
    if option in _ATIME:
        return _ATIME[option]
    return _RELATIME if chosen is None or chosen == _NOT_ATIME[option] else chosen


def names(attributes: int) -> str:
    """The attributes as their options, for people: "ro,nosuid"."""
    found = [on for attribute, _, on, _ in _SWITCHES if attribute and attributes & attribute]
    atime = attributes & ATIME
    found += [name for name, value in _ATIME.items() if value and value == atime]
    return ",".join(found)
