"""A container on its way up: what `create` and `run` have in common.

docs/architecture.md, "How a container comes up", tells the same in words.
"""

import posix
from errno import ENOENT

from kaa import cgroups, codec
from kaa.caller import normpath
from kaa.compile import stage as stage_compiler
from kaa.compile.process import Capabilities
from kaa.container import facts, hooks, idmap
from kaa.container import record as records
from kaa.container.cleanup import clean_up, run_poststop
from kaa.container.proc import stat
from kaa.container.state import document, limit_processes
from kaa.errors import InitDied, KaaError, SyscallError
from kaa.program.init import Failure, Init
from kaa.program.program import Program
from kaa.program.progress import Stopped
from kaa.program.wire import initial_progress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kaa.cgroups.base import Cgroup
    from kaa.compile.inputs import Json
    from kaa.compile.seccomp import Filter
    from kaa.container.intel_rdt import Group
    from kaa.container.net_devices import NetDevices
    from kaa.container.notify_socket import NotifySocket
    from kaa.container.runtime import Runtime
    from kaa.network.connect import Plan

# in which a configuration asks for veth pairs and routes: docs/library.md, "Networks"
NETWORK_ANNOTATIONS = frozenset(("run.kaa.networks", "run.kaa.routes"))

_NAME_SHOWN = 256  # characters of an executable's name that an error repeats
HOST_HOOKS = ("prestart", "createRuntime")
CONTAINER_HOOKS = ("createContainer", "startContainer")


