"""`ps`: which processes are in a container."""

from kaa.container import record as records
from kaa.container.state import cgroup_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kaa.container.runtime import Runtime


def pids(runtime: "Runtime", id: str) -> list[int]:
    """The host's pids of every process in the container's cgroup and those below it, sorted."""
    cgroup = cgroup_of(records.load(runtime.root, id))
    return sorted(cgroup.pids()) if cgroup is not None else []
