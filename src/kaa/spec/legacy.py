"""Documents from before runtime-spec 1.0.0, brought to the form of today.

Only the shape is changed, by the "breaking changes" of the specification's
ChangeLog from 0.4.0 on (and the few of 0.3.0 that 0.4.0 moved). A document may
be anything whatever here: what does not have the old shape is left for
validation to judge.
"""

from typing import Any

_BLOCK_IO = {
    "blkioWeight": "weight",
    "blkioLeafWeight": "leafWeight",
    "blkioWeightDevice": "weightDevice",
    "blkioThrottleReadBpsDevice": "throttleReadBpsDevice",
    "blkioThrottleWriteBpsDevice": "throttleWriteBpsDevice",
    "blkioThrottleReadIOPSDevice": "throttleReadIOPSDevice",
    "blkioThrottleWriteIOPSDevice": "throttleWriteIOPSDevice",
}
# v0.4.0: from `linux` to `process`
_PROCESS = {
    "capabilities": "capabilities",
    "rlimits": "rlimits",
    "apparmorProfile": "apparmorProfile",
    "selinuxProcessLabel": "selinuxLabel",
    "noNewPrivileges": "noNewPrivileges",
}
_LIMITS = ("limit", "reservation", "swap", "kernel", "kernelTCP")
_CAPABILITY_SETS = ("bounding", "effective", "permitted")


def upgrade(document: dict[str, Any]) -> None:
    """Change a whole legacy configuration in place."""
    process = _object(document, "process")
    linux = _object(document, "linux")
    resources = _object(linux, "resources")
    _move(linux, process, _PROCESS)
    _move(resources, process, {"oomScoreAdj": "oomScoreAdj"})  # v1.0.0-rc6
    upgrade_process(process)
    if resources.get("disableOOMKiller") is not None and resources.get("memory") is None:
        resources["memory"] = {}
    memory = _object(resources, "memory")
    _move(resources, memory, {"disableOOMKiller": "disableOOMKiller"})  # v1.0.0
    block_io = _object(resources, "blockIO")
    _move(block_io, block_io, _BLOCK_IO)  # v1.0.0-rc6
    for name in _LIMITS:  # unsigned until v1.0.0-rc6: no limit was -1 all the same
        if isinstance(memory.get(name), int) and 2**63 <= memory[name] < 2**64:
            memory[name] -= 2**64
    for limit in _objects(resources, "hugepageLimits"):
        _move(limit, limit, {"pagesize": "pageSize"})
    for rule in _objects(_object(linux, "seccomp"), "syscalls"):  # v1.0.0-rc5
        if isinstance(rule.get("name"), str):
            rule.setdefault("names", [rule["name"]])


def upgrade_process(process: dict[str, Any]) -> None:
    """Change a legacy `process` in place: one list of capabilities is three sets (v1.0.0-rc5).

    Not the inheritable and the ambient set: with them a program could get back,
    by file capabilities, what it had given up (CVE-2022-29162).
    """
    names = process.get("capabilities")
    if isinstance(names, list):
        process["capabilities"] = {name: list(names) for name in _CAPABILITY_SETS}


def _object(parent: dict[str, Any], name: str) -> dict[str, Any]:
    """The object of that name in `parent`; one that is not part of the document if it has none."""
    value = parent.get(name)
    return value if isinstance(value, dict) else {}


def _objects(parent: dict[str, Any], name: str) -> list[dict[str, Any]]:
    """The objects in the array of that name in `parent`."""
    value = parent.get(name)
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _move(source: dict[str, Any], target: dict[str, Any], names: dict[str, str]) -> None:
    """Move properties to new names, where the new ones are not set already."""
    for old, new in names.items():
        if source.get(old) is not None and target.get(new) is None:
            target[new] = source.pop(old)