class Launch:
    """One container on its way up. `set_up`, then `announce`, then release or go; or `undo`."""

    def __init__(
        self,
        runtime: "Runtime",
        id: str,
        config: "Json",
        *,
        bundle: str,
        no_pivot: bool = False,
        no_new_keyring: bool = False,
        preserve_fds: int = 0,
    ) -> None:
        self.runtime = runtime
        self.config = config
        self.inputs = facts.gather(
            runtime.caller,
            config,
            id=id,
            bundle=normpath(bundle),
            staging=f"{records.directory(runtime.root, id)}/staging",
            no_pivot=no_pivot,
            no_new_keyring=no_new_keyring,
            preserve_fds=preserve_fds,
        )
        idmap.check_mapped(config)
        if self.inputs.linux.get("netDevices"):
            from kaa.container import net_devices

            net_devices.check(runtime.caller, self.inputs.linux["netDevices"])
        self.networks = self._plan_networks()
        self.caps = self._capabilities()
        self.filter = self._seccomp()
        self.cgroup = self._cgroup()
        self.record: Json = {
            "id": id,
            "status": "creating",
            "pid": 0,
            "start_time": 0,
            "created": records.now(),
            "bundle": self.inputs.bundle,
            "rootfs": self.inputs.rootfs,
            "annotations": config.get("annotations") or {},
            "cgroup": self.cgroup.record() if self.cgroup else None,
            # then everyone ends with the init
            "own_pid_namespace": self.inputs.namespaces.get("pid") == "",
        }
        self.resctrl = self._resctrl()
        if self.resctrl:
            self.record["intel_rdt"] = self.resctrl.record()
        self.path = records.make_directory(runtime.root, id)
        self._progress = -1
        self._init: Init | None = None
        self._hooks_ran = False
        self._net_devices: NetDevices | None = None
        self.notify: NotifySocket | None = None
        self.program = Program()
        self._first_half: Program | None = None
        self.master = -1

    @property
    def init(self) -> Init:
        """The container's kaa-init."""
        if self._init is None:
            raise RuntimeError("set_up has not started it yet")
        return self._init

    # -- before the first side effect --------------------------------------

    def _capabilities(self) -> Capabilities:
        caps = Capabilities(self.config["process"].get("capabilities"), self.inputs.last_cap)
        if caps.unknown:
            names = ", ".join(dict.fromkeys(caps.unknown))
            self.runtime.warn(f"ignoring unknown or unavailable capabilities: {names}")
        return caps

    def _seccomp(self) -> "Filter | None":
        section = self.inputs.linux.get("seccomp")
        if not section:
            return None
        from kaa.container.seccomp import seccomp_filter

        return seccomp_filter(self.runtime, section)

    def _cgroup(self) -> "Cgroup | None":
        if self.runtime.no_cgroup:
            return None
        path = self.inputs.linux.get("cgroupsPath") or ""
        if self.runtime.systemd_cgroup:
            from kaa.cgroups import systemd

            return systemd.open_scope(
                cgroups.detect(),
                path,
                self.record_id,
                caller=self.runtime.caller,
                user=self.runtime.is_rootless,
                resources=self._resources(),
                annotations=self.config.get("annotations") or {},
            )
        return cgroups.open_cgroup(
            cgroups.detect(), path, self.record_id, rootless=self.runtime.is_rootless
        )

    def _resources(self) -> "Json":
        """The limits to begin with."""
        resources: Json = self.inputs.linux.get("resources") or {}
        if self._has_hooks(*CONTAINER_HOOKS):
            # they run in the cgroup, and are not the container's processes
            return {key: value for key, value in resources.items() if key != "pids"}
        return resources

    def _resctrl(self) -> "Group | None":
        section = self.inputs.linux.get("intelRdt")
        if section is None:
            return None
        from kaa.container.intel_rdt import Group, find_root

        return Group.of(find_root(), section, self.record_id)

    def _plan_networks(self) -> "Plan | None":
        annotations = self.config.get("annotations")
        if not annotations or NETWORK_ANNOTATIONS.isdisjoint(annotations):
            return None
        from kaa.network.connect import Plan

        return Plan(self.runtime.caller, self.inputs.namespaces, annotations)

    @property
    def record_id(self) -> str:
        """The container's id."""
        return self.inputs.id

    # -- coming up ----------------------------------------------------------

    def set_up(self, *, gate: bool) -> None:
        """Everything up to the start gate; with `gate`, a later `start` can open it."""
        if self.runtime.caller.environ.get("NOTIFY_SOCKET"):
            from kaa.container import notify_socket

            self.record["notify"] = True
            notify_socket.prepare(self.inputs, self.path)
            if not gate:
                self.notify = notify_socket.NotifySocket(self.runtime, self.path)
        records.save(self.path, self.record)
        records.write_new(f"{self.path}/config.json", codec.dumps(self.config))
        records.write_new(f"{self.path}/progress", initial_progress())
        self._progress = posix.open(f"{self.path}/progress", posix.O_RDWR | posix.O_CLOEXEC)
        if self.inputs.staged:
            posix.mkdir(self.inputs.staging, 0o711)
        self._init = Init.spawn(
            self.runtime.caller, self._progress, preserve_fds=self.inputs.preserve_fds
        )
        try:
            if idmap.has_mapped_mounts(self.config):
                from kaa.container.id_mapped import Holders

                with Holders(self.runtime.caller, self.inputs):
                    self._run_stage(gate)
            else:
                self._run_stage(gate)
            if self._syncs():
                self._send_ahead(self._first_half or self.program)
            self._enter_cgroup()
            if self.resctrl:
                self.resctrl.create(self.inputs.linux["intelRdt"])
                self.resctrl.attach(self.init.pid)
            self._move_net_devices()
            if self.networks:
                self.networks.make(self.init)
            self._run_init()
            if not self._has_hooks("startContainer"):
                self._limit_processes()
        except InitDied as error:
            if self.cgroup and self.cgroup.oom_kills():
                raise KaaError(
                    "container init was OOM-killed (memory limit too low?)",
                    pointer="/linux/resources/memory/limit",
                ) from error
            raise

    def _run_stage(self, gate: bool) -> None:
        init, inputs = self.init, self.inputs
        if self.cgroup:
            self.cgroup.create()
            self.record["cgroup"] = self.cgroup.record()
            inputs.cgroup = self.cgroup.view()
        program = Program(init.slots)
        self._in_cgroup = self.cgroup is not None and self.cgroup.enter_ops(program)
        self._listener = (
            stage_compiler.start_socket(program, self.path, inputs.bundle) if gate else None
        )
        stage = self._stage = stage_compiler.stage(program, inputs)
        if inputs.in_user_namespace:
            init.run(program)
            if not inputs.namespaces["user"]:
                idmap.write_maps(self.runtime.caller, init.pid, inputs.linux)
            program = Program(init.slots)
        stage_compiler.stage_rest(program, inputs, stage)
        init.send_fork(program)
        # the kernel moves between cgroups and makes namespaces while we compile
        if self._pid_matters():
            init.receive_fork(program)
            self._compile(idmap.seen_as(init.pid, self.runtime.caller.euid))
        else:
            self._compile(self.runtime.caller.euid)
            init.receive_fork(program)
        found = stat(init.pid)
        self.record["pid"] = init.pid
        self.record["start_time"] = found.start_time if found else 0
        records.save(self.path, self.record)

    def _enter_cgroup(self) -> None:
        cgroup = self.cgroup
        if cgroup is None:
            return
        resources = self._resources()
        if not self._in_cgroup:
            cgroup.attach(self.init.pid)
            self.record["cgroup"] = cgroup.record()  # a scope is only ours from here on
        cgroup.apply(resources)
        cgroup.attach_last(self.init.pid)
        limit_devices(self.runtime, cgroup, resources)
        if cgroup.version == 2 and "cgroup" in self.inputs.namespaces and not cgroup.rootless:
            from kaa.cgroups import ownership

            owner = ownership.owner(self.config, self.init.pid)
            if owner:
                cgroup.delegate(owner)
        for pointer, reason in cgroup.ignored(resources):
            self.runtime.warn(f"{pointer}: {reason}")

    def _move_net_devices(self) -> None:
        devices = self.inputs.linux.get("netDevices")
        if devices:
            from kaa.container.net_devices import NetDevices

            self._net_devices = NetDevices(self.init, devices)
            self._net_devices.move_in()

    def _limit_processes(self) -> None:
        limit_processes(self.cgroup, self.config)

    def _has_hooks(self, *kinds: str) -> bool:
        hooks = self.config.get("hooks") or {}
        return any(hooks.get(kind) for kind in kinds)

    def _pid_matters(self) -> bool:
        """Whether the init's program depends on its pid: hooks are told it, and the uid that
        is to start it is seen through its user namespace."""
        return self._has_hooks(*HOST_HOOKS, *CONTAINER_HOOKS) or self.inputs.in_user_namespace

    def _compile(self, uid: int) -> None:
        from kaa.compile import container as compiler

        inputs = self.inputs
        pid = 1 if inputs.namespaces.get("pid") == "" else self.init.pid
        self.program = Program(self.init.slots)
        furnished = compiler.furnish(self.program, inputs, self._stage, sync=self._syncs())
        if self._has_hooks(*HOST_HOOKS):
            # they run between the two halves
            self._first_half = self.program
            self.program = Program(self.init.slots)
        self._gate = compiler.finish(
            self.program,
            inputs,
            self.caps,
            furnished,
            listener=self._listener,
            uid=uid,
            filter=self.filter,
            state_creating=codec.dumps(document(self.record, "creating", pid)),
            state_created=codec.dumps(document(self.record, "created", pid)),
        )

    def _syncs(self) -> bool:
        """Whether the init has its program before it is in the cgroup, so as not to pay for it."""
        return self.cgroup is not None and "memory" in (self.inputs.linux.get("resources") or {})

    def _run_init(self) -> None:
        self._hooks_ran = True
        if self._syncs():
            self.init.resume()
        else:
            self.init.send(self._first_half or self.program)
        if self._first_half is not None:
            self._finish(self._first_half)
            state = document(self.record, "creating")
            hooks.run(self.runtime, self.config, HOST_HOOKS, state)
            self.init.send(self.program)
        self._finish(self.program)

    def _send_ahead(self, program: Program) -> None:
        self.init.send(program)
        try:
            self.init.await_sync(program)
        except Failure as failure:
            failure.reply.close()
            raise self._explain(failure) from None

    def _finish(self, program: Program) -> None:
        try:
            reply = self.init.receive(program)
        except Failure as failure:
            failure.reply.close()
            raise self._explain(failure) from None
        if reply.fds:
            self.master = reply.fds.pop()
        reply.close()

    def _explain(self, failure: Failure) -> KaaError:
        if failure.op.call == "find_executable":
            return executable_error(self.config["process"], failure.errno)
        found = hooks.explain(failure.op, failure.errno, failure.reply.data)
        return found or self.init.explain(failure)

    def go(self) -> None:
        """Open the gate ourselves and wait until the process was executed."""
        self.init.go()
        if self.filter is not None and self.filter.notify:
            from kaa.container.seccomp import hand_over_listener

            hand_over_listener(
                self.runtime,
                self.filter,
                document(self.record, "creating"),
                self.init.pidfd,
                self._progress,
                self.init.socket,
            )
        try:
            self.init.wait_exec(self.program, self._limit_processes)
        except Stopped as stopped:
            raise hooks.start_error(stopped) from None

    def take_master(self) -> int:
        """The master of the container's terminal; it is the taker's to close."""
        master, self.master = self.master, -1
        return master

    def announce(self, pid_file: str, pidfd_socket: str) -> None:
        """The container is created: record it, and write the pid file."""
        self.record["status"] = "created"
        if self._listener is not None:
            # what `start`, another process, needs to say which step failed
            behind = range(self._gate, len(self.program))
            self.record["gate"] = self._gate
            self.record["start"] = [
                (op.pointer, op.phrase, op.call) for op in map(self.program.op, behind)
            ]
        records.save(self.path, self.record)
        if pidfd_socket:
            from kaa.container import console

            console.send_pidfd(self.runtime.caller.path(pidfd_socket), self.init.pidfd, b"standard")
        if pid_file:
            records.write(
                self.runtime.caller.path(pid_file), str(self.init.pid).encode(), mode=0o644
            )

    # -- the end --------------------------------------------------------------

    def close(self) -> None:
        """Let go of the container, which lives on."""
        if self.notify is not None:
            self.notify.close()
        if self._net_devices is not None:
            self._net_devices.close()
        self.init.close()
        posix.close(self._progress)

    def undo(self) -> None:
        """Remove everything that was made; never raises."""
        if self.master >= 0:
            posix.close(self.master)
        if self.notify is not None:
            self.notify.close()
        if self._net_devices is not None:
            try:
                self._net_devices.move_back()
            except (KaaError, OSError) as error:
                self.runtime.warn(str(error))
            self._net_devices.close()
        if self._init is not None:
            self._init.kill()
        if self._progress >= 0:
            posix.close(self._progress)
        clean_up(self.runtime, self.record, self.cgroup, self.path)
        if self._hooks_ran:
            run_poststop(self.runtime, self.config, self.record)


