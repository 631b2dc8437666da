"""Writing uid_map and gid_map of a process that has made a user namespace.

user_namespaces(7): a privileged parent writes any map; an ordinary one needs
newuidmap(1) and newgidmap(1), or may map exactly its own id.
"""

import posix

from kaa.errors import ConfigError, KaaError, strerror

_OVERFLOW_UID = 65534

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kaa.caller import Caller
    from kaa.compile.inputs import Json


def write_maps(caller: "Caller", pid: int, linux: "Json", pointer: str = "/linux") -> None:
    """Write both maps of the process `pid` from `uidMappings` and `gidMappings` of the object
    (`linux`, or a mount) that `pointer` names. Raises ConfigError."""
    uids, gids = linux.get("uidMappings") or [], linux.get("gidMappings") or []
    if caller.euid == 0:
        _write(pid, "uid_map", _text(uids), f"{pointer}/uidMappings")
        _write(pid, "gid_map", _text(gids), f"{pointer}/gidMappings")
        return
    if _is_own(uids, caller.euid):
        _write(pid, "uid_map", _text(uids), f"{pointer}/uidMappings")
    else:
        _run_helper(caller, "newuidmap", pid, uids, f"{pointer}/uidMappings")
    if _is_own(gids, caller.egid):
        # without privileges only once setgroups is given up: CVE-2014-8989
        _write(pid, "setgroups", "deny", f"{pointer}/gidMappings")
        _write(pid, "gid_map", _text(gids), f"{pointer}/gidMappings")
    else:
        _run_helper(caller, "newgidmap", pid, gids, f"{pointer}/gidMappings")


def seen_as(pid: int, uid: int) -> int:
    """How our `uid` looks to the process: through its uid_map, or the overflow id if unmapped."""
    fd = posix.open(f"/proc/{pid}/uid_map", posix.O_RDONLY | posix.O_CLOEXEC)
    try:
        lines = posix.read(fd, 65536).decode().splitlines()
    finally:
        posix.close(fd)
    for line in lines:
        inside, outside, size = map(int, line.split())
        if outside <= uid < outside + size:
            return inside + uid - outside
    return _OVERFLOW_UID


def _text(maps: "list[Json]") -> str:
    return "".join(f"{m['containerID']} {m['hostID']} {m['size']}\n" for m in maps)


def _is_own(maps: "list[Json]", id: int) -> bool:
    return len(maps) == 1 and maps[0]["size"] == 1 and maps[0]["hostID"] == id


def _write(pid: int, name: str, text: str, pointer: str) -> None:
    path = f"/proc/{pid}/{name}"
    raw = text.encode()
    try:
        fd = posix.open(path, posix.O_WRONLY | posix.O_CLOEXEC)
        try:
            # the kernel takes a map in one write or not at all
            posix.write(fd, raw)
        finally:
            posix.close(fd)
    except OSError as error:
        raise ConfigError(
            f"write {path}: {strerror(error.errno or 0)}",
            pointer=pointer,
            call="write",
            path=path,
            errno=error.errno,
            hint="the ranges must not overlap and must exist in our own user namespace",
        ) from None


def _run_helper(caller: "Caller", name: str, pid: int, maps: "list[Json]", pointer: str) -> None:
    program = _which(caller, name)
    if program is None:
        raise ConfigError(
            f"{name} is needed for this mapping and is not in PATH",
            pointer=pointer,
            hint="install it (Debian: apt install uidmap), or map only your own id, with size 1",
        )
    arguments = [name, str(pid)]
    for m in maps:
        arguments += [str(m["containerID"]), str(m["hostID"]), str(m["size"])]
    read, write = posix.pipe()
    try:
        child = posix.posix_spawn(
            program,
            arguments,
            caller.environ,
            file_actions=[(posix.POSIX_SPAWN_DUP2, write, 2)],
        )
    finally:
        posix.close(write)
    said = b""
    while chunk := posix.read(read, 4096):
        said = (said + chunk)[-1024:]
    posix.close(read)
    _, status = posix.waitpid(child, 0)
    if status:
        raise ConfigError(
            f"{name} refused the mapping: {said.decode('utf-8', 'replace').strip()}",
            pointer=pointer,
            hint="the ranges must be yours in /etc/subuid and /etc/subgid",
        )


def _which(caller: "Caller", name: str) -> str | None:
    for folder in caller.environ.get("PATH", "/usr/bin:/bin").split(":"):
        path = f"{folder}/{name}"
        if folder.startswith("/") and posix.access(path, posix.X_OK):
            return path
    return None


def has_mapped_mounts(config: "Json") -> bool:
    """Some mount is to be id-mapped."""
    return any(
        mount.get("uidMappings") or not {"idmap", "ridmap"}.isdisjoint(mount.get("options") or ())
        for mount in config.get("mounts") or []
    )


def check_mapped(config: "Json") -> None:
    """The process's ids must exist in the user namespace; said before anything is made."""
    linux = config.get("linux") or {}
    user = (config.get("process") or {}).get("user") or {}
    _check_mapped(linux.get("uidMappings"), "uid", user.get("uid") or 0, "uid")
    _check_mapped(linux.get("gidMappings"), "gid", user.get("gid") or 0, "gid")
    for index, gid in enumerate(user.get("additionalGids") or ()):
        _check_mapped(linux.get("gidMappings"), "gid", gid, f"additionalGids/{index}")


def _check_mapped(maps: "list[Json] | None", kind: str, id: int, where: str) -> None:
    if maps and not any(m["containerID"] <= id < m["containerID"] + m["size"] for m in maps):
        raise KaaError(
            f"cannot set{kind} to unmapped {kind} {id} in user namespace",
            pointer=f"/process/user/{where}",
        )
