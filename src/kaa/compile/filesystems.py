"""Mounts of file systems that are not binds: by fsopen(2), or mount(2) where that cannot.

fsconfig(2) takes one value of at most 255 bytes at a time, and knows nothing
of `silent` and `iversion`; mount(2) takes a page of options, but is blind and
needs a path, so it is given ".".
"""

from errno import EINVAL, EPERM
from posix import O_CLOEXEC, O_RDONLY

from kaa.compile.entries import Entry
from kaa.compile.mount_api import (
    AT_FDCWD,
    DETACH,
    DIRECTORY,
    FSPICK_CLOEXEC,
    FSPICK_EMPTY_PATH,
    MOVE_FROM_FD,
    NODEV,
    NOEXEC,
    NOSUID,
    RDONLY,
    RECONFIGURE,
    SET_FLAG,
    SET_STRING,
    STX_GID,
    STX_MODE,
    STX_UID,
    attach,
    change,
    clone,
    facts,
    new_mount,
    open_path,
)
from kaa.compile.mount_options import MS_RDONLY, ONLY_MOUNT2
from kaa.compile.targets import Targets
from kaa.program.program import Program, Slot

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kaa.compile.inputs import Inputs

# One instance serves many mounts of these, also in other containers that share
# a namespace: "ro" is for the mount, not for the instance.
_SHARED = frozenset(("cgroup", "cgroup2", "devpts", "mqueue", "proc", "sysfs", "tmpfs"))
_UNLABELLED = frozenset(("cgroup", "cgroup2", "mqueue", "proc", "sysfs"))

_PLACE = "place"
_VALUE_MAX = 255
_PAGE = 4096


def mount_filesystem(p: Program, inputs: "Inputs", targets: Targets, entry: Entry) -> None:
    """Make the file system and mount it on the destination."""
    if _needs_mount2(entry):
        mount, target = _by_mount2(p, inputs, targets, entry)
    else:
        mount, target = _by_context(p, inputs, targets, entry)
    if entry.kind == "tmpfs":
        _furnish_tmpfs(p, targets, entry, mount, target)
    p.close(target)
    recursive_attributes(p, entry, mount)
    if entry.kind == "mqueue":
        _label_mqueue(p, inputs, mount)
    later = entry.kind == "tmpfs" and bool(entry.options.set & RDONLY)
    targets.settle(entry, mount, read_only_later=later)


def settings(entry: Entry) -> "list[tuple[str, str | None]]":
    """The data options as keys and values."""
    found: list[tuple[str, str | None]] = []
    for option in entry.options.data:
        for piece in option.split(","):
            key, equals, value = piece.partition("=")
            if key:
                found.append((key, value if equals else None))
    return found


def _needs_mount2(entry: Entry) -> bool:
    if entry.options.flags & ONLY_MOUNT2 or len(entry.source.encode(errors="replace")) > _VALUE_MAX:
        return True
    if any('"' in option for option in entry.options.data):
        return True  # quoted commas, which only the old parser understands
    return any(
        value == "" or key == "source" or len(f"{value}".encode(errors="replace")) > _VALUE_MAX
        for key, value in settings(entry)
    )


def _attributes(entry: Entry) -> int:
    """Those to mount with: a tmpfs has to be written to first."""
    return entry.options.set & ~RDONLY if entry.kind == "tmpfs" else entry.options.set


def _label(inputs: "Inputs", entry: Entry) -> str:
    """The SELinux context for the mount, if it takes one."""
    label: str = inputs.linux.get("mountLabel") or ""
    return "" if entry.kind in _UNLABELLED else label


def _describe(entry: Entry) -> str:
    return f"mount {entry.kind} on {entry.destination}"


def _by_context(p: Program, inputs: "Inputs", targets: Targets, entry: Entry) -> tuple[Slot, Slot]:
    p.at(entry.pointer, _describe(entry))
    wanted: list[tuple[str, str | None]] = []
    if entry.source:
        wanted.append(("source", entry.source))
    label = _label(inputs, entry)
    if label:
        wanted.append(("context", label))
    shared = entry.kind in _SHARED
    wanted += [s for s in entry.options.superblock() if not (shared and s[0] in ("ro", "rw"))]
    wanted += settings(entry)
    if entry.kind == "sysfs" and _sysfs_may_be_refused(inputs):
        mount = new_mount(
            p,
            entry.kind,
            wanted,
            _attributes(entry),
            refused=(EPERM,),
            instead=lambda slot: _host_sysfs(p, entry, slot),
        )
    else:
        mount = new_mount(p, entry.kind, wanted, _attributes(entry))
    target = _open_target(targets, entry)
    p.at(entry.pointer, _describe(entry))
    attach(p, mount, target)
    return mount, target


def _open_target(targets: Targets, entry: Entry) -> Slot:
    if entry.kind in ("proc", "sysfs"):
        return targets.open_ordinary(entry)
    if not _inherits_mode(entry) or entry.destination == "/":
        return targets.open(entry, DIRECTORY, 0o755)
    # A tmpfs takes the mode of what it covers; where that is missing it gets the
    # mode of a fresh tmpfs, so that the second start finds what the first made.
    parent = entry.destination.rpartition("/")[0]
    if parent:
        p = targets.p
        p.at(f"{entry.pointer}/destination", f"make {parent}")
        p.close(p.resolve(targets.root.fd, parent, DIRECTORY, 0o755))
    return targets.open(entry, DIRECTORY, 0o1777)