def limit_devices(runtime: "Runtime", cgroup: "Cgroup", resources: "Json") -> None:
    """Load the device program, where devices are limited by one (v2)."""
    program = Program()
    cgroup.device_ops(program, resources)
    if not len(program):
        return
    init = Init.spawn(runtime.caller)
    try:
        init.run(program)
    finally:
        init.end()


def executable_error(process: "Json", errno: int) -> KaaError:
    """The lookup of args[0] failed: in the words that engines turn into 126 and 127."""
    name = process["args"][0]
    if len(name) > _NAME_SHOWN:
        name = f"{name[:_NAME_SHOWN]}..."
    if errno == ENOENT and "/" not in name:
        reason = "executable file not found in $PATH"
    else:
        from kaa.errors import strerror

        reason = strerror(errno)
    return SyscallError(
        f'exec: "{name}": {reason}', pointer="/process/args/0", path=name, errno=errno
    )


def check_terminal(terminal: bool, console_socket: str, *, detach: bool) -> None:
    """A terminal needs someone at its other end: ourselves, or the console socket's owner."""
    if detach and terminal and not console_socket:
        raise KaaError("cannot allocate tty if runc will detach without setting console socket")
    if console_socket and not (detach and terminal):
        raise KaaError("cannot use console socket if runc will not detach or allocate tty")
