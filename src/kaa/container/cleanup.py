"""What is done when a container comes to its end, however it got there."""

from kaa.container import record as records
from kaa.container.state import document
from kaa.errors import KaaError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kaa.cgroups.base import Cgroup
    from kaa.compile.inputs import Json
    from kaa.container.runtime import Runtime


def clean_up(runtime: "Runtime", record: "Json", cgroup: "Cgroup | None", path: str) -> None:
    """Kill what is in the cgroup, remove it and the state directory; says what it cannot."""
    if cgroup is not None:
        try:
            cgroup.kill_all()
            cgroup.delete()
        except (KaaError, OSError) as error:
            runtime.warn(f"remove the cgroup of {record['id']}: {error}")
    if record.get("notify"):
        from kaa.container import notify_socket

        notify_socket.remove(path)
    if record.get("intel_rdt"):
        from kaa.container import intel_rdt

        try:
            intel_rdt.load(record["intel_rdt"]).delete()
        except (KaaError, OSError) as error:
            runtime.warn(str(error))
    records.remove_directory(path)


def run_poststop(runtime: "Runtime", config: "Json", record: "Json") -> None:
    """The poststop hooks: one that fails is worth a warning and stops nothing (runtime.md)."""
    listed = (config.get("hooks") or {}).get("poststop")
    if not listed:
        return
    from kaa.container import hooks

    state = document(record, "stopped", 0)
    for hook in listed:
        try:
            hooks.run(runtime, {"hooks": {"poststop": [hook]}}, ("poststop",), state)
        except (KaaError, OSError) as error:
            runtime.warn(str(error))
