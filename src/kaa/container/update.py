"""`update`: new limits for a container that runs."""

from kaa import codec
from kaa.container import record as records
from kaa.container.state import cgroup_of, is_alive
from kaa.errors import ConfigError, NotRunning

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kaa.compile.inputs import Json
    from kaa.container.runtime import Runtime


def update(
    runtime: "Runtime", id: str, resources: "Json", *, intel_rdt: "Json | None" = None
) -> None:
    """Apply `resources` (the form of linux.resources); what it does not name stays as it is.

    `intel_rdt` holds new values of `l3CacheSchema` and `memBwSchema`. When a
    limit is refused the old ones stay, and the error says which it was.
    """
    with records.Lock(runtime.root, id):
        record = records.load(runtime.root, id)
        cgroup = cgroup_of(record)
        if not is_alive(record) or cgroup is None:
            raise NotRunning
        config = records.load_config(runtime.root, id)
        linux = config.setdefault("linux", {})
        if intel_rdt:
            _set_shares(record, intel_rdt)
            linux["intelRdt"] = {**linux["intelRdt"], **intel_rdt}
        cgroup.apply(resources, update=True)
        linux["resources"] = merged(linux.get("resources") or {}, resources)
        path = f"{records.directory(runtime.root, id)}/config.json"
        records.write(path, codec.dumps(config))


def _set_shares(record: "Json", shares: "Json") -> None:
    group = record.get("intel_rdt")
    if not group:
        raise ConfigError(
            "the container was created without Intel RDT, so there is nothing to update",
            pointer="/linux/intelRdt",
        )
    from kaa.container.intel_rdt import load

    load(group).set_shares(shares)


def merged(old: "Json", new: "Json") -> "Json":
    """`old` with what `new` says, section by section; device rules are never updated."""
    result = dict(old)
    for key, value in new.items():
        if key == "devices":
            continue
        both = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = merged(result[key], value) if both else value
    return result
