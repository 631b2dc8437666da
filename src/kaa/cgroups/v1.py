"""cgroup v1: a tree for each controller (or few), and in hybrid an empty v2 tree beside them.

Kernel: admin-guide/cgroup-v1/*.rst. In hybrid the v2 tree limits nothing, but it can
kill everyone at once.
"""

from errno import EPERM
from posix import O_CLOEXEC, O_WRONLY
from time import monotonic, sleep

from kaa.cgroups import base, files
from kaa.cgroups.conversions import (
    RESOURCES,
    THROTTLES,
    check_swap,
    cpuset_settings,
    hugetlb_settings,
    idle_around,
    minus_one,
    pids_settings,
    rdma_settings,
    throttles,
)
from kaa.errors import CgroupError
from kaa.program.op import ANY

_AT_FDCWD = -100

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kaa.cgroups.conversions import Json, Setting
    from kaa.cgroups.layout import Hierarchy
    from kaa.compile.inputs import CgroupView
    from kaa.program.program import Program

_LEAST_SHARES, _MOST_SHARES = 2, 262144


def settings(resources: "Json", *, update: bool = False) -> "list[Setting]":
    """What linux.resources means on v1, but for the devices. Pure."""
    cpu = resources.get("cpu") or {}
    if resources.get("unified"):
        raise CgroupError(
            "this needs cgroup v2, the machine has v1", pointer=f"{RESOURCES}/unified"
        )
    return [
        *cpuset_settings(cpu),
        *_cpu_settings(cpu),
        *pids_settings(resources),
        *_block_settings(resources),
        *hugetlb_settings(resources, "limit_in_bytes"),
        *rdma_settings(resources),
        *_network_settings(resources),
        *_memory_settings(resources.get("memory") or {}, update=update),
    ]


def _cpu_settings(cpu: "Json") -> "list[Setting]":
    pointer = f"{RESOURCES}/cpu/"
    shares = cpu.get("shares")
    if shares and not _LEAST_SHARES <= shares <= _MOST_SHARES:
        raise CgroupError(
            f"{shares} is not between the minimum ({_LEAST_SHARES}) and the maximum"
            f" ({_MOST_SHARES}) of cpu shares",
            pointer=pointer + "shares",
        )
    weight = ("cpu.shares", str(shares), pointer + "shares") if shares else None
    table = idle_around(cpu.get("idle"), weight, pointer + "idle")
    for key, file in (
        ("realtimePeriod", "cpu.rt_period_us"),
        ("realtimeRuntime", "cpu.rt_runtime_us"),
        ("period", "cpu.cfs_period_us"),
        ("quota", "cpu.cfs_quota_us"),
    ):
        if cpu.get(key):
            table.append((file, minus_one(cpu[key]), pointer + key))
    if cpu.get("burst") is not None:
        table.append(("cpu.cfs_burst_us", str(cpu["burst"]), pointer + "burst"))
    return table


def _memory_settings(memory: "Json", *, update: bool) -> "list[Setting]":
    pointer = f"{RESOURCES}/memory/"
    limit, swap = memory.get("limit") or 0, memory.get("swap") or 0
    check_swap(limit, swap)
    table = []
    for key, file in (
        ("reservation", "memory.soft_limit_in_bytes"),
        ("kernelTCP", "memory.kmem.tcp.limit_in_bytes"),
    ):
        if memory.get(key):
            table.append((file, minus_one(memory[key]), pointer + key))
    if limit:
        table.append(("memory.limit_in_bytes", minus_one(limit), pointer + "limit"))
    if swap or limit < 0:  # no limit on memory alone means no limit on both
        key = "swap" if swap else "limit"
        table.append(("memory.memsw.limit_in_bytes", minus_one(swap or -1), pointer + key))
    swappiness = memory.get("swappiness")
    if swappiness is not None:
        if not 0 <= swappiness <= 100:  # the kernel takes more, config.json does not
            raise CgroupError(
                f"{swappiness} is not between 0 and 100", pointer=pointer + "swappiness"
            )
        table.append(("memory.swappiness", str(swappiness), pointer + "swappiness"))
    disabled = memory.get("disableOOMKiller")
    if disabled or (disabled is not None and update):
        table.append(("memory.oom_control", str(int(disabled)), pointer + "disableOOMKiller"))
    return table


