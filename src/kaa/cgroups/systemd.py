"""The backend that asks systemd for a scope and puts the container there.

systemd makes the cgroup, of the controllers it knows, and keeps the limits that it has
properties for; the files are written all the same, as exactly as config.json has them. What
follows from the files alone (freezing, statistics, killing) is v1's and v2's.
"""

from errno import EACCES, EPERM

from kaa.cgroups import files, v1, v2
from kaa.cgroups.base import Cgroup
from kaa.cgroups.conversions import RESOURCES
from kaa.cgroups.layout import POINTER
from kaa.cgroups.unit import Scope, scope
from kaa.errors import CgroupError, KaaError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from kaa.caller import Caller
    from kaa.cgroups.conversions import Json, Setting
    from kaa.cgroups.dbus import Manager
    from kaa.cgroups.layout import Hierarchy, Layout
    from kaa.cgroups.unit_properties import Property
    from kaa.program.program import Program


class _InScope(Cgroup):
    """What differs where systemd manages the cgroup; the classes below add a version."""

    scope = Scope("", "")
    addresses: list[str] = []
    user = False
    # for `attach`, and so only there when the container is being made
    description = ""
    resources: "Json" = {}
    annotations: dict[str, str] = {}
    systemd = 0

    _told: "dict[str, tuple[str, Any]]" = {}

    def _manager(self) -> "Manager":
        from kaa.cgroups.dbus import Manager

        return Manager(self.addresses, user=self.user)

    def record(self) -> "dict[str, Any]":
        """See `base.Cgroup.record`."""
        return {
            **super().record(),
            "systemd": {
                "slice": self.scope.slice,
                "unit": self.scope.unit,
                "addresses": self.addresses,
                "user": self.user,
            },
        }

    def create(self) -> None:
        """Nothing: a scope is made of a process, in `attach`."""

    def enter_ops(self, program: "Program") -> bool:
        """Only systemd can move the process in."""
        return False

    def attach(self, pid: int) -> None:
        """Have systemd make the scope around the process, with all its limits."""
        limits = self._limits(self.resources)
        properties = self._properties(pid, limits)
        with self._manager() as manager:
            job = self._start(manager, properties)
            self.made = []  # from here on what is in the cgroup is ours
            result = manager.wait(job)
        if result != "done":
            raise CgroupError(
                f"systemd could not start {self.scope.unit}: {result}",
                pointer=POINTER,
                hint=f"`journalctl --unit {self.scope.unit}` may say more",
            )
        self._told = dict(limits)
        self._check_place(pid)
        self._complete()
        if self.version == 1:
            super().attach(pid)

    def _start(self, manager: "Manager", properties: "list[Property]") -> str:
        from kaa.cgroups.dbus import UNIT_EXISTS, BusError

        unit = self.scope.unit
        try:
            return manager.start_transient(unit, properties)
        except BusError as error:
            if error.name != UNIT_EXISTS:
                raise self._refused(error) from None
        # one that has failed is only there to be looked at
        try:
            manager.reset_failed(unit)
            return manager.start_transient(unit, properties)
        except BusError as error:
            raise self._refused(error) from None

    def _refused(self, error: KaaError) -> CgroupError:
        return CgroupError(
            f"start {self.scope.unit} in {self.scope.slice}: {error.message}", pointer=POINTER
        )

    def _limits(self, resources: "Json") -> "list[Property]":
        from kaa.cgroups import unit_properties

        return unit_properties.limits(self.settings(resources, update=False), self.systemd)

    def _properties(self, pid: int, limits: "list[Property]") -> "list[Property]":
        from kaa.cgroups import unit_properties
        from kaa.cgroups.device_rules import device_list

        # a user's systemd has no power over devices
        devices = [] if self.user else unit_properties.devices(device_list(self.resources))
        io = "BlockIOAccounting" if self.version == 1 else "IOAccounting"
        return [
            ("Description", ("s", self.description)),
            ("Slice", ("s", self.scope.slice)),
            ("PIDs", ("au", [pid])),
            ("Delegate", ("b", True)),
            ("DefaultDependencies", ("b", False)),
            *((name, ("b", True)) for name in ("CPUAccounting", "MemoryAccounting")),
            *((name, ("b", True)) for name in ("TasksAccounting", io)),
            *limits,
            *devices,
            *unit_properties.annotated(self.annotations),
        ]

    def _check_place(self, pid: int) -> None:
        """What we think of as the scope's cgroup must be it: all limits go there."""
        main = self._main() if self.version == 2 else self._systemds()
        if main is not None and pid not in files.pids(main.dir, recursive=False):
            where = files.read_or(f"/proc/{pid}/cgroup").replace("\n", " ")
            raise CgroupError(
                f"systemd has not put the container into {main.dir}, but into {where!r}",
                pointer=POINTER,
                path=main.dir,
            )

    def _systemds(self) -> "Hierarchy | None":
        for hierarchy in self.hierarchies:
            if "name=systemd" in hierarchy.controllers:
                return hierarchy
        return None

    def _complete(self) -> None:
        """Controllers that systemd does not know are enabled on the way down (v2), or
        get directories (v1)."""
        # new to us, as if we had made it: systemd's device program stays beside ours
        made = self.made = [h.dir for h in self.hierarchies] if self.version == 2 else []
        for hierarchy in list(self.hierarchies):
            try:
                self._make(hierarchy, made)
            except OSError as error:
                self._lost(hierarchy, error, "create cgroup")

    def apply(self, resources: "Json", *, update: bool = False) -> None:
        """Also tells systemd, or the next reload would bring back what it knows."""
        super().apply(resources, update=update)
        if self._told and not update:
            news = [p for p in self._limits(resources) if self._told.get(p[0]) != p[1]]
            if not news:
                return  # `attach` has told it all
        settings = self.settings(resources, update=True)
        if settings:
            self._tell(settings)
            super().apply(resources, update=update)  # exactly: systemd rounds

    def _tell(self, settings: "list[Setting]") -> None:
        from kaa.cgroups import unit_properties

        # where only the quota changes, the period in force counts too, and the other way round
        bandwidth = [
            (file, files.read_or(self.file_path(file)), f"{RESOURCES}/cpu")
            for file in ("cpu.max", "cpu.cfs_quota_us", "cpu.cfs_period_us")
            if any(setting[0][:7] == file[:7] for setting in settings)
        ]
        in_force = [setting for setting in bandwidth if setting[1]]
        with self._manager() as manager:
            properties = unit_properties.limits([*settings, *in_force], manager.version())
            if properties:
                manager.set_properties(self.scope.unit, properties)

    def _move(self, hierarchy: "Hierarchy", below: str, pid: int) -> None:
        """A user may not move processes between a session's cgroup and a scope of the user's
        systemd, which can have it done."""
        try:
            super()._move(hierarchy, below, pid)
        except OSError as error:
            if error.errno not in (EACCES, EPERM) or not self.user:
                raise
            with self._manager() as manager:
                manager.attach(self.scope.unit, below, pid)

    def delete(self) -> None:
        """Stop the scope, and forget it if it has failed; then as everywhere."""
        try:
            if self.made is not None:
                self._stop()
        finally:
            super().delete()

    def _stop(self) -> None:
        from kaa.cgroups.dbus import NO_SUCH_UNIT, BusError

        with self._manager() as manager:
            try:
                manager.wait(manager.stop(self.scope.unit))
            except BusError as error:
                if error.name != NO_SUCH_UNIT:
                    raise
            try:
                manager.reset_failed(self.scope.unit)
            except BusError as error:
                if error.name != NO_SUCH_UNIT:
                    raise


