"""What a container is doing, and the documents that say it: `state` and `list`."""

import posix
from time import monotonic, sleep

from kaa import cgroups
from kaa.container import record as records
from kaa.container.proc import is_same
from kaa.errors import ContainerNotFound, KaaError
from kaa.program.wire import EXECUTING, PROGRESS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kaa.cgroups.base import Cgroup
    from kaa.compile.inputs import Json
    from kaa.container.runtime import Runtime

OCI_VERSION = "1.3.0"


def phase(path: str) -> int:
    """How far the container's init has come: the phases of docs/protocol.md."""
    try:
        page = records.read_file(f"{path}/progress")
    except FileNotFoundError:
        return 0
    return int(PROGRESS.unpack(page[: PROGRESS.size])[0]) if len(page) >= PROGRESS.size else 0


def is_alive(record: "Json") -> bool:
    """Whether the container's init lives."""
    return is_same(record.get("pid") or 0, record.get("start_time") or 0)


def cgroup_of(record: "Json") -> "Cgroup | None":
    """The container's cgroup, if it has one."""
    found = record.get("cgroup")
    return cgroups.load(found) if found else None


def status(root: str, record: "Json") -> str:
    """creating, created, running, paused or stopped."""
    if not is_alive(record):
        return "stopped"
    if record["status"] == "creating":
        return "creating"
    cgroup = cgroup_of(record)
    if cgroup is not None and cgroup.frozen():
        return "paused"
    return "running" if phase(f"{root}/{record['id']}") == EXECUTING else "created"


def document(record: "Json", now: str, pid: int | None = None) -> "Json":
    """The OCI state (runtime.md, State) with the status `now`; what hooks read."""
    found: Json = {"ociVersion": OCI_VERSION, "id": record["id"], "status": now}
    pid = (record.get("pid") or 0) if pid is None else pid
    if pid:
        found["pid"] = pid
    found["bundle"] = record["bundle"]
    if record.get("annotations"):
        found["annotations"] = record["annotations"]
    return found


def state(runtime: "Runtime", id: str) -> "Json":
    """The document that `kaa state` prints, the fields in runc's order."""
    record = records.load(runtime.root, id)
    return _describe(runtime.root, record)


def _describe(root: str, record: "Json") -> "Json":
    now = status(root, record)
    found: Json = {
        "ociVersion": OCI_VERSION,
        "id": record["id"],
        "pid": 0 if now == "stopped" else record["pid"],
        "status": now,
        "bundle": record["bundle"],
        "rootfs": record["rootfs"],
        "created": record["created"],
    }
    if record.get("annotations"):
        found["annotations"] = record["annotations"]
    found["owner"] = ""
    return found


def list_all(runtime: "Runtime") -> "list[Json]":
    """Every container below the root; broken ones are skipped with a warning."""
    found = []
    try:
        ids = records.ids(runtime.root)
    except FileNotFoundError:
        return []
    for id in ids:
        try:
            entry = state(runtime, id)
            entry["owner"] = _owner(posix.stat(f"{runtime.root}/{id}").st_uid)
        except (ContainerNotFound, FileNotFoundError):
            continue  # it was deleted, or is not there yet
        except (KaaError, ValueError, KeyError, TypeError) as error:
            runtime.warn(f"load container {id}: {error}")
            continue
        found.append(entry)
    return found


def _owner(uid: int) -> str:
    """The user's name, or ``#uid``."""
    if uid == 0:
        return "root"
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"#{uid}"


def limit_processes(cgroup: "Cgroup | None", config: "Json") -> None:
    """The limit on processes, once the hooks that run in the container's cgroup are over."""
    pids = ((config.get("linux") or {}).get("resources") or {}).get("pids")
    if cgroup is not None and pids:
        cgroup.apply({"pids": pids})


def wait_dead(record: "Json", timeout_s: float) -> bool:
    """Wait for the end of the container's init; False when the time is over."""
    end = monotonic() + timeout_s
    pause = 0.0005
    while is_alive(record):
        if monotonic() > end:
            return False
        sleep(pause)
        pause = min(pause * 2, 0.05)
    return True
