"""The names of units, and the cgroups that systemd makes for them: systemd.unit(5).

Everything here is pure.
"""

from kaa.cgroups.layout import POINTER
from kaa.errors import CgroupError

_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:-_.\\@")
_LONGEST = 255
_FORM = 'the form with systemd is "slice:prefix:name"'
PREFIX = "kaa"


class Scope:
    """A scope: `unit` is its name, `slice` that of the slice it is in."""

    __slots__ = ("slice", "unit")

    def __init__(self, slice: str, unit: str) -> None:
        self.slice = slice
        self.unit = unit

    def path(self, root: str) -> str:
        """Its cgroup, when the systemd that manages it has the cgroup `root`."""
        return f"{root.rstrip('/')}{slice_path(self.slice)}/{self.unit}"


def scope(cgroups_path: str, id: str, *, user: bool) -> Scope:
    """The scope for a `cgroupsPath` of the form slice:prefix:name; "" means a default one.

    An empty slice is system.slice, or user.slice for a user's systemd; "-" or
    "-.slice" is the root slice. An empty prefix is left out. Raises CgroupError.
    """
    default = "user.slice" if user else "system.slice"
    slice, prefix, name = (default, PREFIX, id) if not cgroups_path else _split(cgroups_path)
    if slice in ("", "-", "-.slice"):
        slice = "-.slice" if slice else default
    if name.endswith(".slice"):
        raise CgroupError(
            f"{name} is a slice, which holds units and no processes",
            pointer=POINTER,
            hint="a container gets a scope of its own",
        )
    _check_slice(slice)
    unit = f"{prefix}-{name}.scope" if prefix else f"{name}.scope"
    _check(unit, "a unit")
    return Scope(slice, unit)


def _split(cgroups_path: str) -> tuple[str, str, str]:
    parts = cgroups_path.split(":")
    if len(parts) != 3 or not parts[2]:
        raise CgroupError(f"{cgroups_path!r} does not name a scope", pointer=POINTER, hint=_FORM)
    return parts[0], parts[1], parts[2]


def _check(name: str, what: str) -> None:
    if not _CHARACTERS.issuperset(name) or len(name) > _LONGEST or name.startswith("."):
        raise CgroupError(
            f"{name!r} cannot be the name of {what}",
            pointer=POINTER,
            hint=f"letters, digits and : - _ . \\ @, at most {_LONGEST} characters",
        )


def _check_slice(name: str) -> None:
    stem = name.removesuffix(".slice")
    if name == "-.slice":
        return
    if stem == name or not stem or "@" in stem or not all(stem.split("-")):
        raise CgroupError(
            f"{name!r} cannot be the name of a slice",
            pointer=POINTER,
            hint='like "machine.slice" or "a-b.slice", which lies in "a.slice"',
        )
    _check(name, "a slice")


def slice_path(name: str) -> str:
    """The cgroup of a slice below its manager's: "a-b.slice" is /a.slice/a-b.slice."""
    if name == "-.slice":
        return ""
    parts = name.removesuffix(".slice").split("-")
    return "".join(f"/{'-'.join(parts[: i + 1])}.slice" for i in range(len(parts)))
