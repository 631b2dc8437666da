"""Everything that compilation may depend on.

What has to be asked of the host (is this bind source a directory? where are
the cgroups?) is asked before and handed in here, so that compiling is a pure
function and a test can say what the host looks like.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Json = dict[str, Any]

NAMESPACES: dict[str, int] = {
    "user": 0x10000000,
    "mount": 0x00020000,
    "cgroup": 0x02000000,
    "uts": 0x04000000,
    "ipc": 0x08000000,
    "network": 0x40000000,
    "pid": 0x20000000,
    "time": 0x00000080,
}


class CgroupView:
    """Where the container's cgroups are, for a mount of type ``cgroup``.

    `version` is 1 or 2. `hierarchies` lists, per mounted hierarchy, its name
    below /sys/fs/cgroup on the host ("cpu,cpuacct", "systemd"; "" for v2),
    the absolute host directory of the container's cgroup in it, the
    hierarchy's mount options ("cpu,cpuacct", "name=systemd"; "" for v2), and
    the host mountpoint.
    """

    __slots__ = ("hierarchies", "links", "version")

    def __init__(
        self,
        version: int,
        hierarchies: list[tuple[str, str, str, str]],
        links: dict[str, str] | None = None,
    ) -> None:
        self.version = version
        self.hierarchies = hierarchies
        self.links = links or {}  # "cpu" -> "cpu,cpuacct"


class Inputs:
    """One container, ready to be compiled.

    `bundle` and `rootfs` are absolute host paths. `namespaces` maps the type
    (the names of config.json) to the path to join, or "" for a new one; types
    that are inherited are absent. `staged` says that the stage puts the
    sources of bind mounts (and the rootfs) on a staging tmpfs, because a user
    namespace follows and root is there to do it. `source_kinds` maps the index
    of a bind mount to "dir", "file" or "" (missing). `user_namespaces` maps the
    index of an id-mapped mount to the host path of a user namespace with its
    mapping. `privileged` says that kaa has the power of the machine's root,
    and not only that of a user or of a user namespace's root. `notify_socket`
    is the container's path of the socket for sd_notify(3), or "".
    """

    __slots__ = (
        "bundle",
        "cgroup",
        "config",
        "has_kcore",
        "id",
        "last_cap",
        "limits",
        "listen_fds",
        "namespaces",
        "no_new_keyring",
        "no_pivot",
        "notify_socket",
        "preserve_fds",
        "privileged",
        "rootfs",
        "source_kinds",
        "staged",
        "staging",
        "terminal",
        "user_namespaces",
    )

    def __init__(
        self,
        config: "Json",
        *,
        id: str = "",
        bundle: str = "/",
        rootfs: str = "/",
        namespaces: dict[str, str] | None = None,
        staged: bool = False,
        staging: str = "",
        source_kinds: dict[int, str] | None = None,
        cgroup: CgroupView | None = None,
        privileged: bool = True,
        no_pivot: bool = False,
        no_new_keyring: bool = False,
        preserve_fds: int = 0,
        terminal: bool = False,
        has_kcore: bool = True,
        notify_socket: str = "",
        last_cap: int = 40,
        limits: dict[str, tuple[int, int]] | None = None,
        listen_fds: int = 0,
        user_namespaces: dict[int, str] | None = None,
    ) -> None:
        self.config = config
        self.id = id
        self.bundle = bundle
        self.rootfs = rootfs
        self.namespaces = namespaces or {}
        self.staged = staged
        self.staging = staging
        self.source_kinds = source_kinds or {}
        self.cgroup = cgroup
        self.privileged = privileged
        self.no_pivot = no_pivot
        self.no_new_keyring = no_new_keyring
        self.preserve_fds = preserve_fds
        self.terminal = terminal
        self.has_kcore = has_kcore
        self.notify_socket = notify_socket
        self.last_cap = last_cap
        self.limits = limits or {}
        self.listen_fds = listen_fds
        self.user_namespaces = user_namespaces or {}

    @property
    def linux(self) -> "Json":
        """The `linux` section, empty if there is none."""
        return self.config.get("linux") or {}

    @property
    def in_user_namespace(self) -> bool:
        """The container's processes run in a user namespace of its own, new or joined."""
        return "user" in self.namespaces
