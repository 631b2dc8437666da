"""`delete`: remove what is left of a container."""

from kaa.container import record as records
from kaa.container.cleanup import clean_up, run_poststop
from kaa.container.kill import kill_everything
from kaa.container.proc import reap
from kaa.container.state import cgroup_of, status, wait_dead
from kaa.errors import ContainerNotFound, KaaError, NotRunning

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kaa.compile.inputs import Json
    from kaa.container.runtime import Runtime

_DEATH_TIMEOUT_S = 10.0


def delete(runtime: "Runtime", id: str, force: bool = False) -> None:
    """Remove a container that is stopped or created; with `force`, kill it first.

    A missing container is an error (ContainerNotFound) unless `force`.
    """
    with records.Lock(runtime.root, id) as lock:
        try:
            record = records.load(runtime.root, id)
        except (ContainerNotFound, records.BrokenRecord) as error:
            if isinstance(error, ContainerNotFound) or force:
                # a directory without a (legible) record names nothing else to be removed
                records.remove_directory(records.directory(runtime.root, id))
                lock.forget()
            if force:
                return
            raise
        now = status(runtime.root, record)
        if now not in ("stopped", "created", "creating") and not force:
            raise NotRunning(f"cannot delete container {id} that is not stopped: {now}")
        destroy(runtime, record)
        lock.forget()


def destroy(runtime: "Runtime", record: "Json") -> None:
    """Kill and remove the container of this record, and run its poststop hooks."""
    kill_everything(record)
    if not wait_dead(record, _DEATH_TIMEOUT_S):
        raise KaaError("container init still running")
    reap(record["pid"], record["start_time"])
    try:
        config = records.load_config(runtime.root, record["id"])
    except (ContainerNotFound, KaaError, ValueError):
        config = {}
    clean_up(runtime, record, cgroup_of(record), records.directory(runtime.root, record["id"]))
    run_poststop(runtime, config, record)
