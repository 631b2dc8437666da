"""`linux.intelRdt`: a share of the caches and of the memory bandwidth, through resctrl.

config-linux.md, "IntelRdt"; kernel: filesystems/resctrl. A group (class of
service, CLOS) is a directory of the resctrl file system, with a file
`schemata` for the shares and a file `tasks`; a monitoring group is a directory
in its `mon_groups`. What a task forks joins its groups. AMD and ARM have the same.
"""

import posix
from errno import EINVAL, ENOSPC

from kaa.container.proc import stat
from kaa.errors import ConfigError, KaaError, strerror

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kaa.compile.inputs import Json

_POINTER = "/linux/intelRdt"
_SHARES = ("l3CacheSchema", "memBwSchema", "schemata")


class Group:
    """The groups of one container.

    `path` is its class of service; `monitor` the monitoring group, or "".
    `made` are those of the two that are the container's own: made by us, and
    to be removed at its end.
    """

    def __init__(self, root: str, path: str, monitor: str, made: list[str]) -> None:
        self.root = root
        self.path = path
        self.monitor = monitor
        self.made = made

    @classmethod
    def of(cls, root: str, section: "Json", id: str) -> "Group":
        """Those that the section `linux.intelRdt` of the container `id` asks for; nothing is made.

        `root` is where resctrl is mounted. Raises ConfigError for a class that
        has to be there and is not, or is there with other shares.
        """
        name = section.get("closID") or id
        path = root if name == "/" else f"{root}/{name}"
        monitor = f"{path}/mon_groups/{id}" if section.get("enableMonitoring") else ""
        group = cls(root, path, monitor, [])
        if posix.access(path, posix.F_OK):
            group._compare(section)
        elif section.get("closID") and not any(section.get(key) for key in _SHARES):
            raise ConfigError(
                f"the class of service {name} does not exist, and there are no shares to make it",
                pointer=f"{_POINTER}/closID",
                path=path,
                hint="make the group, or give schemata, l3CacheSchema or memBwSchema",
            )
        else:
            group.made.append(path)
        if monitor:
            group.made.append(monitor)
        return group

    def record(self) -> "Json":
        """This object as JSON; to be written down before `create`."""
        return {"root": self.root, "path": self.path, "monitor": self.monitor, "made": self.made}

    def _compare(self, section: "Json") -> None:
        wanted = parse("\n".join(_lines(section)))
        if not wanted:
            return
        present = parse(_read(f"{self.path}/schemata"))
        for resource, shares in wanted.items():
            for domain, value in shares.items():
                found = present.get(resource, {}).get(domain)
                if found != value:
                    raise ConfigError(
                        f"the class of service {self.path} has {resource}:{domain}="
                        f"{'nothing' if found is None else found}, not {value}",
                        pointer=_POINTER,
                        path=f"{self.path}/schemata",
                        hint="shared groups have to agree: change the config or the group",
                    )

    def create(self, section: "Json") -> None:
        """Make the groups that are our own, and set the shares of a new class of service."""
        for path in self.made:
            try:
                posix.mkdir(path, 0o755)
            except FileExistsError:
                continue  # made meanwhile by a container that shares it
            except OSError as error:
                raise self._failure(error, f"make the resctrl group {path}") from None
            if path == self.path:
                self.set_shares(section)

    def set_shares(self, section: "Json") -> None:
        """Write the shares of the class of service; what is not named stays as it is."""
        lines = _lines(section)
        if lines:
            self._write(f"{self.path}/schemata", "".join(f"{line}\n" for line in lines))

    def attach(self, pid: int) -> None:
        """Put a process with one thread in; what it starts follows."""
        self._write(f"{self.path}/tasks", str(pid))
        if self.monitor:
            self._write(f"{self.monitor}/tasks", str(pid))

    def delete(self) -> None:
        """Remove our own groups. A class of service that others are in by now stays theirs."""
        for path in reversed(self.made):
            if path == self.path and self._is_used():
                continue  # the kernel would move them to the root's class
            try:
                posix.rmdir(path)
            except FileNotFoundError:
                continue
            except OSError as error:
                raise self._failure(error, f"remove the resctrl group {path}") from None

    def _is_used(self) -> bool:
        try:
            pids = _read(f"{self.path}/tasks").split()
        except KaaError:
            return False  # it is gone
        return any(found is not None and found.alive for found in map(stat, map(int, pids)))

    def _write(self, path: str, text: str) -> None:
        try:
            fd = posix.open(path, posix.O_WRONLY | posix.O_CLOEXEC | posix.O_NOFOLLOW)
            try:
                posix.write(fd, text.encode())
            finally:
                posix.close(fd)
        except OSError as error:
            raise self._failure(error, f"write {text.strip()!r} to {path}") from None

    def _failure(self, error: OSError, doing: str) -> KaaError:
        """With what the kernel has to say about it: info/last_cmd_status."""
        try:
            said = _read(f"{self.root}/info/last_cmd_status").strip()
        except KaaError:
            said = ""
        hints = {
            EINVAL: "is the resource there? see the info directory of resctrl",
            ENOSPC: "the processor has no class of service (CLOSID or RMID) left",
        }
        words = f" ({said})" if said and said != "ok" else ""
        return KaaError(
            f"{doing}: {strerror(error.errno or 0)}{words}",
            pointer=_POINTER,
            path=error.filename if isinstance(error.filename, str) else None,
            errno=error.errno,
            hint=hints.get(error.errno or 0),
        )


