"""Which cgroup hierarchies this machine has, and where a container's cgroups lie in them."""

from kaa.caller import normpath
from kaa.cgroups.files import read
from kaa.errors import CgroupError, strerror

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from kaa.cgroups.base import Cgroup

HOME = "/sys/fs/cgroup"
POINTER = "/linux/cgroupsPath"
_LONGEST = 3840  # PATH_MAX, less the mountpoint before and the name of a file after it


class Hierarchy:
    """A mounted hierarchy, and (`dir`) the container's cgroup in it.

    `controllers` are the names of /proc/self/cgroup ("cpu", "name=systemd");
    cgroup v2 has none. `root` is the cgroup that the mount shows as its top;
    `own` is the path of kaa's own cgroup below the mountpoint.
    """

    __slots__ = ("controllers", "dir", "mountpoint", "noprefix", "own", "root")

    def __init__(
        self,
        controllers: tuple[str, ...],
        mountpoint: str,
        *,
        root: str = "/",
        own: str = "/",
        noprefix: bool = False,
        dir: str = "",
    ) -> None:
        self.controllers = controllers
        self.mountpoint = mountpoint
        self.root = root
        self.own = own
        self.noprefix = noprefix
        self.dir = dir

    @property
    def options(self) -> str:
        """The options to mount it again; "" for v2."""
        return ",".join(self.controllers)

    @property
    def name(self) -> str:
        """Where it lies below /sys/fs/cgroup, or would if it were mounted there."""
        if _at_home(self):
            return self.mountpoint.removeprefix(HOME).strip("/")
        return self.options.removeprefix("name=")

    def at(self, path: str) -> "Hierarchy":
        """The same hierarchy, for the container whose cgroup is `path` (absolute, clean)."""
        return Hierarchy(
            self.controllers,
            self.mountpoint,
            root=self.root,
            own=self.own,
            noprefix=self.noprefix,
            dir=f"{self.mountpoint}{path}",
        )


class Layout:
    """`version` is "v1", "hybrid" (v1 and an empty v2 beside it) or "v2".

    `hierarchies` are those of v1, or the only one of v2; `unified` is the v2 hierarchy if any.
    """

    __slots__ = ("hierarchies", "unified", "version")

    def __init__(
        self, version: str, hierarchies: list[Hierarchy], unified: Hierarchy | None = None
    ) -> None:
        self.version = version
        self.hierarchies = hierarchies
        self.unified = unified


def detect() -> Layout:
    """What is mounted, from /proc/self/mountinfo and /proc/self/cgroup (proc(5), cgroups(7)).

    Raises CgroupError if no cgroup file system is mounted at all.
    """
    try:
        return parse(read("/proc/self/mountinfo"), read("/proc/self/cgroup"))
    except OSError as error:
        raise CgroupError(
            f"find the cgroups: {strerror(error.errno or 0)}",
            path=error.filename,
            errno=error.errno,
            hint="is /proc mounted?",
        ) from None


def parse(mountinfo: str, own: str) -> Layout:
    """`detect` on the two files' content."""
    paths = _own_paths(own)
    v1: dict[tuple[str, ...], Hierarchy] = {}
    unified: Hierarchy | None = None
    for line in mountinfo.split("\n"):
        mount, separator, super_block = line.partition(" - cgroup")
        if not separator:
            continue
        # "36 31 0:33 ROOT MOUNTPOINT OPTIONS ... - cgroup SOURCE SUPER_OPTIONS"
        root, mountpoint = [_unescape(field) for field in mount.split(" ")[3:5]]
        kind, _, rest = super_block.partition(" ")
        options = rest.rpartition(" ")[2].split(",")
        controllers = tuple([o for o in options if kind == "" and o in paths])
        found = Hierarchy(
            controllers,
            mountpoint,
            root=root,
            own=_within(root, paths.get(controllers[0] if controllers else "", "/")),
            noprefix="noprefix" in options,
        )
        # a hierarchy may be mounted many times; the place where everyone looks wins
        if kind == "2":
            if unified is None or (_at_home(found) and not _at_home(unified)):
                unified = found
        elif controllers and (
            controllers not in v1 or (_at_home(found) and not _at_home(v1[controllers]))
        ):
            v1[controllers] = found
    if unified and (unified.mountpoint == HOME or not v1):
        return Layout("v2", [unified], unified)
    if not v1:
        raise CgroupError("no cgroup file system is mounted", hint=f"mount cgroup2 on {HOME}")
    return Layout("hybrid" if unified else "v1", list(v1.values()), unified)


