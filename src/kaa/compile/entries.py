"""`mounts[]`, each entry checked and taken apart."""

from kaa.caller import normpath
from kaa.compile.mount_options import MountOptions
from kaa.errors import ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from kaa.compile.inputs import Inputs, Json

# /proc itself, and the files over which lxcfs and the like put their own.
_PROC_PLACES = {"/proc"} | {
    f"/proc/{name}"
    for name in (
        "cpuinfo",
        "diskstats",
        "loadavg",
        "meminfo",
        "slabinfo",
        "stat",
        "swaps",
        "sys/crypto/fips_enabled",
        "sys/kernel/ns_last_pid",
        "uptime",
    )
}


class Entry:
    """One mount: where, what, how. `destination` is absolute and clean.

    `source` is a host path (absolute) for binds and the name given for
    others. `below_root` is, for the source of a bind that lies in the rootfs,
    its path there: such a source is looked up in the container's root, which
    shows what earlier entries have mounted.
    """

    __slots__ = ("below_root", "destination", "index", "kind", "options", "pointer", "source")

    def __init__(self, inputs: "Inputs", index: int, mount: "Json") -> None:
        self.index = index
        self.pointer = f"/mounts/{index}"
        for key in ("destination", "type", "source"):
            if "\0" in (mount.get(key) or ""):
                self.refuse(f"{key} contains a null byte", key)
        self.options = MountOptions(mount.get("options") or [])
        self.destination = normpath(mount["destination"])
        self.kind: str = mount.get("type") or ""
        self.source: str = mount.get("source") or ""
        self.below_root = ""
        if mount.get("uidMappings") or mount.get("gidMappings"):
            self.options.idmap = self.options.idmap or "idmap"
        self._check(mount)
        if self.options.bind and not self.options.remount:
            self._find_source(inputs)

    @property
    def at_proc(self) -> bool:
        """The destination is /proc or below it, by its name."""
        return self.destination == "/proc" or self.destination.startswith("/proc/")

    def refuse(self, why: str, key: str = "", hint: str | None = None) -> "NoReturn":
        """Raise a ConfigError about this entry."""
        raise ConfigError(why, pointer=f"{self.pointer}/{key}" if key else self.pointer, hint=hint)

    def _check(self, mount: "Json") -> None:
        options = self.options
        if any("\0" in option for option in options.data):
            self.refuse("an option contains a null byte", "options")
        if self.at_proc and self.destination not in _PROC_PLACES:
            self.refuse(f"{self.destination} cannot be mounted: it is inside /proc", "destination")
        if options.bind:
            if options.data:
                self.refuse(
                    f"a bind mount takes no options of a file system: {', '.join(options.data)}",
                    "options",
                )
        elif options.idmap:
            self.refuse("only bind mounts can be id-mapped", "options", "add bind or rbind")
        elif self.kind == "bind":
            self.refuse("a bind mount needs the option bind or rbind", "options")
        elif not self.kind and not options.remount:
            self.refuse("a mount that is not a bind needs a type", "type")
        elif self.destination == "/proc" and self.kind != "proc" and not options.remount:
            self.refuse(f"/proc cannot be a {self.kind}: it must be of type proc", "type")
        if options.copy_up and self.kind != "tmpfs":
            self.refuse("tmpcopyup is for mounts of type tmpfs", "options")
        if bool(mount.get("uidMappings")) != bool(mount.get("gidMappings")):
            missing = "gidMappings" if mount.get("uidMappings") else "uidMappings"
            self.refuse("id mappings come in pairs", missing)

    def _find_source(self, inputs: "Inputs") -> None:
        if not self.source:
            self.refuse("a bind mount needs a source", "source")
        if not self.source.startswith("/"):
            self.source = f"{inputs.bundle}/{self.source}"
        clean = normpath(self.source)
        if inputs.rootfs != "/" and f"{clean}/".startswith(f"{inputs.rootfs}/"):
            self.below_root = clean[len(inputs.rootfs) :] or "/"


def entries(inputs: "Inputs") -> list[Entry]:
    """All of `mounts`, in order."""
    return [Entry(inputs, i, mount) for i, mount in enumerate(inputs.config.get("mounts") or [])]
