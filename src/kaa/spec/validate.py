"""Is this a document that kaa can run? The trees of `schema`, and the rules between their branches.

Everything here is decided by the document alone; what depends on the host (is
that path a namespace? may this user do it?) is found out when it is done.
"""

from kaa.errors import ConfigError
from kaa.spec.check import Wrong, shown
from kaa.spec.schema import CONFIG, PROCESS
from kaa.spec.schema_linux import RESOURCES, sysctl_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from kaa.spec.check import Checker

_IPC_SYSCTLS = frozenset(
    "kernel/" + name
    for name in (
        "msgmax",
        "msgmnb",
        "msgmni",
        "sem",
        "shmall",
        "shmmax",
        "shmmni",
        "shm_rmid_forced",
    )
)


def validate(document: "Any", where: str = "config.json") -> None:
    """Check a whole container configuration (config.md, config-linux.md).

    Known properties that are null are removed from `document` on the way. The
    first property found wrong is the ConfigError's; `where` names the document.
    """
    _check(_config, document, where)


def validate_process(process: "Any", where: str = "process") -> None:
    """Check an object like `process`, as `exec --process` is given one; see `validate`."""
    _check(PROCESS, process, where)


def validate_resources(resources: "Any", where: str = "resources") -> None:
    """Check an object like `linux.resources`, as `update` is given one; see `validate`."""
    _check(RESOURCES, resources, where)


def _check(checker: "Checker", value: "Any", where: str) -> None:
    try:
        checker(value)
    except Wrong as error:
        pointer = error.pointer()
        message = error.message if pointer else f"{where} {error.message}"
        raise ConfigError(message, pointer=pointer or None, path=where) from None


def _config(document: "Any") -> None:
    CONFIG(document)
    if "process" not in document:
        raise Wrong("process property must not be empty", "process")
    if "root" not in document:
        raise Wrong("root must be specified", "root")
    linux = document.get("linux", {})
    # Type to path: "" for a new namespace, absent for the runtime's own.
    namespaces = {entry["type"]: entry.get("path", "") for entry in linux.get("namespaces", ())}
    _names(document, namespaces)
    _id_mappings(linux, namespaces)
    _mount_mappings(document, namespaces)
    _time_offsets(linux, namespaces)
    _paths(linux, namespaces)
    _net_devices(linux, namespaces)
    for name in linux.get("sysctl", ()):
        _sysctl(name, namespaces)


def _names(document: "Any", namespaces: "dict[str, str]") -> None:
    if "uts" in namespaces:
        return
    for name in ("hostname", "domainname"):
        if document.get(name):
            raise Wrong(f"unable to set {name} without a private UTS namespace", name)


def _id_mappings(linux: "Any", namespaces: "dict[str, str]") -> None:
    """Mappings belong to a new user namespace; of a joined one they may repeat what it has."""
    for name in ("uidMappings", "gidMappings"):
        given = linux.get(name)
        if given and "user" not in namespaces:
            raise Wrong(
                "user namespace mappings specified, but user namespace isn't enabled in the config",
                "linux",
                name,
            )
        if not given and namespaces.get("user") == "":
            raise Wrong("is required for a new user namespace", "linux", name)


def _mount_mappings(document: "Any", namespaces: "dict[str, str]") -> None:
    if "user" in namespaces:
        return
    for index, mount in enumerate(document.get("mounts", ())):
        for option in ("idmap", "ridmap"):
            if option in mount.get("options", ()) and not mount.get("uidMappings"):
                raise Wrong(
                    f'is required by the option "{option}", since there is no user namespace'
                    " whose mappings could be taken",
                    "mounts",
                    index,
                    "uidMappings",
                )


def _time_offsets(linux: "Any", namespaces: "dict[str, str]") -> None:
    if not linux.get("timeOffsets"):
        return
    if "time" not in namespaces:
        problem = "time namespace offsets are specified, but there is no time namespace"
    elif namespaces["time"]:
        problem = "time namespace offsets are specified for a namespace that is joined by its path"
    else:
        return
    raise Wrong(problem, "linux", "timeOffsets")


def _paths(linux: "Any", namespaces: "dict[str, str]") -> None:
    if "mount" in namespaces:
        return
    for name in ("maskedPaths", "readonlyPaths"):
        if linux.get(name):
            raise Wrong("unable to restrict paths without a private mount namespace", "linux", name)


def _net_devices(linux: "Any", namespaces: "dict[str, str]") -> None:
    if linux.get("netDevices") and "network" not in namespaces:
        raise Wrong(
            "unable to move network devices without a private network namespace",
            "linux",
            "netDevices",
        )


def _sysctl(name: str, namespaces: "dict[str, str]") -> None:
    """Only what belongs to a namespace of the container may be set (sysctl(8), proc(5))."""
    path = sysctl_path(name)
    quoted = shown(name)
    if path in _IPC_SYSCTLS or path.startswith("fs/mqueue/"):
        if "ipc" in namespaces:
            return
        problem = f"sysctl {quoted} is not allowed in the hosts ipc namespace"
    elif path.startswith("net/"):
        if "network" in namespaces:
            return
        problem = f"sysctl {quoted} not allowed in host network namespace"
    elif path == "kernel/hostname":
        problem = f'sysctl {quoted} is not allowed as it conflicts with the OCI "hostname" field'
    elif (path == "kernel/domainname" and "uts" in namespaces) or (
        path.startswith("user/") and "user" in namespaces
    ):
        return
    else:
        problem = f"sysctl {quoted} is not in a separate kernel namespace"
    raise Wrong(problem, "linux", "sysctl", name)