def load(record: "Json") -> Group:
    """The group that `Group.record` described."""
    return Group(record["root"], record["path"], record["monitor"], record["made"])


def find_root() -> str:
    """Where resctrl is mounted. Raises ConfigError: nobody has mounted it, or nobody can."""
    for line in _read("/proc/self/mountinfo").split("\n"):
        mount, _, filesystem = line.partition(" - ")
        if filesystem.startswith("resctrl "):
            return mount.split(" ")[4]
    kinds = _read("/proc/filesystems").split()
    raise ConfigError(
        "resctrl is not mounted, so caches and memory bandwidth cannot be shared out",
        pointer=_POINTER,
        hint="mount -t resctrl resctrl /sys/fs/resctrl"
        if "resctrl" in kinds
        else "this kernel or processor has no resctrl",
    )


def parse(schemata: str) -> dict[str, dict[str, str]]:
    """Resource to domain to share; the shares in one form, since bit masks have many."""
    found: dict[str, dict[str, str]] = {}
    for line in schemata.split("\n"):
        resource, colon, shares = line.strip().partition(":")
        if colon:
            resource = resource.strip()
            domains = found.setdefault(resource, {})
            for share in shares.split(";"):
                domain, equals, value = share.partition("=")
                if equals:
                    domains[domain.strip()] = _canonical(resource, value.strip())
    return found


def _canonical(resource: str, value: str) -> str:
    try:
        return str(int(value)) if resource == "MB" else f"{int(value, 16):x}"
    except ValueError:
        return value  # the kernel will say what it thinks of it


def _lines(section: "Json") -> list[str]:
    """What to write, in order: `schemata` last, so that it has the last word."""
    bandwidth = section.get("memBwSchema")
    caches = [line.strip() for line in (section.get("l3CacheSchema") or "").split("\n")]
    if bandwidth:
        caches = [line for line in caches if not line.startswith("MB:")]
    lines = [*caches, bandwidth or "", *(section.get("schemata") or ())]
    return [line for line in lines if line]


def _read(path: str) -> str:
    try:
        fd = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
    except OSError as error:
        raise KaaError(
            f"open {path}: {strerror(error.errno or 0)}",
            pointer=_POINTER,
            path=path,
            errno=error.errno,
        ) from None
    try:
        content = b""
        while more := posix.read(fd, 65536):
            content += more
        return content.decode(errors="replace")
    finally:
        posix.close(fd)
