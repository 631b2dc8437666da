"""`process`: who the container's first (or exec'ed) process is, and how it is started.

`prepare` runs before the start gate, so that `create` reports a missing
executable or directory; `start` runs after it and ends in execve(2).
"""

from _struct import pack
from errno import EBADF, EINVAL, ENOSYS, EPERM, EROFS
from posix import O_CLOEXEC, O_NOCTTY, O_NONBLOCK, O_PATH, O_RDONLY

from kaa.compile import capabilities
from kaa.compile.inputs import Inputs
from kaa.compile.namespaces import lowest_id
from kaa.program.program import ANY, Program, Ref, Slot
from kaa.spec.schema_linux import sysctl_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kaa.compile.inputs import Json
    from kaa.compile.seccomp import Filter

_AT_FDCWD = -100
_AT_EMPTY_PATH = 0x1000
_RESOLVE_IN_ROOT_NO_MAGIC = 0x10 | 0x02
_RESOLVE_DIRECTORY = 1
_NOBODY = 0xFFFFFFFF  # "leave this id alone", setresuid(2)
HOME_SIZE = 4096
_S_IFMT, _S_IFIFO = 0o170000, 0o010000
_STATX_MODE_OFFSET = 28

_PR_SET_DUMPABLE = 4
_PR_SET_KEEPCAPS = 8
_PR_CAPBSET_DROP = 24
_PR_SET_NO_NEW_PRIVS = 38
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_RAISE, _PR_CAP_AMBIENT_CLEAR_ALL = 2, 4
_KEYCTL_JOIN_SESSION_KEYRING = 1
_CAP_DAC = (
    1 << capabilities.NUMBERS["CAP_DAC_OVERRIDE"] | 1 << capabilities.NUMBERS["CAP_DAC_READ_SEARCH"]
)
_CAP_SYS_ADMIN = 1 << capabilities.NUMBERS["CAP_SYS_ADMIN"]

RLIMITS = {
    "RLIMIT_CPU": 0,
    "RLIMIT_FSIZE": 1,
    "RLIMIT_DATA": 2,
    "RLIMIT_STACK": 3,
    "RLIMIT_CORE": 4,
    "RLIMIT_RSS": 5,
    "RLIMIT_NPROC": 6,
    "RLIMIT_NOFILE": 7,
    "RLIMIT_MEMLOCK": 8,
    "RLIMIT_AS": 9,
    "RLIMIT_LOCKS": 10,
    "RLIMIT_SIGPENDING": 11,
    "RLIMIT_MSGQUEUE": 12,
    "RLIMIT_NICE": 13,
    "RLIMIT_RTPRIO": 14,
    "RLIMIT_RTTIME": 15,
}

_SCHEDULERS = {
    "SCHED_OTHER": 0,
    "SCHED_FIFO": 1,
    "SCHED_RR": 2,
    "SCHED_BATCH": 3,
    "SCHED_ISO": 4,
    "SCHED_IDLE": 5,
    "SCHED_DEADLINE": 6,
}
_SCHEDULER_FLAGS = {
    "SCHED_FLAG_RESET_ON_FORK": 0x01,
    "SCHED_FLAG_RECLAIM": 0x02,
    "SCHED_FLAG_DL_OVERRUN": 0x04,
    "SCHED_FLAG_KEEP_POLICY": 0x08,
    "SCHED_FLAG_KEEP_PARAMS": 0x10,
    "SCHED_FLAG_UTIL_CLAMP_MIN": 0x20,
    "SCHED_FLAG_UTIL_CLAMP_MAX": 0x40,
}
_IO_CLASSES = {"IOPRIO_CLASS_RT": 1, "IOPRIO_CLASS_BE": 2, "IOPRIO_CLASS_IDLE": 3}
_PERSONALITIES = {"LINUX": 0, "LINUX32": 8}
_MEMORY_MODES = {
    "MPOL_DEFAULT": 0,
    "MPOL_PREFERRED": 1,
    "MPOL_BIND": 2,
    "MPOL_INTERLEAVE": 3,
    "MPOL_LOCAL": 4,
    "MPOL_PREFERRED_MANY": 5,
    "MPOL_WEIGHTED_INTERLEAVE": 6,
}
_MEMORY_FLAGS = {
    "MPOL_F_STATIC_NODES": 1 << 15,
    "MPOL_F_RELATIVE_NODES": 1 << 14,
    "MPOL_F_NUMA_BALANCING": 1 << 13,
}


