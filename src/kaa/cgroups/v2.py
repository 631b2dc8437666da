"""cgroup v2: one tree for all controllers. Kernel: admin-guide/cgroup-v2.rst."""

import posix
from errno import EBUSY, EINVAL
from select import POLLPRI, poll
from time import monotonic

from kaa.cgroups import base, files
from kaa.cgroups.conversions import (
    RESOURCES,
    THROTTLES,
    blkio_to_io_weight,
    cpu_max,
    cpuset_settings,
    escaped,
    hugetlb_settings,
    idle_around,
    maximum,
    pids_settings,
    rdma_settings,
    shares_to_weight,
    swap_max,
    throttles,
)
from kaa.errors import CgroupError, strerror

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kaa.cgroups.conversions import Json, Setting
    from kaa.cgroups.layout import Hierarchy
    from kaa.compile.inputs import CgroupView
    from kaa.program.program import Program

_THAW_S = 2.0
# passing on only these turns a cgroup with processes into the root of a threaded tree, where
# no container can be (cgroup-v2.rst, "Threads")
_THREADED = frozenset(("+cpu", "+cpuset", "+perf_event", "+pids"))
# what may be given away, should the kernel not say (cgroup-v2.rst, "Delegation")
_DELEGATED = "cgroup.procs\ncgroup.threads\ncgroup.subtree_control"


def settings(resources: "Json", *, quota_now: str = "max", limit_now: int = 0) -> "list[Setting]":
    """What linux.resources means on v2, but for the devices. Pure.

    `quota_now` is the first word of cpu.max in force, kept if only a period is given;
    `limit_now` is memory.max in force (0: none), which a new memory+swap includes.
    The memory limit comes last but for `unified`, which overrides everything.
    """
    cpu = resources.get("cpu") or {}
    return [
        *cpuset_settings(cpu),
        *_cpu_settings(cpu, quota_now),
        *pids_settings(resources),
        *_io_settings(resources),
        *hugetlb_settings(resources, "max"),
        *rdma_settings(resources),
        *_memory_settings(resources.get("memory") or {}, limit_now),
        *_unified_settings(resources.get("unified") or {}),
    ]


def _cpu_settings(cpu: "Json", quota_now: str) -> "list[Setting]":
    pointer = f"{RESOURCES}/cpu/"
    shares = cpu.get("shares")
    weight = ("cpu.weight", str(shares_to_weight(shares)), pointer + "shares") if shares else None
    table = idle_around(cpu.get("idle"), weight, pointer + "idle")
    quota, period = cpu.get("quota") or 0, cpu.get("period") or 0
    if quota or period:
        value = cpu_max(quota, period, quota_now)
        table.append(("cpu.max", value, pointer + ("quota" if quota else "period")))
    if cpu.get("burst") is not None:
        table.append(("cpu.max.burst", str(cpu["burst"]), pointer + "burst"))
    return table


def _memory_settings(memory: "Json", limit_now: int) -> "list[Setting]":
    pointer = f"{RESOURCES}/memory/"
    limit, swap = memory.get("limit") or 0, memory.get("swap") or 0
    if memory.get("swappiness") is not None:
        raise CgroupError(
            "memory swappiness cannot be set with cgroup v2", pointer=pointer + "swappiness"
        )
    table = []
    if memory.get("reservation"):
        table.append(("memory.low", maximum(memory["reservation"]), pointer + "reservation"))
    swap_value = swap_max(limit or limit_now, swap)
    if swap_value is not None:
        table.append(("memory.swap.max", swap_value, pointer + "swap"))
    if limit:
        table.append(("memory.max", maximum(limit), pointer + "limit"))
    return table


def _io_settings(resources: "Json") -> "list[Setting]":
    block = resources.get("blockIO") or {}
    pointer = f"{RESOURCES}/blockIO/"
    table = []
    if block.get("weight"):
        table.append(("io.bfq.weight", str(block["weight"]), pointer + "weight"))
    for i, entry in enumerate(block.get("weightDevice") or []):
        if entry.get("weight"):
            value = f"{entry['major']}:{entry['minor']} {entry['weight']}"
            table.append(("io.bfq.weight", value, f"{pointer}weightDevice/{i}/weight"))
    for key, device, rate, where in throttles(resources):
        # on v1, whose terms config.json speaks, a rate of 0 lifts the limit
        table.append(("io.max", f"{device} {THROTTLES[key][0]}={rate or 'max'}", where))
    return table


def _unified_settings(unified: "Json") -> "list[Setting]":
    table = []
    for key, value in unified.items():
        pointer = f"{RESOURCES}/unified/{escaped(key)}"
        if "/" in key or "\0" in key or key in ("", ".", ".."):
            raise CgroupError(
                f'unified resource "{key}" must be a file name (no slashes)', pointer=pointer
            )
        # files with a line per device take one line per write(2)
        table += [(key, line, pointer) for line in value.split("\n") if line.strip()]
    return table


