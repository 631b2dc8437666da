"""Id-mapped mounts: which mapping each has, and the user namespaces that carry the mappings.

mount_setattr(2) takes a mapping in the form of a user namespace only. Whoever
runs the programs has one made for each mapping (kaa.container.id_mapped) and
hands its path in.
"""

from posix import O_CLOEXEC, O_RDONLY

from kaa.compile.entries import entries
from kaa.program.program import Program, Slot

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kaa.compile.inputs import Inputs, Json

    Maps = tuple[list[Json], list[Json]]

_AT_FDCWD = -100


def mappings(inputs: "Inputs") -> "dict[int, Maps]":
    """For the index of each id-mapped mount its uidMappings and gidMappings.

    Those of the container's user namespace where the entry names none; empty
    lists stand for a namespace that is joined, whose mappings we do not know.
    """
    found: dict[int, Maps] = {}
    for entry in entries(inputs):
        if entry.options.idmap:
            mount = inputs.config["mounts"][entry.index]
            own = mount if mount.get("uidMappings") else _of_container(inputs)
            found[entry.index] = (own.get("uidMappings") or [], own.get("gidMappings") or [])
    return found


def _of_container(inputs: "Inputs") -> "Json":
    return {} if inputs.namespaces.get("user") else inputs.linux


def open_user_namespaces(p: Program, inputs: "Inputs") -> dict[int, Slot]:
    """Open those of `inputs.user_namespaces`, on the host's side, each once."""
    opened: dict[str, Slot] = {}
    for index, path in inputs.user_namespaces.items():
        if path not in opened:
            p.at(f"/mounts/{index}", f"open the user namespace {path} with the ids' mapping")
            opened[path] = p.openat(_AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0)
    return {index: opened[path] for index, path in inputs.user_namespaces.items()}
