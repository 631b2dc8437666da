"""A mount of type `cgroup`: the container's own cgroups, whatever the host's layout.

cgroups(7). With version 2 it is one cgroup2 mount, or, where the kernel
refuses that, a bind of the container's own directory. With version 1 it is a
tmpfs with a directory for every hierarchy.
"""

from errno import EBUSY, EPERM
from posix import O_DIRECTORY, O_NOFOLLOW

from kaa.compile.entries import Entry
from kaa.compile.filesystems import recursive_attributes, settings
from kaa.compile.mount_api import (
    AT_FDCWD,
    DIRECTORY,
    NODEV,
    NOEXEC,
    NOSUID,
    RDONLY,
    attach,
    change,
    clone,
    new_mount,
    open_path,
)
from kaa.compile.targets import Targets
from kaa.program.program import Program, Slot

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kaa.compile.inputs import CgroupView, Inputs

_SAFE = NOSUID | NODEV | NOEXEC


def mount_cgroup(p: Program, inputs: "Inputs", targets: Targets, entry: Entry) -> None:
    """Mount the container's cgroups; `inputs.cgroup` says where they are.

    Without any (no cgroup manager) the mount point gets an empty read-only
    directory: the host's cgroups are never shown in place of the container's.
    """
    view = inputs.cgroup
    if view is None:
        _mount(p, targets, entry, _empty(p, entry))
    elif view.version == 2:
        _mount_v2(p, view, targets, entry)
    else:
        _mount_v1(p, view, targets, entry, own_namespace="cgroup" in inputs.namespaces)


def _describe(entry: Entry) -> str:
    return f"mount the cgroups on {entry.destination}"


def _mount(p: Program, targets: Targets, entry: Entry, mount: Slot) -> None:
    target = targets.open(entry, DIRECTORY, 0o755)
    p.at(entry.pointer, _describe(entry))
    attach(p, mount, target)
    p.close(target)
    recursive_attributes(p, entry, mount)
    targets.settle(entry, mount)


def _empty(p: Program, entry: Entry) -> Slot:
    p.at(entry.pointer, f"mount an empty directory on {entry.destination}")
    wanted: list[tuple[str, str | None]] = [("mode", "555"), ("nr_inodes", "1")]
    return new_mount(p, "tmpfs", wanted, _SAFE | RDONLY)


def _mount_v2(p: Program, view: "CgroupView", targets: Targets, entry: Entry) -> None:
    directory = view.hierarchies[0][1]
    attributes = _SAFE | entry.options.set
    p.at(entry.pointer, _describe(entry))
    wanted: list[tuple[str, str | None]] = [("source", "cgroup"), *settings(entry)]

    def bind(slot: Slot) -> None:
        # read-only stays read-only here: CVE-2023-25809
        p.at(entry.pointer, f"bind {directory} on {entry.destination}, a new cgroup2 being refused")
        clone(p, AT_FDCWD, directory, recursive=True, into=slot)
        change(p, slot, set=attributes, recursive=True)

    mount = new_mount(p, "cgroup2", wanted, attributes, refused=(EPERM, EBUSY), instead=bind)
    _mount(p, targets, entry, mount)


def _mount_v1(
    p: Program, view: "CgroupView", targets: Targets, entry: Entry, *, own_namespace: bool
) -> None:
    attributes = _SAFE | entry.options.set
    p.at(entry.pointer, _describe(entry))
    wanted: list[tuple[str, str | None]] = [("source", "cgroup"), ("mode", "755")]
    top = new_mount(p, "tmpfs", wanted, attributes & ~RDONLY)
    target = targets.open(entry, DIRECTORY, 0o755)
    p.at(entry.pointer, _describe(entry))
    attach(p, top, target)
    p.close(target)
    for name, directory, options, _ in view.hierarchies:
        p.at(entry.pointer, f"mount the cgroup hierarchy {name} below {entry.destination}")
        if own_namespace:
            hierarchy = new_mount(p, "cgroup", _options(options), attributes)
        else:
            hierarchy = clone(p, AT_FDCWD, directory, recursive=False)
            change(p, hierarchy, set=attributes)
        p.mkdirat(top, name, 0o755)
        place = open_path(p, top, name, O_DIRECTORY | O_NOFOLLOW)
        attach(p, hierarchy, place)
        p.close(place)
        p.close(hierarchy)
    for link, name in view.links.items():
        p.at(entry.pointer, f"link the cgroup controller {link}")
        p.symlinkat(name, top, link)
    recursive_attributes(p, entry, top)
    targets.settle(entry, top, read_only_later=bool(attributes & RDONLY))


def _options(text: str) -> "list[tuple[str, str | None]]":
    """A hierarchy's mount options: "cpu,cpuacct", or "name=systemd"."""
    found: list[tuple[str, str | None]] = [("source", "cgroup")]
    for option in text.split(","):
        key, equals, value = option.partition("=")
        if key:
            found.append((key, value if equals else None))
    return found