def _block_settings(resources: "Json") -> "list[Setting]":
    block = resources.get("blockIO") or {}
    pointer = f"{RESOURCES}/blockIO/"
    weights = (("weight", "weight"), ("leafWeight", "leaf_weight"))
    table = [
        (f"blkio.{file}", str(block[key]), pointer + key) for key, file in weights if block.get(key)
    ]
    for i, entry in enumerate(block.get("weightDevice") or []):
        table += [
            (
                f"blkio.{file}_device",
                f"{entry['major']}:{entry['minor']} {entry[key]}",
                f"{pointer}weightDevice/{i}/{key}",
            )
            for key, file in weights
            if entry.get(key)
        ]
    for key, device, rate, where in throttles(resources):
        table.append((f"blkio.throttle.{THROTTLES[key][1]}", f"{device} {rate}", where))
    return table


def _network_settings(resources: "Json") -> "list[Setting]":
    network = resources.get("network") or {}
    pointer = f"{RESOURCES}/network/"
    table = []
    if network.get("classID"):
        table.append(("net_cls.classid", str(network["classID"]), pointer + "classID"))
    for i, entry in enumerate(network.get("priorities") or []):
        value = f"{entry['name']} {entry['priority']}"
        table.append(("net_prio.ifpriomap", value, f"{pointer}priorities/{i}"))
    return table


