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
from kaa.compile.stage import Stage
from kaa.program.program import ANY, Program, Slot
from kaa.program.wire import EXECUTING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kaa.compile.seccomp import Filter

_AT_FDCWD = -100


def init(
    p: Program,
    inputs: Inputs,
    caps: process.Capabilities,
    *,
    stage: Stage,
    listener: Slot | None,
    uid: int,
    filter: "Filter | None",
    state_creating: bytes,
    state_created: bytes,
) -> int:
    """The program of the container's init; returns the index of its start gate.

    `uid` may connect to the start socket; the two states are what hooks read.
    """
    config = inputs.config
    proc = config["process"]
    hooks = config.get("hooks") or {}
    namespaces.inside(p, inputs)
    labels = bool(proc.get("apparmorProfile") or proc.get("selinuxLabel"))
    own = "mount" in inputs.namespaces
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
    if hooks.get("createContainer"):
        p.at("", "enter the bundle")
        p.chdir(inputs.bundle, ok=ANY)  # it may be out of reach of a user namespace
        run_hooks(p, "createContainer", hooks["createContainer"], state_creating, None)
    if own:
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
    run_hooks(
        p, "startContainer", hooks.get("startContainer") or [], state_created, proc.get("env")
    )
    if inputs.terminal is False:
        process.own_stdio(p, process.user_ids(proc)[0])
    process.scheduling(p, proc, inputs)
    if procfs is not None and labels:
        process.lsm(p, proc, procfs)
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
        load_filter(p, filter, caps, extra)
    process.execute(p, proc, executable, env)
    return gate


def load_filter(
    p: Program, filter: "Filter", caps: process.Capabilities, extra: int
) -> None:
    """The seccomp filter, and the capability that loading it needed given back."""
    from kaa.compile import seccomp

    notifications = seccomp.append(p, filter)
    if notifications is not None:
        p.at("/linux/seccomp/listenerPath", "hand over the seccomp listener")
        p.listener(notifications)
    if extra:
        process.set_capabilities(p, caps)
