"""`exec`: run one more process in a container."""

import posix

from kaa.compile import exec as compiler
from kaa.compile.process import Capabilities, variables
from kaa.container import console, facts
from kaa.container import record as records
from kaa.container.foreground import Foreground
from kaa.container.hooks import start_error
from kaa.container.idmap import check_mapped
from kaa.container.launch import check_terminal, executable_error
from kaa.container.proc import is_same
from kaa.container.rootless import has_host_power
from kaa.container.seccomp import hand_over_listener, seccomp_filter
from kaa.container.state import cgroup_of, document, status
from kaa.errors import ConfigError, NotRunning, UsageError
from kaa.program.init import Init
from kaa.program.program import Program
from kaa.program.progress import Stopped
from kaa.spec.validate import validate_process

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kaa.compile.inputs import Inputs, Json
    from kaa.compile.seccomp import Filter
    from kaa.container.runtime import Runtime

# what a process document without them takes from the container's
_INHERITED = (
    "capabilities",
    "apparmorProfile",
    "selinuxLabel",
    "rlimits",
    "ioPriority",
    "scheduler",
    "execCPUAffinity",
)
_CAPABILITY_SETS = ("bounding", "effective", "permitted")


def exec(
    runtime: "Runtime",
    id: str,
    process: "Json | None" = None,
    *,
    args: "list[str] | None" = None,
    overrides: "Json | None" = None,
    pid_file: str = "",
    console_socket: str = "",
    pidfd_socket: str = "",
    detach: bool = False,
    preserve_fds: int = 0,
    cgroups: "list[str] | None" = None,
    ignore_paused: bool = False,
) -> int:
    """Run a process in the container `id` and return its exit code (0 with `detach`).

    `process` is a whole process document (`--process`); otherwise `args` and
    `overrides` change the container's own. Raises NotRunning when the container
    is stopped, or paused unless `ignore_paused`.
    """
    record = records.load(runtime.root, id)
    now = status(runtime.root, record)
    if now == "stopped":
        raise NotRunning("cannot exec in a stopped container")
    if now == "paused" and not ignore_paused:
        raise NotRunning("cannot exec in a paused container (use --ignore-paused to override)")
    config = records.load_config(runtime.root, id)
    doc = process_document(config["process"], process, args, overrides or {})
    validate_process(doc)
    config["process"] = doc
    check_mapped(config)
    check_terminal(bool(doc.get("terminal")), console_socket, detach=detach)
    entry = Entry(runtime, record, config, preserve_fds, cgroups or [])
    foreground = None if detach else Foreground()
    try:
        master = entry.enter()
        if console_socket:
            console.send(runtime.caller.path(console_socket), master)
            master = -1
        if foreground:
            foreground.adopt(master, entry.init.pid)
        entry.start()
        if pidfd_socket:
            console.send_pidfd(runtime.caller.path(pidfd_socket), entry.init.pidfd, b"setns")
        if pid_file:
            pid = str(entry.init.pid).encode()
            records.write(runtime.caller.path(pid_file), pid, mode=0o644)
        code = foreground.wait() if foreground else 0
    except BaseException:
        entry.init.kill()
        raise
    finally:
        if foreground:
            foreground.close()
    entry.init.close()
    return code


def process_document(
    own: "Json", process: "Json | None", args: "list[str] | None", overrides: "Json"
) -> "Json":
    """The document of the process to run: given whole, or the container's with changes."""
    if process is not None:
        doc = dict(process)
        for key in _INHERITED:
            if key not in doc and key in own:
                doc[key] = own[key]
        return doc
    if not args:
        raise ConfigError("process args cannot be empty", pointer="/process/args")
    doc = {**own, "args": args, "terminal": bool(overrides.get("tty"))}
    if overrides.get("cwd"):
        doc["cwd"] = overrides["cwd"]
    if overrides.get("env"):
        doc["env"] = [*(own.get("env") or []), *overrides["env"]]
    user = dict(own.get("user") or {})
    if overrides.get("user"):
        uid, gid = overrides["user"]
        user["uid"] = uid
        if gid is not None:
            user["gid"] = gid
    if overrides.get("additional_gids"):
        user["additionalGids"] = [
            *(user.get("additionalGids") or []),
            *overrides["additional_gids"],
        ]
    doc["user"] = user
    if overrides.get("caps"):
        doc["capabilities"] = _with_caps(own.get("capabilities") or {}, overrides["caps"])
    if overrides.get("no_new_privs") is not None:
        doc["noNewPrivileges"] = overrides["no_new_privs"]
    if overrides.get("process_label"):
        doc["selinuxLabel"] = overrides["process_label"]
    if overrides.get("apparmor"):
        doc["apparmorProfile"] = overrides["apparmor"]
    return doc