class Capabilities:
    """The five sets as masks, and the names nobody knows (to be warned of)."""

    __slots__ = (
        "_last",
        "_section",
        "ambient",
        "bounding",
        "effective",
        "inheritable",
        "permitted",
        "unknown",
    )

    def __init__(self, section: "Json | None", last: int) -> None:
        self.unknown: list[str] = []
        self._section = section or {}
        self._last = last
        self.bounding = self._mask("bounding")
        self.effective = self._mask("effective")
        self.permitted = self._mask("permitted")
        self.inheritable = self._mask("inheritable")
        self.ambient = self._mask("ambient")

    def _mask(self, name: str) -> int:
        mask, unknown = capabilities.parse(
            self._section.get(name) or [], f"/process/capabilities/{name}", self._last
        )
        self.unknown += unknown
        return mask


# -- on the stage, with the host's privileges -----------------------------


def privileged(p: Program, process: "Json", inputs: Inputs) -> None:
    """What a user namespace would forbid later: kernel.md 23."""
    adjustment = process.get("oomScoreAdj")
    if adjustment is not None:
        p.at("/process/oomScoreAdj", f"set the OOM score adjustment to {adjustment}")
        if not inputs.privileged:
            # the file of an undumpable process is the global root's
            p.prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0)
        p.write_file("/proc/self/oom_score_adj", str(adjustment))
        if not inputs.privileged:
            p.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    for index, limit in enumerate(process.get("rlimits") or []):
        hard = inputs.limits.get(limit["type"], (0, 0))[1]
        if limit["hard"] > hard:
            p.at(f"/process/rlimits/{index}", f"raise the hard limit {limit['type']}")
            soft = min(max(hard, 0), limit["hard"])
            p.prlimit64(0, RLIMITS[limit["type"]], pack("=QQ", soft, limit["hard"]), None)
    priority = process.get("ioPriority")
    if priority:
        p.at("/process/ioPriority", "set the I/O priority")
        value = _IO_CLASSES[priority["class"]] << 13 | (priority.get("priority") or 0)
        p.ioprio_set(1, 0, value)
    if inputs.in_user_namespace:
        _scheduler(p, process)


def _scheduler(p: Program, process: "Json") -> None:
    scheduler = process.get("scheduler")
    if not scheduler:
        return
    p.at("/process/scheduler", f"set the scheduling policy {scheduler['policy']}")
    flags = 0
    for flag in scheduler.get("flags") or []:
        flags |= _SCHEDULER_FLAGS[flag]
    attributes = pack(
        "=IIQiIQQQ",
        48,
        _SCHEDULERS[scheduler["policy"]],
        flags,
        scheduler.get("nice") or 0,
        scheduler.get("priority") or 0,
        scheduler.get("runtime") or 0,
        scheduler.get("deadline") or 0,
        scheduler.get("period") or 0,
    )
    p.sched_setattr(0, attributes, 0)


# -- before the start gate -------------------------------------------------


def keyring(p: Program, inputs: Inputs) -> None:
    """A session keyring of the container's own, so that the caller's keys do not leak."""
    if not inputs.no_new_keyring:
        p.at("", "join a new session keyring")
        p.keyctl(_KEYCTL_JOIN_SESSION_KEYRING, f"_ses.{inputs.id}", 0, 0, 0, ok=(ENOSYS, EPERM))


def host_names(p: Program, inputs: Inputs) -> None:
    """`hostname` and `domainname`."""
    for key, call in (("hostname", p.sethostname), ("domainname", p.setdomainname)):
        name = inputs.config.get(key)
        if name:
            raw = name.encode()
            p.at(f"/{key}", f"set the {key} to {name}")
            call(raw, len(raw))