def _inherits_mode(entry: Entry) -> bool:
    return entry.kind == "tmpfs" and all(key != "mode" for key, _ in settings(entry))


def _furnish_tmpfs(p: Program, targets: Targets, entry: Entry, mount: Slot, target: Slot) -> None:
    """The mode of the directory that is covered, and with tmpcopyup its owner and contents."""
    copy_up, inherits = entry.options.copy_up, _inherits_mode(entry)
    if not copy_up and not inherits:
        return
    p.at(entry.pointer, f"give the tmpfs the attributes of {entry.destination}")
    about = targets.buffer
    facts(p, target, about)
    if copy_up and not {"uid", "gid"} & {key for key, _ in settings(entry)}:
        uid = p.peek(about + STX_UID, 4, keep=True)
        gid = p.peek(about + STX_GID, 4, keep=True)
        p.fchownat(mount, ".", uid, gid, 0, ok=(EINVAL,))  # no such id in the user namespace
        p.slots.give_back(uid)
        p.slots.give_back(gid)
    if inherits:
        mode = p.peek(about + STX_MODE, 2, keep=True)
        p.fchmodat(mount, ".", mode)
        p.slots.give_back(mode)
    if copy_up:
        p.at(f"{entry.pointer}/options", f"copy what was at {entry.destination} into the tmpfs")
        p.copy_up(target, mount)


def recursive_attributes(p: Program, entry: Entry, mount: Slot) -> None:
    """The options like `rro`, for the mount and all below it."""
    options = entry.options
    if options.recursive_set or options.recursive_clear:
        p.at(f"{entry.pointer}/options", f"set the attributes of {entry.destination}")
        change(
            p,
            mount,
            set=options.recursive_set,
            clear=options.recursive_clear,
            recursive=True,
        )


def _label_mqueue(p: Program, inputs: "Inputs", mount: Slot) -> None:
    """An mqueue takes no context= but its root directory can be labelled."""
    label = inputs.linux.get("mountLabel")
    if label:
        p.at("/linux/mountLabel", "label the message queues")
        raw = label.encode() + b"\0"
        fd = p.openat(mount, ".", O_RDONLY | O_CLOEXEC, 0)
        p.fsetxattr(fd, "security.selinux", raw, len(raw), 0)
        p.close(fd)


def _sysfs_may_be_refused(inputs: "Inputs") -> bool:
    """A sysfs shows a network namespace, whose owner one has to be."""
    return inputs.in_user_namespace and "network" not in inputs.namespaces


def _host_sysfs(p: Program, entry: Entry, mount: Slot) -> None:
    """The host's /sys with all below it, in place of a sysfs of our own."""
    p.at(entry.pointer, f"bind the host's /sys on {entry.destination}, a new sysfs being refused")
    clone(p, AT_FDCWD, "/sys", recursive=True, into=mount)
    if entry.options.set:
        change(p, mount, set=entry.options.set, recursive=True)


def _by_mount2(p: Program, inputs: "Inputs", targets: Targets, entry: Entry) -> tuple[Slot, Slot]:
    """Mounted by mount(2), which returns no descriptor: so on a place that nobody else knows,
    from where it is copied to the destination."""
    data = list(entry.options.data)
    label = _label(inputs, entry)
    if label:
        data.insert(0, f'context="{label}"')
    text = ",".join(data)
    if len(text.encode(errors="surrogateescape")) >= _PAGE:
        entry.refuse(
            "the options are longer than a page, which is all that mount(2) takes",
            "options",
            "use shorter paths, for instance relative ones",
        )
    flags = entry.options.flags
    if entry.kind == "tmpfs":
        flags &= ~MS_RDONLY
    target = _open_target(targets, entry)
    p.at(entry.pointer, _describe(entry))
    home = open_path(p, AT_FDCWD, ".")
    scratch = new_mount(p, "tmpfs", [("nr_inodes", "2")], NOSUID | NODEV | NOEXEC)
    if "mount" in inputs.namespaces:
        # on top of our own "/", where no path leads: the options may name the destination
        p.move_mount(scratch, "", AT_FDCWD, "/", MOVE_FROM_FD)
    else:
        attach(p, scratch, target)
    p.mkdirat(scratch, _PLACE, 0o755)
    place = open_path(p, scratch, _PLACE)
    p.fchdir(place)
    p.close(place)
    p.mount(entry.source or "none", ".", entry.kind, flags, text or None)
    mount = clone(p, scratch, _PLACE, recursive=False)
    p.fchdir(scratch)
    p.umount2(".", DETACH)
    p.close(scratch)
    p.fchdir(home)
    p.close(home)
    attach(p, mount, target)
    return mount, target


def remount_superblock(p: Program, entry: Entry, mount: Slot) -> None:
    """The part of `remount` that is the file system's: its own options, and ro, sync, ..."""
    wanted = entry.options.superblock()
    if entry.kind in _SHARED:
        wanted = [s for s in wanted if s[0] not in ("ro", "rw")]
    wanted += settings(entry)
    if not wanted:
        return
    p.at(entry.pointer, f"remount {entry.destination}")
    context = p.fspick(mount, "", FSPICK_EMPTY_PATH | FSPICK_CLOEXEC)
    for key, value in wanted:
        p.fsconfig(context, SET_FLAG if value is None else SET_STRING, key, value, 0)
    p.fsconfig(context, RECONFIGURE, None, None, 0)
    p.close(context)
