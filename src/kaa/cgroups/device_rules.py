"""linux.resources.devices as the state of the kernel's v1 device list.

The v1 controller keeps a default (allow or deny) and exceptions to it; a rule
changes that state (kernel: admin-guide/cgroup-v1/devices.rst, security/device_cgroup.c).
Both versions enforce the state that the rules leave behind: v1 is told it
directly, v2 compiles it (`device_filter`).
"""

from kaa.errors import CgroupError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kaa.cgroups.conversions import Json

    Key = tuple[str, int, int]  # type "b" or "c", major, minor; ANY matches every number

ANY = -1
MKNOD, READ, WRITE = 1, 2, 4
_LETTERS = {"r": READ, "w": WRITE, "m": MKNOD}
_EVERYTHING = READ | WRITE | MKNOD
_MAX_NUMBER = 0xFFFFFFFF

# Appended to the rules of config.json, as every runtime does: device nodes may be
# made (using them is another matter), and these may be used.
_DEFAULTS: tuple[tuple[str, int, int, int], ...] = (
    ("c", ANY, ANY, MKNOD),
    ("b", ANY, ANY, MKNOD),
    ("c", 1, 3, _EVERYTHING),  # null
    ("c", 1, 5, _EVERYTHING),  # zero
    ("c", 1, 7, _EVERYTHING),  # full
    ("c", 1, 8, _EVERYTHING),  # random
    ("c", 1, 9, _EVERYTHING),  # urandom
    ("c", 5, 0, _EVERYTHING),  # tty
    ("c", 5, 2, _EVERYTHING),  # ptmx
    ("c", 136, ANY, _EVERYTHING),  # pts/*
    ("c", 10, 200, _EVERYTHING),  # net/tun
)


class DeviceList:
    """What may be done with which device.

    `allow` is the default; `exceptions` maps devices to the accesses (bits)
    for which the opposite holds; `pointers` says which rule an exception is from
    ("" for the built-in ones).
    """

    __slots__ = ("allow", "exceptions", "pointers")

    def __init__(self) -> None:
        self.allow = False
        self.exceptions: dict[Key, int] = {}
        self.pointers: dict[Key, str] = {}

    def everything(self, allow: bool) -> None:
        """A rule for all devices and all accesses: the state begins anew."""
        self.allow = allow
        self.exceptions.clear()
        self.pointers.clear()

    def change(self, allow: bool, key: "Key", access: int, pointer: str) -> None:
        """One rule. Raises a CgroupError if the list cannot express it."""
        if allow != self.allow:
            self.exceptions[key] = self.exceptions.get(key, 0) | access
            self.pointers.setdefault(key, pointer)
            return
        for other, bits in self.exceptions.items():
            if other != key and bits & access and _covers(other, key):
                if not pointer:
                    return  # a built-in rule gives way to those of config.json
                raise CgroupError(
                    f"a device list cannot {'allow' if allow else 'deny'} only a part of what the"
                    f" wider rule at {self.pointers[other] or 'the built-in defaults'} covers",
                    pointer=pointer,
                    hint="name the devices of the wider rule one by one",
                )
        left = self.exceptions.get(key, 0) & ~access
        if left:
            self.exceptions[key] = left
        else:
            self.exceptions.pop(key, None)
            self.pointers.pop(key, None)


def _covers(wide: "Key", narrow: "Key") -> bool:
    return wide[0] == narrow[0] and all(
        w in (ANY, n) for w, n in zip(wide[1:], narrow[1:], strict=True)
    )


def device_list(resources: "Json") -> DeviceList:
    """The state after the rules of config.json, in order, and the built-in ones.

    It begins with "deny everything". An absent type means both, an absent number
    or -1 means any, an absent access means every.
    """
    state = DeviceList()
    for i, rule in enumerate(resources.get("devices") or []):
        _apply(state, rule, f"/linux/resources/devices/{i}")
    for kind, major, minor, access in _DEFAULTS:
        state.change(True, (kind, major, minor), access, "")
    return state


def _apply(state: DeviceList, rule: "Json", pointer: str) -> None:
    allow = rule["allow"]
    kind = rule.get("type") or "a"
    major = _number(rule.get("major"), f"{pointer}/major")
    minor = _number(rule.get("minor"), f"{pointer}/minor")
    access = _access(rule.get("access"), f"{pointer}/access")
    if kind not in ("a", "b", "c"):
        raise CgroupError(
            f"{kind!r} is not a type of device", pointer=f"{pointer}/type", hint="a, b or c"
        )
    if kind == "a" and major == minor == ANY and access == _EVERYTHING:
        state.everything(allow)
        return
    for one in ("b", "c") if kind == "a" else (kind,):
        state.change(allow, (one, major, minor), access, pointer)


def _number(value: int | None, pointer: str) -> int:
    if value is None or value == ANY:
        return ANY
    if not 0 <= value <= _MAX_NUMBER:
        raise CgroupError(f"{value} is not a device number", pointer=pointer)
    return value


def _access(letters: str | None, pointer: str) -> int:
    if letters is None:
        return _EVERYTHING
    access = 0
    for letter in letters:
        access |= _LETTERS.get(letter, 0)
    if not access or any(letter not in _LETTERS for letter in letters):
        raise CgroupError(
            f"{letters!r} is not a way to access a device",
            pointer=pointer,
            hint="one or more of r, w and m",
        )
    return access


def v1_lines(state: DeviceList) -> list[tuple[str, str, str]]:
    """(file, line, pointer) to bring an empty v1 devices cgroup into the state, in order."""
    yes, no = "devices.allow", "devices.deny"
    default, exception = (yes, no) if state.allow else (no, yes)
    lines = [(default, "a", "/linux/resources/devices")]
    for key, access in state.exceptions.items():
        kind, major, minor = key
        numbers = ":".join("*" if n == ANY else str(n) for n in (major, minor))
        letters = "".join(letter for letter, bit in _LETTERS.items() if access & bit)
        lines.append((exception, f"{kind} {numbers} {letters}", state.pointers[key]))
    return lines