class V1(_InScope, v1.Cgroup):
    """A scope on a machine with cgroup v1, or both."""

    version = 1


class V2(_InScope, v2.Cgroup):
    """A scope on a machine with cgroup v2."""

    version = 2


def open_scope(
    layout: "Layout",
    cgroups_path: str,
    id: str,
    *,
    caller: "Caller",
    user: bool,
    resources: "Json",
    annotations: dict[str, str],
) -> _InScope:
    """Decide which scope the container gets: `cgroups_path` is slice:prefix:name, or "".

    `user` asks the caller's own systemd instead of the machine's. Nothing is made
    yet. Raises CgroupError, also if no systemd answers.
    """
    from kaa.cgroups import dbus, unit_properties

    wanted = scope(cgroups_path, id, user=user)
    unit_properties.annotated(annotations)
    if not dbus.is_running():
        raise CgroupError(
            "systemd is not the init of this machine, so it cannot manage cgroups",
            hint="leave out --systemd-cgroup",
        )
    if user and layout.version != "v2":
        raise CgroupError("a user's systemd can only manage cgroups of version 2")
    addresses = dbus.addresses(caller.environ, caller.euid, user=user)
    with dbus.Manager(addresses, user=user) as manager:
        systemd = manager.version()
        root = str(manager.property("ControlGroup"))
        address = manager.address
    path = wanted.path(root)
    places = [*layout.hierarchies]
    if layout.unified and layout.version != "v2":
        places.append(layout.unified)
    hierarchies = [h.at(path.removeprefix(h.root.rstrip("/"))) for h in places]
    kind = V2 if layout.version == "v2" else V1
    found = kind(hierarchies, rootless=user)
    found.scope = wanted
    found.addresses = [address]
    found.user = user
    found.description = f"kaa container {id}"
    found.resources = resources
    found.annotations = annotations
    found.systemd = systemd
    return found


def load(record: "dict[str, Any]", hierarchies: "list[Hierarchy]") -> _InScope:
    """The scope that `Cgroup.record` described."""
    kind = V2 if record["version"] == 2 else V1
    found = kind(
        hierarchies, rootless=record["rootless"], made=record["made"], denied=record["denied"]
    )
    about = record["systemd"]
    found.scope = Scope(about["slice"], about["unit"])
    found.addresses = about["addresses"]
    found.user = about["user"]
    return found
