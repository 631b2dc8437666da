"""Whose the container's cgroup is: OCI runtime-spec, config-linux, "Cgroup ownership"."""

from kaa.cgroups.files import read

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kaa.cgroups.conversions import Json

_PLACE = "/sys/fs/cgroup"


def owner(config: "Json", pid: int) -> int | None:
    """The host's uid for the user of the container whose init is `pid`, if the cgroup is to
    be given to it: with a new cgroup namespace, and cgroups mounted writably."""
    linux = config.get("linux") or {}
    fresh = any(
        namespace["type"] == "cgroup" and not namespace.get("path")
        for namespace in linux.get("namespaces") or []
    )
    if not (fresh and _is_writable(config.get("mounts") or [])):
        return None
    uid = ((config.get("process") or {}).get("user") or {}).get("uid") or 0
    # of the namespace that the init is in, be it new or joined
    for line in read(f"/proc/{pid}/uid_map").splitlines():
        inside, outside, size = map(int, line.split())
        if inside <= uid < inside + size:
            return outside + uid - inside
    return None


def _is_writable(mounts: "list[Json]") -> bool:
    """What is mounted there last is a cgroup file system, and not read-only."""
    writable = False
    for mount in mounts:
        if mount["destination"].rstrip("/") == _PLACE:
            said = [o for o in mount.get("options") or [] if o in ("ro", "rw")]
            is_cgroup = mount.get("type") in ("cgroup", "cgroup2")
            writable = is_cgroup and said[-1:] != ["ro"]
    return writable