class Cgroup(base.Cgroup):
    """A container's cgroups in the v1 hierarchies, and in the v2 one of a hybrid machine."""

    version = 1
    # memory: what the runtime's helper has used so far is not the container's (charges are
    # not moved along). cpu: a real-time process is refused until there is rt_runtime.
    late = ("cpu", "memory")

    def _find(self, controller: str) -> "Hierarchy | None":
        for hierarchy in self.hierarchies:
            if controller in hierarchy.controllers:
                return hierarchy
        return None

    def _unified(self) -> "Hierarchy | None":
        for hierarchy in self.hierarchies:
            if not hierarchy.controllers:
                return hierarchy
        return None

    def _dispensable(self, hierarchy: "Hierarchy") -> bool:
        return self.rootless or not hierarchy.controllers

    def file_path(self, file: str) -> str:
        """See `base.Cgroup.file_path`."""
        controller, _, rest = file.partition(".")
        hierarchy = self._find(controller)
        if hierarchy is None:
            return ""
        return f"{hierarchy.dir}/{rest if hierarchy.noprefix else file}"

    def _main(self) -> "Hierarchy | None":
        for controller in ("freezer", "pids", "devices"):
            hierarchy = self._find(controller)
            if hierarchy:
                return hierarchy
        return self.hierarchies[0] if self.hierarchies else None

    def enter_ops(self, program: "Program") -> bool:
        """See `base.Cgroup.enter_ops`. Without root some hierarchies may refuse: not then."""
        if self.rootless:
            return False
        for hierarchy in self.hierarchies:
            if self._is_late(hierarchy):
                continue
            program.at("/linux/cgroupsPath", f"enter the cgroup {hierarchy.dir}")
            procs = f"{hierarchy.dir}/cgroup.procs"
            # the v2 hierarchy of a hybrid machine may do without us
            allowed: tuple[int, ...] = ANY if self._dispensable(hierarchy) else ()
            fd = program.openat(_AT_FDCWD, procs, O_WRONLY | O_CLOEXEC, 0)
            program.write(fd, b"0", 1, ok=allowed)
            program.close(fd)
        return True

    # -- making --------------------------------------------------------------

    def _after_make(self, hierarchy: "Hierarchy", path: str) -> None:
        """A new cpuset is empty and takes no processes: it gets what its parent has."""
        if "cpuset" not in hierarchy.controllers:
            return
        parent = path.rpartition("/")[0]
        prefix = "" if hierarchy.noprefix else "cpuset."
        for name in ("cpus", "mems"):
            if not files.read(f"{path}/{prefix}{name}").strip():
                files.write(f"{path}/{prefix}{name}", files.read(f"{parent}/{prefix}{name}"))

    def view(self) -> "CgroupView":
        """The v1 hierarchies; names like "cpu" that link to "cpu,cpuacct"."""
        from kaa.compile.inputs import CgroupView

        mounted = [h for h in self.hierarchies if h.controllers]
        links = {
            controller: h.name
            for h in mounted
            for controller in h.controllers
            if len(h.controllers) > 1 and controller != h.name
        }
        return CgroupView(1, [(h.name, h.dir, h.options, h.mountpoint) for h in mounted], links)

    # -- limits --------------------------------------------------------------

    def settings(self, resources: "Json", *, update: bool) -> "list[Setting]":
        """See the function `settings`."""
        return settings(resources, update=update)

    def apply(self, resources: "Json", *, update: bool = False) -> None:
        """Also the device rules, unless it is an update (others may have added some)."""
        if not update:
            self._limit_devices(resources)
        super().apply(resources, update=update)

    def _limit_devices(self, resources: "Json") -> None:
        from kaa.cgroups.device_rules import device_list, v1_lines

        lines = v1_lines(device_list(resources))
        if self._find("devices") is None:
            # without root's power nobody can use device nodes that it did not have before
            if resources.get("devices") and not self.rootless:
                raise CgroupError(
                    "the devices controller is not mounted, so the rules cannot be enforced",
                    pointer=f"{RESOURCES}/devices",
                )
            return
        for file, line, pointer in lines:
            try:
                files.write(self.file_path(file), line)
            except OSError as error:
                # a parent that allows less does not matter for what nobody asked for
                if error.errno != EPERM or (pointer and not self.rootless):
                    raise self._refusal((file, line, pointer), error) from None

    def why_missing(self, controller: str) -> str:
        """See `base.Cgroup.why_missing`."""
        if controller in self.denied:
            return self.denied[controller]
        if self._find(controller) is None:
            return f"the {controller} controller is not mounted (cgroup v1)"
        return "this kernel was built without it, or the controller's policy is not loaded"

    def _instead(self, file: str, value: str) -> "tuple[str, str] | None":
        if file in ("blkio.weight", "blkio.weight_device"):
            return file.replace("blkio.", "blkio.bfq."), value
        return None

    def ignored(self, resources: "Json") -> list[tuple[str, str]]:
        """See `base.Cgroup.ignored`."""
        memory = resources.get("memory") or {}
        found = []
        if memory.get("kernel"):
            found.append(
                (f"{RESOURCES}/memory/kernel", "the kernel has no limit of its own for this")
            )
        if memory.get("useHierarchy") is False:
            found.append((f"{RESOURCES}/memory/useHierarchy", "accounting is always hierarchical"))
        return found

    # -- freezing and killing ----------------------------------------------------

    def _freezer(self, doing: str) -> str:
        hierarchy = self._find("freezer")
        if hierarchy is None:
            why = self.denied.get("freezer", "the freezer controller is not mounted")
            raise CgroupError(f"{doing} the container: {why}")
        return f"{hierarchy.dir}/freezer.state"

    def _set_state(self, state: str, path: str) -> str:
        try:
            files.write(path, state)
            return files.read(path).strip()
        except OSError as error:
            raise files.failure(error, f"write {state} to", path) from None

    def freeze(self, timeout_s: float = 10.0) -> None:
        """Write FROZEN until it is: the state can hang in FREEZING while processes fork.

        A process in vfork(2) waits for a child that may be frozen already and so cannot
        be frozen itself; letting all run for a moment resolves that.
        """
        path = self._freezer("pause")
        deadline = monotonic() + timeout_s
        tries = 0
        while self._set_state("FROZEN", path) != "FROZEN":
            tries += 1
            if monotonic() > deadline:
                self._set_state("THAWED", path)
                raise CgroupError(
                    f"pause the container: it did not freeze within {timeout_s:g} s", path=path
                )
            if tries % 50 == 0:
                self._set_state("THAWED", path)
            sleep(0.001 if tries < 100 else 0.01)

    def thaw(self) -> None:
        """Write THAWED."""
        path = self._freezer("resume")
        if self._set_state("THAWED", path) == "FROZEN":
            raise CgroupError("resume the container: a cgroup above it is frozen", path=path)

    def frozen(self) -> bool:
        """freezer.state is FROZEN; False if there is no such cgroup (any more)."""
        freezer = self._find("freezer")
        if freezer is None:
            return False
        return files.read_or(f"{freezer.dir}/freezer.state") == "FROZEN"

    def _kill_at_once(self) -> bool:
        """cgroup.kill of the hybrid's v2 tree, if everyone is in it."""
        unified = self._unified()
        if unified is None:
            return False
        everyone = self.pids()
        there = files.pids(unified.dir)
        try:
            files.write(f"{unified.dir}/cgroup.kill", "1")
        except OSError:  # Linux before 5.14, or somebody has removed the cgroup
            return False
        if self.frozen():
            self._thaw_quietly()
        return set(everyone) <= set(there)

    # -- numbers -------------------------------------------------------------------

    def oom_kills(self) -> int:
        """memory.oom_control."""
        memory = self._find("memory")
        if memory is None:
            return 0
        return files.numbers(files.read_or(f"{memory.dir}/memory.oom_control")).get("oom_kill", 0)

    def stats(self) -> "Json":
        """See `kaa.cgroups.stats`."""
        from kaa.cgroups.stats import v1_stats

        return v1_stats({c: h.dir for h in self.hierarchies for c in h.controllers})