def sysctls(p: Program, inputs: Inputs, proc: Slot) -> None:
    """`linux.sysctl`, through a procfs that the container has never seen."""
    for key, value in (inputs.linux.get("sysctl") or {}).items():
        pointer_key = key.replace("~", "~0").replace("/", "~1")
        p.at(f"/linux/sysctl/{pointer_key}", f"set the sysctl {key}")
        p.write_file(f"sys/{sysctl_path(key)}", str(value), dirfd=proc)


def private_proc(p: Program) -> Slot:
    """A detached procfs of the current pid namespace that no one can mount over."""
    p.at("", "open a private procfs")
    context = p.fsopen("proc", 1)
    p.fsconfig(context, 6, None, None, 0)
    proc = p.fsmount(context, 1, 0)
    p.close(context)
    return proc


def working_directory(p: Program, process: "Json", root: Slot) -> None:
    """`process.cwd`: made where it is missing, and never anything but below the root."""
    cwd = process.get("cwd") or "/"
    p.at("/process/cwd", f"enter the working directory {cwd}")
    fd = p.resolve(root, cwd, _RESOLVE_DIRECTORY, 0o755)
    p.fchdir(fd)
    p.close(fd)


def verify_cwd(p: Program) -> None:
    """The raw getcwd must begin with a slash: CVE-2024-21626."""
    p.at("/process/cwd", "verify that the working directory lies in the container")
    buffer = p.buffer(4096)
    p.getcwd(buffer, 4096)
    p.check(buffer, 1, 0xFF, ord("/"), EPERM)


def user_ids(process: "Json") -> tuple[int, int, list[int]]:
    """uid, gid and the supplementary groups."""
    user = process.get("user") or {}
    return user.get("uid") or 0, user.get("gid") or 0, list(user.get("additionalGids") or [])


def _set_groups(p: Program, groups: list[int]) -> None:
    p.at("/process/user/additionalGids", "set the supplementary groups")
    # with none asked for, a namespace that denies setgroups has none to drop
    p.setgroups(len(groups), pack(f"={len(groups)}I", *groups), ok=() if groups else (EPERM,))


def find_executable(p: Program, process: "Json") -> Slot:
    """Look up `process.args[0]` with the effective ids; the slot holds the path's address."""
    p.at("/process/args/0", f'exec: "{process["args"][0]}"')
    return p.find_executable(p.vector(candidates(process)))


def find_executable_as_user(p: Program, inputs: Inputs, caps: Capabilities) -> Slot:
    """The same, as the process's user and back, for an init that still needs its privileges."""
    process = inputs.config["process"]
    uid, gid, groups = user_ids(process)
    if uid == 0 or caps.effective & _CAP_DAC:
        return find_executable(p, process)
    _set_groups(p, groups)
    p.at("/process/user", "look for the executable as the user")
    p.setresgid(_NOBODY, gid, _NOBODY)
    p.setresuid(_NOBODY, uid, _NOBODY)
    found = find_executable(p, process)
    p.at("/process/user", "become root again until the start")
    p.setresuid(_NOBODY, lowest_id(inputs, "uidMappings"), _NOBODY)
    p.setresgid(_NOBODY, lowest_id(inputs, "gidMappings"), _NOBODY)
    return found


def candidates(process: "Json") -> list[str]:
    """The paths that execvp(3) would try, by the container's PATH."""
    name = process["args"][0]
    if "/" in name:
        return [name]
    for entry in reversed(process.get("env") or []):
        if entry.startswith("PATH="):
            return [f"{d or '.'}/{name}" for d in entry[5:].split(":")]
    return []


def environment(p: Program, process: "Json", inputs: Inputs, home: Ref | None) -> Ref:
    """The vector of `variables`; `home` is where ``HOME=...`` will stand, if it was looked up."""
    entries = variables(process, inputs)
    if home is None:
        return p.vector(entries)
    vector = p.vector([*entries, ""])
    p.relocations.pop()  # the placeholder's
    p.pointer(vector + 8 * len(entries), home)
    return vector