def _own_paths(text: str) -> dict[str, str]:
    """Controller (or "name=...", or "" for v2) -> path, from /proc/self/cgroup."""
    paths = {}
    for line in text.split("\n"):
        number, _, rest = line.partition(":")
        controllers, separator, path = rest.partition(":")
        if separator:
            for controller in controllers.split(",") if number != "0" else [""]:
                paths[controller] = path
    return paths


def _within(root: str, own: str) -> str:
    """Our own cgroup's path as seen below a mount that shows `root` as its top; "/" if it
    lies elsewhere (so does a path with ``..``, which leads out of our cgroup namespace)."""
    if "/.." in own:
        return "/"
    if root == "/":
        return own
    return own[len(root) :] or "/" if f"{own}/".startswith(f"{root}/") else "/"


def _at_home(hierarchy: Hierarchy) -> bool:
    return f"{hierarchy.mountpoint}/".startswith(f"{HOME}/")


def _unescape(field: str) -> str:
    """mountinfo writes blanks, tabs, newlines and backslashes as three octal digits."""
    if "\\" not in field:
        return field
    head, *rest = field.split("\\")
    return head + "".join(chr(int(part[:3], 8)) + part[3:] for part in rest)


def open_cgroup(layout: Layout, cgroups_path: str, id: str, *, rootless: bool) -> "Cgroup":
    """Decide where the container's cgroups will be; nothing is made yet.

    An absolute `cgroups_path` starts at the top of each mounted hierarchy. A relative
    one ("" is the container's id) stays within the limits that the caller lives
    under, as with runc: it starts at kaa's own cgroup (v1), or beside it (v2, where
    a cgroup with processes cannot have limited children). ``..`` never leads out.
    `rootless` means that missing permission is no error while no limit is asked for.
    """
    wanted = _clean(cgroups_path or id)

    def place(hierarchy: Hierarchy) -> Hierarchy:
        if cgroups_path.startswith("/"):
            return hierarchy.at(wanted)
        start = hierarchy.own if hierarchy.controllers else hierarchy.own.rpartition("/")[0]
        return hierarchy.at(start.rstrip("/") + wanted)

    hierarchies = [place(h) for h in layout.hierarchies]
    if layout.version == "v2":
        from kaa.cgroups import v2

        return v2.Cgroup(hierarchies, rootless=rootless)
    from kaa.cgroups import v1

    if layout.unified:
        hierarchies.append(place(layout.unified))
    return v1.Cgroup(hierarchies, rootless=rootless)


def _clean(path: str) -> str:
    clean = normpath(f"/{path}")
    try:
        raw = clean.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raw = b"\0"
    if b"\0" in raw or b"\n" in raw:
        raise CgroupError(f"{path!r} cannot be the path of a cgroup", pointer=POINTER)
    if len(raw) > _LONGEST:
        raise CgroupError(
            f"the path of a cgroup cannot have {len(raw)} bytes",
            pointer=POINTER,
            hint=f"{_LONGEST} are the most",
        )
    if clean == "/":
        raise CgroupError(f"{path!r} is the root cgroup, not a container's", pointer=POINTER)
    return clean


def load(record: "dict[str, Any]") -> "Cgroup":
    """The cgroup that `Cgroup.record` described."""
    hierarchies = [
        Hierarchy(
            tuple(entry["controllers"]),
            entry["mountpoint"],
            root=entry["root"],
            noprefix=entry["noprefix"],
            dir=entry["dir"],
        )
        for entry in record["hierarchies"]
    ]
    if "systemd" in record:
        from kaa.cgroups import systemd

        return systemd.load(record, hierarchies)
    if record["version"] == 2:
        from kaa.cgroups import v2

        kind: "type[Cgroup]" = v2.Cgroup
    else:
        from kaa.cgroups import v1

        kind = v1.Cgroup
    return kind(
        hierarchies, rootless=record["rootless"], made=record["made"], denied=record["denied"]
    )
