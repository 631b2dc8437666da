"""`exec`: one more process in a container where an attacker may already live.

Everything that can be done before the fork into the container's pid namespace
is done before it, so that what a hostile process there could get hold of has
the final credentials, no descriptor but the command socket, and nothing left
to do but execve(2).
"""

from errno import EPERM
from posix import O_CLOEXEC, O_PATH

from kaa.compile import process, terminal
from kaa.compile.container import load_filter
from kaa.compile.inputs import NAMESPACES, Inputs
from kaa.compile.namespaces import become_root
from kaa.program.program import ANY, Program, Ref, Slot
from kaa.program.wire import EXECUTING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kaa.compile.inputs import Json
    from kaa.compile.seccomp import Filter

_AT_FDCWD = -100


class Target:
    """The container's init: its pidfd, and its root directory as the host sees it."""

    __slots__ = ("pidfd", "root")

    def __init__(self, pidfd: Slot, root: Slot) -> None:
        self.pidfd = pidfd
        self.root = root


def hold(p: Program, pid: int) -> Target:
    """Get hold of the init; the caller must check afterwards that it is the one it was."""
    p.at("", f"open the container's init, pid {pid}")
    pidfd = p.pidfd_open(pid, 0)
    root = p.openat(_AT_FDCWD, f"/proc/{pid}/root", O_PATH | O_CLOEXEC, 0)
    return Target(pidfd, root)


def enter(
    p: Program,
    inputs: Inputs,
    doc: "Json",
    target: Target,
    caps: process.Capabilities,
    filter: "Filter | None",
) -> Ref | None:
    """The stage's program, all but the fork: into the container, down to the final credentials.

    Returns where HOME was looked up; it is emitted.
    """
    process.privileged(p, doc, inputs)
    affinity(p, doc, "initial")
    descriptors = process.self_descriptors(p)
    if doc.get("apparmorProfile") or doc.get("selinuxLabel"):
        process.lsm(p, doc, _open_proc(p))
    _join(p, inputs, target.pidfd)
    if "mount" not in inputs.namespaces:
        p.at("/linux/namespaces", "enter the container's root directory")
        p.fchdir(target.root)
        p.chroot(".")
    p.at("/root/path", "open the container's root")
    root = p.openat(_AT_FDCWD, "/", O_PATH | O_CLOEXEC, 0)
    process.keyring(p, inputs)
    if doc.get("terminal"):
        _, peer = terminal.open_pty(p, doc, root, descriptors)
        for fd in (0, 1, 2):
            p.dup3(peer, fd, 0)
    else:
        process.own_stdio(p, process.user_ids(doc)[0])
    process.working_directory(p, doc, root)
    home = process.look_up_home(p, doc, root)
    if home is not None:
        p.emit(home, process.HOME_SIZE)
    process.scheduling(p, doc, inputs)
    process.umask(p, doc)
    process.drop_bounding(p, caps, inputs.last_cap)
    process.credentials(p, doc, caps, extra=process.needs_admin_for_filter(doc, filter))
    process.no_new_privileges(p, doc)
    return home


def close_all(p: Program, inputs: Inputs) -> None:
    """What comes right before the fork, once the terminal was sent: nothing else is held."""
    process.close_all(p, inputs)
    process.verify_cwd(p)


def _open_proc(p: Program) -> Slot:
    p.at("", "open the host's /proc")
    return p.openat(_AT_FDCWD, "/proc", O_PATH | O_CLOEXEC, 0)


def _join(p: Program, inputs: Inputs, pidfd: Slot) -> None:
    """All at once; where the owners are mixed, the host's power is used before it is given up."""
    flags = 0
    for kind in inputs.namespaces:
        flags |= NAMESPACES[kind]
    if not flags:
        return
    p.at("/linux/namespaces", "join the container's namespaces")
    user = NAMESPACES["user"]
    if flags & user and flags != user:
        mixed, joined = p.label(), p.label()
        p.setns(pidfd, flags, goto=(mixed, EPERM))
        p.jump(joined)
        p.place(mixed)
        p.setns(pidfd, flags & ~user)
        p.setns(pidfd, user)
        p.place(joined)
    else:
        p.setns(pidfd, flags)
    if flags & user:
        become_root(p, inputs)


def affinity(p: Program, doc: "Json", when: str) -> None:
    """`process.execCPUAffinity`: `initial` before the container's cgroup, `final` in it."""
    wanted = (doc.get("execCPUAffinity") or {}).get(when)
    if not wanted:
        if when == "final":
            p.at("", "forget the caller's processor affinity")
            p.sched_setaffinity(0, 128, b"\xff" * 128, ok=ANY)
        return
    mask = 0
    for part in wanted.split(","):
        first, _, last = part.strip().partition("-")
        for cpu in range(int(first), int(last or first) + 1):
            mask |= 1 << cpu
    raw = mask.to_bytes((mask.bit_length() + 63) // 64 * 8, "little")
    p.at(f"/process/execCPUAffinity/{when}", f"run on the processors {wanted}")
    p.sched_setaffinity(0, len(raw), raw)


def start(
    p: Program,
    inputs: Inputs,
    doc: "Json",
    filter: "Filter | None",
    env: list[str],
) -> None:
    """The program of the process itself, once it is forked and in its cgroup."""
    p.at("", "wait until the process is in its cgroup")
    p.wait_start(-1, 0)
    affinity(p, doc, "final")
    p.at("", "start a new session")
    p.setsid()
    if doc.get("terminal"):
        p.at("/process/terminal", "take the controlling terminal")
        p.ioctl(0, 0x540E, 0, keep=True)
    process.limits(p, doc)
    executable = process.find_executable(p, doc)
    p.at("", "get ready to execute")
    vector = p.vector(env)
    p.mark(EXECUTING)
    if filter is not None:
        load_filter(p, filter)
    process.execute(p, doc, executable, vector)
