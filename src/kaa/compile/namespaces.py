"""`linux.namespaces`: which are new, joined or inherited, and the order to enter them.

See namespaces(7), setns(2) and unshare(2). The order is not free:

- every path is opened before anything is joined, in the caller's own view;
- a namespace owned by the host must be joined before we lose the host's
  privileges to the user namespace, one owned by that user namespace only
  after; so each is tried before, and the refused ones again after;
- the mount namespace comes last, as it takes the paths away;
- pid and time take effect at the fork.
"""

from errno import EINVAL, EPERM
from posix import O_CLOEXEC, O_RDONLY, O_WRONLY

from kaa.compile.inputs import NAMESPACES, Inputs
from kaa.program.program import Program, Slot

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kaa.compile.inputs import Json

_AT_FDCWD = -100
_PR_SET_DUMPABLE = 4
_JOIN_ORDER = ("uts", "ipc", "network", "cgroup", "time", "pid", "mount")
_SCHED_CPUS = b"\xff" * 128  # 1,024 processors; the kernel takes those it has


def requested(config: "Json") -> dict[str, str]:
    """Type to path ("" for a new namespace), for every entry of `linux.namespaces`."""
    entries = (config.get("linux") or {}).get("namespaces") or []
    return {entry["type"]: entry.get("path") or "" for entry in entries}


def clone_flags(namespaces: dict[str, str]) -> int:
    """The CLONE_NEW* bits of the namespaces that are to be new."""
    flags = 0
    for kind, path in namespaces.items():
        if not path:
            flags |= NAMESPACES[kind]
    return flags


def _pointer(inputs: Inputs, kind: str) -> str:
    for index, entry in enumerate(inputs.linux.get("namespaces") or []):
        if entry["type"] == kind:
            return f"/linux/namespaces/{index}"
    return "/linux/namespaces"


def open_joined(p: Program, inputs: Inputs) -> dict[str, Slot]:
    """Open the path of every namespace that is joined."""
    opened: dict[str, Slot] = {}
    for kind, path in inputs.namespaces.items():
        if path:
            p.at(f"{_pointer(inputs, kind)}/path", f"open the {kind} namespace")
            opened[kind] = p.openat(_AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0)
    return opened


def join_early(p: Program, inputs: Inputs, opened: dict[str, Slot]) -> dict[str, Slot]:
    """Join what can be joined with the host's privileges; returns the slots of the results."""
    results: dict[str, Slot] = {}
    for kind in _JOIN_ORDER[:-1]:
        if kind in opened:
            _at_join(p, inputs, kind)
            results[kind] = p.setns(opened[kind], NAMESPACES[kind], ok=(EPERM,), keep=True)
    return results


def enter_user(p: Program, inputs: Inputs, opened: dict[str, Slot]) -> None:
    """Make or join the user namespace. After a new one the maps must be written from outside."""
    p.at(_pointer(inputs, "user"), "enter the user namespace")
    if "user" in opened:
        p.setns(opened["user"], NAMESPACES["user"])
        return
    if not inputs.privileged:
        # who is not the machine's root may write the maps of a dumpable process only
        p.prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0)
    p.unshare(NAMESPACES["user"])


def become_root(p: Program, inputs: Inputs) -> None:
    """Take id 0 of the user namespace, or the lowest that it has: what we make needs an owner."""
    p.at(_pointer(inputs, "user"), "become root of the user namespace")
    gid, uid = (lowest_id(inputs, kind) for kind in ("gidMappings", "uidMappings"))
    # a namespace that is joined may map nobody: then the capabilities must do
    unmapped = (EINVAL,) if inputs.namespaces["user"] else ()
    p.setresgid(gid, gid, gid, ok=unmapped)
    p.setresuid(uid, uid, uid, ok=unmapped)
    if not inputs.privileged:
        p.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def lowest_id(inputs: Inputs, kind: str) -> int:
    """The lowest id of `uidMappings` or `gidMappings`: 0, if it is mapped or nothing is said."""
    return min((m["containerID"] for m in inputs.linux.get(kind) or ()), default=0)


def join_rest(p: Program, inputs: Inputs, opened: dict[str, Slot], early: dict[str, Slot]) -> None:
    """Join what was refused before the user namespace, then the mount namespace."""
    for kind in _JOIN_ORDER:
        fd = opened.get(kind)
        if fd is None:
            continue
        _at_join(p, inputs, kind)
        result = early.get(kind)
        if result is None:
            p.setns(fd, NAMESPACES[kind])
            continue
        refused, done = p.label(), p.label()
        outcome = p.buffer(8)
        p.poke(outcome, 8, result)
        p.check(outcome, 8, -1, 0, EPERM, goto=(refused, EPERM))
        p.jump(done)
        p.place(refused)
        p.setns(fd, NAMESPACES[kind])
        p.place(done)


def join(p: Program, inputs: Inputs, opened: dict[str, Slot]) -> None:
    """Join everything at once: no user namespace is in the way."""
    for kind in _JOIN_ORDER:
        if kind in opened:
            _at_join(p, inputs, kind)
            p.setns(opened[kind], NAMESPACES[kind])


def _at_join(p: Program, inputs: Inputs, kind: str) -> None:
    path = inputs.namespaces[kind]
    p.at(f"{_pointer(inputs, kind)}/path", f"join the {kind} namespace {path}")


def make(p: Program, inputs: Inputs) -> None:
    """Unshare the new namespaces other than user (already made) and cgroup (made later)."""
    flags = clone_flags(inputs.namespaces) & ~NAMESPACES["user"] & ~NAMESPACES["cgroup"]
    if not flags:
        return
    kinds = [k for k, path in inputs.namespaces.items() if not path and NAMESPACES[k] & flags]
    p.at("/linux/namespaces", f"make new namespaces: {', '.join(kinds)}")
    p.unshare(flags)
    offsets = inputs.linux.get("timeOffsets")
    if offsets and flags & NAMESPACES["time"]:
        _set_time_offsets(p, inputs, offsets)


def _set_time_offsets(p: Program, inputs: Inputs, offsets: "Json") -> None:
    """Before the first process enters the time namespace: time_namespaces(7)."""
    text = "".join(
        f"{clock} {offsets[clock].get('secs') or 0} {offsets[clock].get('nanosecs') or 0}\n"
        for clock in ("monotonic", "boottime")
        if clock in offsets
    )
    if not text:
        return  # it names no clock that there is
    p.at("/linux/timeOffsets", "set the clock offsets")
    undumpable = inputs.in_user_namespace or not inputs.privileged
    if undumpable:
        # an undumpable process's own /proc files belong to the global root
        p.prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0)
    fd = p.openat(_AT_FDCWD, "/proc/self/timens_offsets", O_WRONLY | O_CLOEXEC, 0)
    raw = text.encode()
    p.write(fd, raw, len(raw))
    p.close(fd)
    if undumpable:
        p.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def inside(p: Program, inputs: Inputs) -> None:
    """In the forked init, once it is in its cgroup: the cgroup namespace, lo, the processors."""
    if inputs.namespaces.get("cgroup") == "":
        p.at(_pointer(inputs, "cgroup"), "make the cgroup namespace")
        p.unshare(NAMESPACES["cgroup"])
    if inputs.namespaces.get("network") == "":
        p.at(_pointer(inputs, "network"), "set lo up")
        p.bring_up("lo")
    p.at("", "forget the caller's processor affinity")
    p.sched_setaffinity(0, len(_SCHED_CPUS), _SCHED_CPUS, ok=(0,))
