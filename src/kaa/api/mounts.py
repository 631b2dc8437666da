"""Mounts of a container, typed."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from kaa.errors import ConfigError

_UNITS = {"": 0, "k": 10, "m": 20, "g": 30, "t": 40}


@dataclass(frozen=True)
class Mount:
    """One entry of `mounts`: config.md, "Mounts". `bind` and `tmpfs` make the usual ones.

    `more` holds what the entry has beyond these (uidMappings, ...).
    """

    destination: str
    type: str = ""
    source: str = ""
    options: tuple[str, ...] = ()
    more: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "options", tuple(self.options))

    @classmethod
    def bind(
        cls,
        source: str | os.PathLike[str],
        destination: str,
        *,
        read_only: bool = True,
        options: tuple[str, ...] = (),
    ) -> "Mount":
        """A file or directory of the host, with what is mounted below it.

        No device and no set-id bit in it works unless `options` say so.
        """
        access = ("rro",) if read_only else ("rw",)
        path = os.path.abspath(source)
        return cls(destination, "bind", path, ("rbind", "nosuid", "nodev", *access, *options))

    @classmethod
    def tmpfs(
        cls,
        destination: str,
        *,
        size: int | str = "",
        mode: int = 0o755,
        options: tuple[str, ...] = (),
    ) -> "Mount":
        """An empty directory in memory, of at most `size` bytes."""
        limits = (f"size={parse_size(size)}",) if size else ()
        return cls(
            destination,
            "tmpfs",
            "tmpfs",
            ("nosuid", "nodev", f"mode={mode:o}", *limits, *options),
        )

    def to_json(self) -> dict[str, Any]:
        """The entry of config.json."""
        found: dict[str, Any] = {"destination": self.destination}
        if self.type:
            found["type"] = self.type
        if self.source:
            found["source"] = self.source
        if self.options:
            found["options"] = list(self.options)
        return {**found, **self.more}

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> "Mount":
        """The reverse of `to_json`."""
        known = ("destination", "type", "source", "options")
        return cls(
            entry.get("destination") or "",
            entry.get("type") or "",
            entry.get("source") or "",
            tuple(entry.get("options") or ()),
            {key: value for key, value in entry.items() if key not in known},
        )


def parse_size(value: int | str) -> int:
    """Bytes: a number, or a text like "64M", "1.5G", "512KiB" (powers of 1024).

    Raises ConfigError.
    """
    if isinstance(value, int):
        return value
    text = value.strip().lower().removesuffix("b").removesuffix("i")
    number, unit = (text[:-1], text[-1:]) if text[-1:] in _UNITS else (text, "")
    try:
        return int(float(number) * (1 << _UNITS[unit]))
    except (ValueError, OverflowError):
        raise ConfigError(f'"{value}" is no size: write 67108864, "64M" or "1G"') from None