def variables(process: "Json", inputs: Inputs) -> list[str]:
    """`process.env`, the last entry of a name winning; an empty HOME does not count."""
    entries: dict[str, str] = {}
    for entry in process.get("env") or []:
        name = entry.partition("=")[0]
        entries.pop(name, None)
        entries[name] = entry
    if inputs.listen_fds:
        entries["LISTEN_FDS"] = f"LISTEN_FDS={inputs.listen_fds}"
        entries["LISTEN_PID"] = "LISTEN_PID=1"
    if inputs.notify_socket:
        entries["NOTIFY_SOCKET"] = f"NOTIFY_SOCKET={inputs.notify_socket}"
    if entries.get("HOME") == "HOME=":
        del entries["HOME"]
    return list(entries.values())


def look_up_home(p: Program, process: "Json", root: Slot) -> Ref | None:
    """Where ``HOME=`` and the directory from the container's passwd(5) will stand ("/" if it
    says none); None when `process.env` has one."""
    if any(e.startswith("HOME=") and e != "HOME=" for e in process.get("env") or []):
        return None
    home = p.bytes(b"HOME=/".ljust(HOME_SIZE, b"\0"))
    p.at("/process/user", "look up HOME in /etc/passwd")
    missing = p.label()
    how = pack("=QQQ", O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, 0, _RESOLVE_IN_ROOT_NO_MAGIC)
    fd = p.openat2(root, "etc/passwd", how, 24, goto=(missing,))
    p.home(fd, user_ids(process)[0], home + 5, HOME_SIZE - 5, ok=ANY)
    p.close(fd)
    p.place(missing)
    return home


# -- after the start gate ---------------------------------------------------


def own_stdio(p: Program, uid: int) -> None:
    """Give pipes on 0, 1 and 2 to the user, who may want to reopen them; never a device."""
    p.at("/process/user/uid", "give the standard pipes to the user")
    buffer = p.buffer(256)
    for fd in (0, 1, 2):
        skip = p.label()
        p.statx(fd, "", _AT_EMPTY_PATH, 2, buffer, goto=(skip,))
        p.check(buffer + _STATX_MODE_OFFSET, 2, _S_IFMT, _S_IFIFO, EINVAL, goto=(skip,))
        p.fchown(fd, uid, _NOBODY, ok=(EPERM, EROFS, EBADF, EINVAL))
        p.place(skip)


def limits(p: Program, process: "Json") -> None:
    """`process.rlimits`, exactly; lowering comes late, since a limit may break init itself."""
    for index, limit in enumerate(process.get("rlimits") or []):
        p.at(f"/process/rlimits/{index}", f"set {limit['type']}")
        p.prlimit64(0, RLIMITS[limit["type"]], pack("=QQ", limit["soft"], limit["hard"]), None)


def scheduling(p: Program, process: "Json", inputs: Inputs) -> None:
    """Scheduler, memory policy, personality: what the process itself must carry."""
    if not inputs.in_user_namespace:
        _scheduler(p, process)
    policy = inputs.linux.get("memoryPolicy")
    if policy:
        _memory_policy(p, policy)
    persona = inputs.linux.get("personality")
    if persona:
        p.at("/linux/personality", f"set the personality {persona['domain']}")
        p.personality(_PERSONALITIES[persona["domain"]])


