"""`mounts`: each entry, in order, resolved below the new root and mounted by descriptor.

A destination is looked up once: what is opened is what is mounted on. No
other mount happens between the two, so that the descriptor cannot end up
below a mount that came later.
"""

from errno import EPERM

from kaa.caller import normpath
from kaa.compile.cgroup_mount import mount_cgroup
from kaa.compile.entries import Entry, entries
from kaa.compile.filesystems import mount_filesystem, remount_superblock
from kaa.compile.mount_api import (
    AT_FDCWD,
    ATIME,
    DIRECTORY,
    EXISTING,
    FILE,
    PROC_SUPER_MAGIC,
    SLAVE,
    attach,
    change,
    clone,
    map_ids,
)
from kaa.compile.mount_options import names
from kaa.compile.root import Root
from kaa.compile.targets import Targets
from kaa.program.program import Program, Slot

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from kaa.compile.inputs import Inputs

    UserNamespaceOf = Callable[[int], Slot | None]


def mount_all(
    p: Program,
    inputs: "Inputs",
    root: Root,
    userns_of: "UserNamespaceOf | None" = None,
) -> None:
    """Mount every entry of `mounts`.

    `userns_of` gives, for the index of an id-mapped bind, the slot of a
    user namespace with its mapping (the container's own if the entry names
    none); where a stage went before, the stage has mapped it already and
    nothing is asked here. Tmpfs mounts that are to be read-only stay writable
    until `rootfs.leave`. Raises ConfigError for what makes no sense.
    """
    targets = Targets(p, root)
    for entry in entries(inputs):
        options = entry.options
        if options.remount:
            _remount(p, targets, entry)
        elif options.bind:
            _bind(p, inputs, targets, entry, userns_of)
        elif entry.kind == "cgroup":
            mount_cgroup(p, inputs, targets, entry)
        else:
            mount_filesystem(p, inputs, targets, entry)
        if entry.destination == "/proc":
            targets.guard_procfs = True


def _bind(
    p: Program,
    inputs: "Inputs",
    targets: Targets,
    entry: Entry,
    userns_of: "UserNamespaceOf | None",
) -> None:
    options = entry.options
    mount = _source(p, inputs, targets.root, entry)
    staged = inputs.staged and not entry.below_root
    if options.idmap and not staged:
        id_map(p, entry, mount, userns_of)
    if entry.destination == "/proc":
        p.at(entry.pointer, f"verify that {entry.source} is a procfs, as /proc has to be")
        p.fstatfs(mount, targets.buffer)
        p.check(targets.buffer, 8, -1, PROC_SUPER_MAGIC, EPERM)
    if not staged:
        set_attributes(p, entry, mount)
    is_file = inputs.source_kinds.get(entry.index) == "file"
    target = targets.open(entry, FILE if is_file else DIRECTORY, 0o644 if is_file else 0o755)
    p.at(entry.pointer, f"bind {entry.source} on {entry.destination}")
    attach(p, mount, target)
    p.close(target)
    targets.settle(entry, mount)


def _source(p: Program, inputs: "Inputs", root: Root, entry: Entry) -> Slot:
    """The detached copy of a bind's source."""
    recursive = entry.options.recursive
    p.at(f"{entry.pointer}/source", f"open {entry.source} for {entry.destination}")
    if entry.index in root.peers:
        return root.peers.pop(entry.index)
    if entry.below_root:
        place = p.resolve(root.fd, entry.below_root, EXISTING, 0)
        mount = clone(p, place, "", recursive=recursive)
        p.close(place)
        return mount
    if inputs.staged:
        return clone(p, AT_FDCWD, str(entry.index), recursive=recursive)
    mount = clone(p, AT_FDCWD, entry.source, recursive=recursive)
    if "mount" not in inputs.namespaces:
        # a peer of the host's would show there what is mounted below it
        change(p, mount, propagation=SLAVE, recursive=True)
    return mount


def id_map(p: Program, entry: Entry, mount: Slot, userns_of: "UserNamespaceOf | None") -> None:
    """Map the ids of a bind's detached tree; without a mapping anywhere that is a ConfigError."""
    user_namespace = userns_of(entry.index) if userns_of else None
    if user_namespace is None:
        entry.refuse(
            "an id-mapped mount needs uidMappings and gidMappings, or a user namespace",
            "options",
        )
    p.at(entry.pointer, f"map the ids of {entry.source}")
    map_ids(p, mount, user_namespace, recursive=entry.options.idmap == "ridmap")


def set_attributes(p: Program, entry: Entry, mount: Slot) -> None:
    """What the options say about the mount itself, and, recursively, about all below it."""
    options = entry.options
    for set, clear, recursive in (
        (options.set, options.clear, False),
        (options.recursive_set, options.recursive_clear, True),
    ):
        if set or clear:
            p.at(f"{entry.pointer}/options", _describe(entry, set, clear))
            change(p, mount, set=set, clear=clear, recursive=recursive)


def _describe(entry: Entry, set: int, clear: int) -> str:
    parts = [f"set {names(set)}"] if names(set) else []
    cleared = names(clear & ~ATIME)
    if cleared:
        parts.append(f"clear {cleared}")
    return f"{' and '.join(parts) or 'set relatime'} on the mount at {entry.destination}"


def _remount(p: Program, targets: Targets, entry: Entry) -> None:
    options = entry.options
    mount = targets.open(entry, EXISTING, 0)
    if not options.bind:
        remount_superblock(p, entry, mount)
    set_attributes(p, entry, mount)
    targets.propagate(entry, mount)
    p.close(mount)


def is_bound(inputs: "Inputs", path: str) -> bool:
    """Some entry binds onto the (clean) path of the container."""
    return any(
        normpath(mount["destination"]) == path
        for mount in inputs.config.get("mounts") or []
        if {"bind", "rbind"} & set(mount.get("options") or ())
    )


def mounted_after(inputs: "Inputs", path: str) -> set[str]:
    """The destinations of what is mounted after the last mount on the (clean) path, clean."""
    found: set[str] = set()
    for mount in inputs.config.get("mounts") or []:
        destination = normpath(mount["destination"])
        if destination == path:
            found.clear()
        else:
            found.add(destination)
    return found


def is_fresh(inputs: "Inputs", path: str) -> bool:
    """The last thing mounted on the (clean) path is a tmpfs with nothing of the image in it."""
    fresh = False
    for mount in inputs.config.get("mounts") or []:
        if normpath(mount["destination"]) == path and "remount" not in (mount.get("options") or ()):
            fresh = mount.get("type") == "tmpfs" and "tmpcopyup" not in (mount.get("options") or ())
    return fresh