def sub_cgroups(values: list[str]) -> dict[str, str]:
    """The values of --cgroup, ``[CONTROLLER[,...]:]PATH``: controller ("" = every one) to path."""
    found: dict[str, str] = {}
    for value in values:
        controllers, colon, path = value.rpartition(":")
        if ".." in path.split("/"):
            raise UsageError(f"--cgroup {value}: the path must stay below the container's cgroup")
        for controller in controllers.split(",") if colon else [""]:
            if controller in found:
                raise UsageError(f"--cgroup {value}: a second path for the same controller")
            found[controller] = path
    return found


def _with_caps(own: "Json", added: list[str]) -> "Json":
    """--cap never touches the inheritable set (CVE-2022-29162), and ambient only if that has it."""
    names = [n if n.startswith("CAP_") else f"CAP_{n}" for n in (a.upper() for a in added)]
    sets = {key: [*(own.get(key) or []), *names] for key in _CAPABILITY_SETS}
    inheritable = own.get("inheritable") or []
    ambient = [*(own.get("ambient") or []), *(n for n in names if n in inheritable)]
    return {**own, **sets, "ambient": ambient}


class Entry:
    """A process on its way into a container."""

    def __init__(
        self,
        runtime: "Runtime",
        record: "Json",
        config: "Json",
        preserve_fds: int,
        cgroups: list[str],
    ) -> None:
        self._runtime = runtime
        self._record = record
        self._doc = config["process"]
        self._cgroups = cgroups
        self._inputs = self._gather(config, preserve_fds)
        self._caps = Capabilities(self._doc.get("capabilities"), self._inputs.last_cap)
        self._filter = self._seccomp()
        self._env: list[str] = variables(self._doc, self._inputs)
        self.init = Init.spawn(runtime.caller, preserve_fds=preserve_fds)

    def _gather(self, config: "Json", preserve_fds: int) -> "Inputs":
        from kaa.compile.inputs import Inputs
        from kaa.compile.namespaces import requested

        facts.check_preserved(preserve_fds)
        facts.check_labels(self._doc)
        return Inputs(
            config,
            id=self._record["id"],
            bundle=self._record["bundle"],
            namespaces=requested(config),
            privileged=has_host_power(self._runtime.caller),
            preserve_fds=preserve_fds,
            terminal=bool(self._doc.get("terminal")),
            last_cap=facts.last_capability(),
            limits=facts.current_limits(self._doc),
        )

    def _seccomp(self) -> "Filter | None":
        section = self._inputs.linux.get("seccomp")
        if not section:
            return None
        return seccomp_filter(self._runtime, section)

    def enter(self) -> int:
        """Into the container, as a process that waits; returns the terminal's master or -1."""
        init = self.init
        program = Program(init.slots)
        target = compiler.hold(program, self._record["pid"])
        init.run(program)
        if not is_same(self._record["pid"], self._record["start_time"]):
            raise NotRunning("cannot exec in a stopped container")
        program = Program(init.slots)
        home = compiler.enter(program, self._inputs, self._doc, target, self._caps, self._filter)
        reply = init.run(program)
        if home is not None:
            said = reply.rest().split(b"\0", 1)[0]
            self._env.append(said.decode("utf-8", "surrogateescape"))
        master = reply.fds.pop() if reply.fds else -1
        reply.close()
        try:
            program = Program(init.slots)
            compiler.close_all(program, self._inputs)
            init.send_fork(program)
            init.receive_fork(program)
        except BaseException:
            if master >= 0:
                posix.close(master)
            raise
        return master

    def start(self) -> None:
        """Into the cgroup, and go."""
        cgroup = cgroup_of(self._record)
        if cgroup is not None:
            cgroup.join(self.init.pid, sub=sub_cgroups(self._cgroups), init=self._record["pid"])
        program = Program(self.init.slots)
        compiler.start(program, self._inputs, self._doc, self._filter, self._env)
        self.init.run(program)
        self.init.go()
        if self._filter is not None and self._filter.notify:
            hand_over_listener(
                self._runtime,
                self._filter,
                document(self._record, "running", self.init.pid),
                self.init.pidfd,
                self.init.progress,
                self.init.socket,
            )
        try:
            self.init.wait_exec(program)
        except Stopped as stopped:
            if stopped.op.call == "find_executable":
                raise executable_error(self._doc, stopped.errno) from None
            raise start_error(stopped) from None
