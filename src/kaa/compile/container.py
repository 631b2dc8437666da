"""The program that a container's init runs, from its namespaces to its execve.

The order of the steps is the design's; docs/architecture.md says why each
stands where it does. What the stage does before it is in `kaa.compile.stage`.
"""

from posix import O_CLOEXEC, O_PATH

from kaa.compile import (
    devices,
    masks,
    mounts,
    namespaces,
    process,
    rootfs,
    terminal,
)
from kaa.compile.hooks import run_hooks
from kaa.compile.inputs import Inputs
from kaa.compile.root import Root
from kaa.compile.stage import Stage
from kaa.program.program import ANY, Program, Slot
from kaa.program.wire import EXECUTING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kaa.compile.seccomp import Filter

_AT_FDCWD = -100


class Furnished:
    """A rootfs that is mounted but not entered yet, and what was opened on the way."""

    __slots__ = ("peer", "procfs", "root")

    def __init__(self, root: Root, peer: Slot | None, procfs: Slot | None) -> None:
        self.root = root
        self.peer = peer
        self.procfs = procfs


def furnish(p: Program, inputs: Inputs, stage: Stage, *, sync: bool = False) -> Furnished:
    """The first half: names, sysctls, mounts, devices and the terminal.

    After it the hooks of the runtime's namespaces may look at the mounts. With
    `sync` the program stops before its first step: what it takes to hold it is
    not charged to the cgroup that the process is put in then.
    """
    config = inputs.config
    proc = config["process"]
    if sync:
        p.at("/linux/resources/memory", "wait for the memory cgroup")
        p.sync()
    namespaces.inside(p, inputs)
    labels = proc.get("apparmorProfile") or proc.get("selinuxLabel")
    procfs = process.private_proc(p) if labels or inputs.linux.get("sysctl") else None
    process.host_names(p, inputs)
    if procfs is not None:
        process.sysctls(p, inputs, procfs)
    descriptors = process.self_descriptors(p)
    root = rootfs.enter(p, inputs)
    mounts.mount_all(p, inputs, root, stage.mapped.get)
    devices.make_devices(p, inputs, root)
    peer = terminal.open_console(p, proc, root.fd, descriptors) if inputs.terminal else None
    p.close(descriptors)
    return Furnished(root, peer, procfs)


def finish(
    p: Program,
    inputs: Inputs,
    caps: process.Capabilities,
    furnished: Furnished,
    *,
    listener: Slot | None,
    uid: int,
    filter: "Filter | None",
    state_creating: bytes,
    state_created: bytes,
) -> int:
    """The second half, to the execve; returns the index of the start gate.

    `uid` may connect to the start socket; the two states are what hooks read.
    """
    config = inputs.config
    proc = config["process"]
    hooks = config.get("hooks") or {}
    root, peer = furnished.root, furnished.peer
    if hooks.get("createContainer"):
        p.at("", "enter the bundle")
        p.chdir(inputs.bundle, ok=ANY)  # it may be out of reach of a user namespace
        run_hooks(p, "createContainer", hooks["createContainer"], state_creating, None)
    if "mount" in inputs.namespaces:
        masks.mask(p, inputs, root)
    rootfs.leave(p, inputs, root)
    p.at("/root/path", "open the container's root")
    own_root = p.openat(_AT_FDCWD, "/", O_PATH | O_CLOEXEC, 0)
    process.keyring(p, inputs)
    terminal.adopt(p, peer)
    process.working_directory(p, proc, own_root)
    executable = process.find_executable_as_user(p, inputs, caps)
    env = process.environment(p, proc, inputs, process.look_up_home(p, proc, own_root))
    p.at("", "wait for the start")
    gate = len(p)
    p.wait_start(listener if listener is not None else -1, uid)
    if hooks.get("startContainer"):
        run_hooks(p, "startContainer", hooks["startContainer"], state_created, proc.get("env"))
        p.at("/linux/resources/pids", "wait for the limit on processes")
        p.sync()
    if inputs.terminal is False:
        process.own_stdio(p, process.user_ids(proc)[0])
    process.scheduling(p, proc, inputs)
    if furnished.procfs is not None:
        process.lsm(p, proc, furnished.procfs)
    process.umask(p, proc)
    process.limits(p, proc)
    process.drop_bounding(p, caps, inputs.last_cap)
    extra = process.needs_admin_for_filter(proc, filter)
    process.credentials(p, proc, caps, extra=extra)
    process.no_new_privileges(p, proc)
    process.close_all(p, inputs)
    process.verify_cwd(p)
    p.mark(EXECUTING)
    if filter is not None:
        load_filter(p, filter)
    process.execute(p, proc, executable, env)
    return gate


def load_filter(p: Program, filter: "Filter") -> None:
    """The seccomp filter.

    Without no_new_privs it takes CAP_SYS_ADMIN to load one, which is kept until
    here; nothing has to take it away again (the filter may forbid capset), since
    execve does: what is not in the bounding set is lost there (capabilities(7)).
    """
    from kaa.compile import seccomp

    notifications = seccomp.append(p, filter)
    if notifications is not None:
        p.at("/linux/seccomp/listenerPath", "hand over the seccomp listener")
        p.listener(notifications)
