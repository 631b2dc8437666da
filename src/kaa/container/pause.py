"""`pause` and `resume`: the freezer."""

from kaa.container import record as records
from kaa.container.state import cgroup_of, status
from kaa.errors import NotRunning

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kaa.container.runtime import Runtime


def pause(runtime: "Runtime", id: str) -> None:
    """Freeze every process of a running or created container."""
    with records.Lock(runtime.root, id):
        record = records.load(runtime.root, id)
        cgroup = cgroup_of(record)
        if status(runtime.root, record) not in ("running", "created") or cgroup is None:
            raise NotRunning
        cgroup.freeze()


def resume(runtime: "Runtime", id: str) -> None:
    """Let the processes of a paused container go on."""
    with records.Lock(runtime.root, id):
        record = records.load(runtime.root, id)
        cgroup = cgroup_of(record)
        if status(runtime.root, record) != "paused" or cgroup is None:
            raise NotRunning("container not paused")
        cgroup.thaw()
