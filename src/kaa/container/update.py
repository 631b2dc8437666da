"""`update`: new limits for a container that runs."""

from kaa.container import record as records
from kaa.container.state import cgroup_of, is_alive
from kaa.errors import KaaError, NotRunning

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kaa.compile.inputs import Json
    from kaa.container.runtime import Runtime


def update(runtime: "Runtime", id: str, resources: "Json") -> None:
    """Apply `resources` (the form of linux.resources); what it does not name stays as it is.

    When a limit is refused the old ones are put back, and the error says which it was.
    """
    with records.Lock(runtime.root, id):
        record = records.load(runtime.root, id)
        cgroup = cgroup_of(record)
        if not is_alive(record) or cgroup is None:
            raise NotRunning
        config = records.load_config(runtime.root, id)
        linux = config.setdefault("linux", {})
        old = linux.get("resources") or {}
        try:
            cgroup.apply(resources, update=True)
        except KaaError:
            try:
                cgroup.apply(old, update=True)
            except KaaError as error:
                runtime.warn(f"put the old limits back: {error}")
            raise
        linux["resources"] = merged(old, resources)
        from kaa import codec

        path = f"{records.directory(runtime.root, id)}/config.json"
        records.write(path, codec.dumps(config))


def merged(old: "Json", new: "Json") -> "Json":
    """`old` with what `new` says, section by section; device rules are never updated."""
    result = dict(old)
    for key, value in new.items():
        if key == "devices":
            continue
        both = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = merged(result[key], value) if both else value
    return result