def _memory_policy(p: Program, policy: "Json") -> None:
    p.at("/linux/memoryPolicy", f"set the memory policy {policy['mode']}")
    mode = _MEMORY_MODES[policy["mode"]]
    for flag in policy.get("flags") or []:
        mode |= _MEMORY_FLAGS[flag]
    mask = 0
    for part in (policy.get("nodes") or "").split(","):
        first, _, last = part.strip().partition("-")
        if first:
            for node in range(int(first), int(last or first) + 1):
                mask |= 1 << node
    if mask:
        raw = mask.to_bytes(max(8, (mask.bit_length() + 63) // 64 * 8), "little")
        p.set_mempolicy(mode, raw, len(raw) * 8 + 1)
    else:
        p.set_mempolicy(mode, None, 0)


def lsm(p: Program, process: "Json", proc: Slot | int) -> None:
    """The labels that take effect at execve, written below `proc`: a procfs nobody can fake."""
    profile = process.get("apparmorProfile")
    if profile:
        p.at("/process/apparmorProfile", f"change to the AppArmor profile {profile}")
        p.write_file("thread-self/attr/apparmor/exec", f"exec {profile}", dirfd=proc)
    label = process.get("selinuxLabel")
    if label:
        p.at("/process/selinuxLabel", f"change to the SELinux label {label}")
        p.write_file("thread-self/attr/exec", label, dirfd=proc)


def drop_bounding(p: Program, caps: Capabilities, last: int) -> None:
    """Take everything but the bounding set away; needs CAP_SETPCAP, so it comes first."""
    p.at("/process/capabilities/bounding", "drop capabilities from the bounding set")
    for number in range(last + 1):
        if not caps.bounding >> number & 1:
            p.prctl(_PR_CAPBSET_DROP, number, 0, 0, 0)


def credentials(p: Program, process: "Json", caps: Capabilities, *, extra: int = 0) -> None:
    """Groups, ids and capability sets; `extra` stays permitted and effective for one more step."""
    uid, gid, groups = user_ids(process)
    _set_groups(p, groups)
    p.at("/process/capabilities", "keep the capabilities across the change of ids")
    p.prctl(_PR_SET_KEEPCAPS, 1, 0, 0, 0)
    p.at("/process/user/gid", f"become gid {gid}")
    p.setresgid(gid, gid, gid)
    p.at("/process/user/uid", f"become uid {uid}")
    p.setresuid(uid, uid, uid)
    set_capabilities(p, caps, extra)
    ambient = caps.ambient
    p.at("/process/capabilities/ambient", "set the ambient capabilities")
    p.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0, ok=(EINVAL,))
    for number in range(ambient.bit_length()):
        if ambient >> number & 1:
            p.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, number, 0, 0, ok=(EPERM,))


def set_capabilities(p: Program, caps: Capabilities, extra: int = 0) -> None:
    """capset(2) to the configured sets, and `extra`."""
    p.at("/process/capabilities", "set the capabilities")
    header, data = capabilities.capset_args(
        caps.effective | extra, caps.permitted | extra, caps.inheritable
    )
    p.capset(header, data)


def no_new_privileges(p: Program, process: "Json") -> None:
    """`process.noNewPrivileges`."""
    if process.get("noNewPrivileges"):
        p.at("/process/noNewPrivileges", "set no_new_privs")
        p.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def needs_admin_for_filter(process: "Json", filter: "Filter | None") -> int:
    """The capability to keep until the filter is loaded: seccomp(2)."""
    return _CAP_SYS_ADMIN if filter and not process.get("noNewPrivileges") else 0


def umask(p: Program, process: "Json") -> None:
    """`process.user.umask`; images rely on 0022 where it is absent."""
    value = (process.get("user") or {}).get("umask")
    p.at("/process/user/umask", "set the umask")
    p.umask(0o022 if value is None else value)


def close_all(p: Program, inputs: Inputs) -> None:
    """Close every slot. The socket and the progress file (not directories) go at execve."""
    p.at("", "close every other descriptor")
    p.close_range(5 + inputs.preserve_fds, 0xFFFFFFFF, 0)


def execute(p: Program, process: "Json", executable: Slot, env: Ref) -> None:
    """The last call."""
    p.at("/process/args/0", f'exec: "{process["args"][0]}"')
    p.execve(executable, p.vector(process["args"]), env)


def self_descriptors(p: Program) -> Slot:
    """The directory of our own descriptors in the host's /proc, to reopen an O_PATH one."""
    p.at("", "open our own descriptors in the host's /proc")
    return p.openat(_AT_FDCWD, "/proc/self/fd", O_PATH | O_CLOEXEC, 0)