class Cgroup(base.Cgroup):
    """A container's cgroup in the v2 hierarchy."""

    version = 2

    def __init__(
        self,
        hierarchies: "list[Hierarchy]",
        *,
        rootless: bool,
        made: list[str] | None = None,
        denied: dict[str, str] | None = None,
    ) -> None:
        super().__init__(hierarchies, rootless=rootless, made=made, denied=denied)
        self._not_enabled: dict[str, str] = {}

    @property
    def _dir(self) -> str:
        """The cgroup's directory; "" if we were not allowed to have one."""
        return self.hierarchies[0].dir if self.hierarchies else ""

    def file_path(self, file: str) -> str:
        """See `base.Cgroup.file_path`."""
        return f"{self._dir}/{file}" if self._dir else ""

    def _main(self) -> "Hierarchy | None":
        return self.hierarchies[0] if self.hierarchies else None

    # -- making --------------------------------------------------------------

    def _before_child(self, hierarchy: "Hierarchy", parent: str) -> None:
        """Enable for the child every controller that its parent has.

        One that cannot be enabled matters only when a limit asks for it: `why_missing`.
        """
        enabled = files.read_or(f"{parent}/cgroup.subtree_control").split()
        wanted = [
            f"+{name}"
            for name in files.read_or(f"{parent}/cgroup.controllers").split()
            if name not in enabled
        ]
        if not wanted:
            return
        if _THREADED.issuperset(wanted) and files.read_or(f"{parent}/cgroup.procs"):
            whole: OSError | None = OSError(EBUSY, strerror(EBUSY))
        else:
            whole = self._enable(parent, wanted)
        if whole is None:
            return
        for one in wanted:
            # never one by one below processes: the kernel would make a threaded tree of it
            error = whole if whole.errno == EBUSY else self._enable(parent, [one])
            if error is not None:
                self._not_enabled[one[1:]] = self._enable_error(parent, one, error)

    def _enable(self, parent: str, names: list[str]) -> OSError | None:
        try:
            files.write(f"{parent}/cgroup.subtree_control", " ".join(names))
        except OSError as error:
            return error
        return None

    def _enable_error(self, parent: str, one: str, error: OSError) -> str:
        text = f"writing {one} to {parent}/cgroup.subtree_control: {strerror(error.errno or 0)}"
        if error.errno == EBUSY:
            text += "; that cgroup has processes of its own"
        elif error.errno == EINVAL and one == "+cpu":
            text += "; real-time processes outside the root cgroup prevent it"
        return text

    def why_missing(self, controller: str) -> str:
        """Why the container's cgroup has no files of a controller."""
        if "" in self.denied:
            return self.denied[""]
        if controller in self._not_enabled:
            return self._not_enabled[controller]
        top = files.read_or(f"{self.hierarchies[0].mountpoint}/cgroup.controllers").split()
        if controller not in top:
            return f"the {controller} controller is not available in the cgroup v2 hierarchy"
        if controller not in files.read_or(f"{self._dir}/cgroup.controllers").split():
            return f"the {controller} controller is not enabled for the container's cgroup"
        return "this kernel does not have the file"

    def _after_make(self, hierarchy: "Hierarchy", path: str) -> None:
        if path != hierarchy.dir:
            return
        kind = files.read_or(f"{path}/cgroup.type", "domain")
        if kind in ("domain", "domain threaded"):
            return
        why = (
            "a cgroup above it is threaded, so it may hold no processes"
            if kind == "domain invalid"
            else "it may hold threads only, not a process with controllers of memory or io"
        )
        raise CgroupError(
            f"cgroup {path} is of the type {kind!r}: {why}",
            pointer="/linux/cgroupsPath",
            path=path,
            hint="choose a cgroupsPath outside that threaded tree",
        )

    def view(self) -> "CgroupView":
        """The one hierarchy."""
        from kaa.compile.inputs import CgroupView

        return CgroupView(2, [("", h.dir, "", h.mountpoint) for h in self.hierarchies])

    def delegate(self, uid: int) -> None:
        """chown the directory and the files of /sys/kernel/cgroup/delegate; the group stays.

        Not the limits: those files remain the host's (OCI: "Cgroup ownership").
        """
        if not self._dir:
            return
        names = files.read_or("/sys/kernel/cgroup/delegate", _DELEGATED).split()
        for path in [self._dir, *(f"{self._dir}/{name}" for name in names if "/" not in name)]:
            try:
                posix.chown(path, uid, -1, follow_symlinks=False)
            except FileNotFoundError:
                continue
            except OSError as error:
                raise files.failure(error, f"give to uid {uid}", path) from None

    # -- limits --------------------------------------------------------------

    def settings(self, resources: "Json", *, update: bool) -> "list[Setting]":
        """See the function `settings`."""
        if not update:
            return settings(resources)
        limit = files.read_or(self.file_path("memory.max"))
        return settings(
            resources,
            quota_now=files.read_or(self.file_path("cpu.max"), "max").split()[0],
            limit_now=int(limit) if limit.isdigit() else 0,
        )

    def apply(self, resources: "Json", *, update: bool = False) -> None:
        """The device rules are not part of it: see `device_ops`."""
        memory = resources.get("memory") or {}
        if memory.get("checkBeforeUpdate"):
            self._check_usage(memory.get("limit") or 0)
        super().apply(resources, update=update)

    def _check_usage(self, limit: int) -> None:
        """The kernel takes a limit below the usage, and kills until it holds."""
        usage = int(files.read_or(self.file_path("memory.current"), "0"))
        if 0 < limit < usage:
            raise CgroupError(
                f"rejecting memory limit {limit}: {usage} bytes are in use",
                pointer=f"{RESOURCES}/memory/limit",
                path=self.file_path("memory.max"),
            )

    def device_ops(self, program: "Program", resources: "Json") -> None:
        """Load and attach the device filter. Nothing, without root's power."""
        if self.rootless or not self._dir:
            return
        from kaa.cgroups.device_filter import assemble, load_program
        from kaa.cgroups.device_rules import device_list

        code = assemble(device_list(resources))
        fresh = self._dir in (self.made or [])
        load_program(program, code, self._dir, replace=not fresh)

    def _instead(self, file: str, value: str) -> "tuple[str, str] | None":
        if file != "io.bfq.weight":
            return None
        device, _, weight = value.rpartition(" ")
        return "io.weight", f"{device or 'default'} {blkio_to_io_weight(int(weight))}"

    def ignored(self, resources: "Json") -> list[tuple[str, str]]:
        """See `base.Cgroup.ignored`."""
        found = []
        for section, keys in (
            ("memory", ("kernel", "kernelTCP", "disableOOMKiller")),
            ("cpu", ("realtimePeriod", "realtimeRuntime")),
            ("network", ("classID", "priorities")),
            ("blockIO", ("leafWeight",)),
        ):
            asked = resources.get(section) or {}
            found += [
                (f"{RESOURCES}/{section}/{key}", "cgroup v2 has nothing like it")
                for key in keys
                if asked.get(key)
            ]
        return found

    # -- freezing and killing ----------------------------------------------------

    def freeze(self, timeout_s: float = 10.0) -> None:
        """cgroup.freeze, then wait for cgroup.events to say so."""
        if self._settle(True, timeout_s):
            return
        self._settle(False, 0)
        raise CgroupError(
            f"pause the container: it did not freeze within {timeout_s:g} s",
            path=self.file_path("cgroup.freeze"),
        )

    def thaw(self) -> None:
        """cgroup.freeze back to 0."""
        if not self._settle(False, _THAW_S):
            raise CgroupError(
                "resume the container: a cgroup above it is frozen",
                path=self.file_path("cgroup.events"),
            )

    def _settle(self, frozen: bool, timeout_s: float) -> bool:
        doing = "pause" if frozen else "resume"
        if not self._dir:
            raise CgroupError(f"{doing} the container: {self.denied.get('', 'it has no cgroup')}")
        deadline = monotonic() + timeout_s
        events = self.file_path("cgroup.events")
        try:
            fd = posix.open(events, posix.O_RDONLY | posix.O_CLOEXEC)
            try:
                waiting = poll()
                waiting.register(fd, POLLPRI)
                files.write(self.file_path("cgroup.freeze"), str(int(frozen)))
                # reading re-arms the notification: a change after this pread wakes the poll
                while f"frozen {int(frozen)}" not in posix.pread(fd, 4096, 0).decode():
                    left = deadline - monotonic()
                    if left <= 0:
                        return False
                    waiting.poll(left * 1000)
                return True
            finally:
                posix.close(fd)
        except OSError as error:
            raise files.failure(error, f"{doing} the container:", events) from None

    def frozen(self) -> bool:
        """cgroup.events says frozen; False if there is no such cgroup (any more)."""
        return "frozen 1" in files.read_or(self.file_path("cgroup.events"))

    def _kill_at_once(self) -> bool:
        """cgroup.kill: also reaches frozen processes, and those being forked."""
        path = self.file_path("cgroup.kill")
        if not path:
            return False
        try:
            files.write(path, "1")
        except OSError as error:
            if error.errno not in files.GONE:
                raise files.failure(error, "kill everyone in the container:", path) from None
        return True

    # -- numbers -------------------------------------------------------------------

    def oom_kills(self) -> int:
        """memory.events, which counts those below too."""
        return files.numbers(files.read_or(self.file_path("memory.events"))).get("oom_kill", 0)

    def stats(self) -> "Json":
        """See `kaa.cgroups.stats`."""
        from kaa.cgroups.stats import v2_stats

        return v2_stats(self._dir)
