"""What all backends share: making, entering, limiting, killing and removing cgroups.

Order of use: `record` (to disk), `create`, `record` again, `attach`, `apply`,
`attach_last`; later anything; at the end `delete`. Every error is a CgroupError.
"""

import posix
from _signal import SIGKILL
from errno import EACCES, EBUSY, EINVAL, ENOENT, EPERM, EROFS
from time import monotonic, sleep

from kaa.caller import normpath
from kaa.cgroups import files
from kaa.cgroups.files import failure
from kaa.errors import CgroupError, strerror

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from kaa.cgroups.conversions import Json, Setting
    from kaa.cgroups.layout import Hierarchy
    from kaa.compile.inputs import CgroupView
    from kaa.program.program import Program

_DENIED = (EACCES, EPERM, EROFS)
_DELETE_S = 2.0
_KILL_S = 1.0


class Cgroup:
    """The cgroups of one container.

    `hierarchies` are the places that are in use (each with its `dir`);
    `denied` says for each controller we were not allowed to use (rootless) why not.
    `made` lists the directories that `create` made, parents first; None before `create`.
    """

    version = 0
    late: tuple[str, ...] = ()

    def __init__(
        self,
        hierarchies: "list[Hierarchy]",
        *,
        rootless: bool,
        made: list[str] | None = None,
        denied: dict[str, str] | None = None,
    ) -> None:
        self.hierarchies = hierarchies
        self.rootless = rootless
        self.made = made
        self.denied = denied or {}

    # -- what a backend supplies -------------------------------------------

    def settings(self, resources: "Json", *, update: bool) -> "list[Setting]":
        """The files to write for linux.resources, in order."""
        raise NotImplementedError

    def view(self) -> "CgroupView":
        """Where the cgroups are, for a mount of type ``cgroup``."""
        raise NotImplementedError

    def freeze(self, timeout_s: float = 10.0) -> None:
        """Stop every process until `thaw`; on failure none is stopped."""
        raise NotImplementedError

    def thaw(self) -> None:
        """Undo `freeze`."""
        raise NotImplementedError

    def frozen(self) -> bool:
        """All processes are stopped, by us or by someone who froze a parent."""
        raise NotImplementedError

    def oom_kills(self) -> int:
        """How many processes the OOM killer has killed in here; 0 if nobody counts."""
        raise NotImplementedError

    def stats(self) -> "Json":
        """The `data` of a `runc events --stats` line."""
        raise NotImplementedError

    def ignored(self, resources: "Json") -> list[tuple[str, str]]:
        """(JSON pointer, why) of what is asked for and has no effect, for a warning."""
        raise NotImplementedError

    def file_path(self, file: str) -> str:
        """Where a file like "memory.max" is; "" if its controller is not mounted."""
        raise NotImplementedError

    def _main(self) -> "Hierarchy | None":
        """The hierarchy whose list of processes is asked for."""
        raise NotImplementedError

    def _before_child(self, hierarchy: "Hierarchy", parent: str) -> None:
        """A cgroup is about to be made in `parent`."""

    def _after_make(self, hierarchy: "Hierarchy", path: str) -> None:
        """`path`, the container's cgroup or one above it, exists now; may raise OSError."""

    def _instead(self, file: str, value: str) -> "tuple[str, str] | None":
        """Another file (and the value for it) where this kernel has no `file`."""
        return None

    def why_missing(self, controller: str) -> str:
        """Why the container's cgroup has no file of a controller."""
        raise NotImplementedError

    def _kill_at_once(self) -> bool:
        """Have the kernel kill everyone; False if that cannot be done (completely)."""
        raise NotImplementedError

    def device_ops(self, program: "Program", resources: "Json") -> None:
        """Append what limits access to devices, where that takes system calls (v2).

        The program runs on the host's side, after `attach` or before; not at all for an update.
        """

    def delegate(self, uid: int) -> None:
        """Give the cgroup to a host uid, as far as the kernel says that is safe (v2)."""

    # -- making ------------------------------------------------------------

    def record(self) -> "dict[str, Any]":
        """This object as JSON. Write it before `create`, so that nothing is ever unaccounted
        for, and again after it: until then `kill_all` holds the processes to be others'."""
        return {
            "version": self.version,
            "rootless": self.rootless,
            "hierarchies": [
                {
                    "controllers": list(h.controllers),
                    "mountpoint": h.mountpoint,
                    "root": h.root,
                    "noprefix": h.noprefix,
                    "dir": h.dir,
                }
                for h in self.hierarchies
            ],
            "made": self.made,
            "denied": self.denied,
        }

    def paths(self) -> dict[str, str]:
        """Controller -> directory ("" for the v2 hierarchy), as in runc's state."""
        return {name: h.dir for h in self.hierarchies for name in h.controllers or ("",)}

    def create(self) -> None:
        """Make the directories (0755). A cgroup that is in use already is refused.

        After an error nothing is left that was not there before.
        """
        made: list[str] = []
        self.made = made
        reused: list[str] = []
        try:
            for hierarchy in list(self.hierarchies):
                try:
                    self._make(hierarchy, made)
                except OSError as error:
                    self._lost(hierarchy, error, "create cgroup")
                    continue
                if hierarchy.dir not in made:
                    reused.append(hierarchy.dir)
            self._refuse_used(reused)
        except BaseException:
            self._remove_made()
            self.hierarchies = []  # what is still there is others': not ours to kill or remove
            raise

    def _make(self, hierarchy: "Hierarchy", made: list[str]) -> None:
        for tries_left in reversed(range(16)):
            try:
                self._make_chain(hierarchy, made)
                return
            except OSError as error:
                if error.errno not in files.GONE or not tries_left:
                    raise
                # a neighbour has just removed a parent that it had made: begin again

    def _make_chain(self, hierarchy: "Hierarchy", made: list[str]) -> None:
        here = hierarchy.mountpoint
        for part in hierarchy.dir[len(here) + 1 :].split("/"):
            self._before_child(hierarchy, here)
            here = f"{here}/{part}"
            try:
                posix.mkdir(here, 0o755)
            except FileExistsError:
                pass
            else:
                if here not in made:
                    made.append(here)
                posix.chmod(here, 0o755)  # whatever the caller's umask is
            self._after_make(hierarchy, here)

    def _refuse_used(self, reused: list[str]) -> None:
        try:
            found = {pid for path in reused for pid in files.pids(path)}
        except OSError as error:
            raise failure(error, "list the processes of cgroup", reused[0]) from None
        if found:
            raise CgroupError(
                f"container's cgroup is not empty: {len(found)} process(es) found",
                pointer="/linux/cgroupsPath",
                path=reused[0],
            )
        if self.frozen():
            raise CgroupError(
                "container's cgroup unexpectedly frozen",
                pointer="/linux/cgroupsPath",
                path=self.hierarchies[0].dir,
                hint="a process put there would never run; thaw it, or its parent, first",
            )

    def _lost(self, hierarchy: "Hierarchy", error: OSError, doing: str) -> None:
        """Go on without a hierarchy we have no permission for, if that is tolerable."""
        path = error.filename or hierarchy.dir
        if error.errno not in _DENIED or not self._dispensable(hierarchy):
            from kaa.cgroups.hints import hint_for_directory

            raise failure(
                error, doing, path, hint=hint_for_directory(hierarchy, error.errno or 0)
            ) from None
        self.hierarchies.remove(hierarchy)
        for name in hierarchy.controllers or ("",):
            self.denied[name] = f"{doing} {path}: {strerror(error.errno or 0)}"

    def _dispensable(self, hierarchy: "Hierarchy") -> bool:
        return self.rootless

    # -- entering ------------------------------------------------------------

    def attach(self, pid: int) -> None:
        """Put a process in, except where it must not be before the limits are set."""
        for hierarchy in list(self.hierarchies):
            if not self._is_late(hierarchy):
                self._enter(hierarchy, pid)

    def enter_ops(self, program: "Program") -> bool:
        """Append ops by which the process that runs them enters, instead of `attach`.

        False if that cannot be done so, and nothing was appended. On v1 a move takes
        long (it waits for all processors): kaa-init can wait while we go on.
        """
        return False

    def attach_last(self, pid: int) -> None:
        """Put it in where `attach` did not: what it did until now is charged to nobody here."""
        for controller in self.late:
            for hierarchy in list(self.hierarchies):
                if controller in hierarchy.controllers:
                    self._enter(hierarchy, pid)

    def _is_late(self, hierarchy: "Hierarchy") -> bool:
        return any(name in self.late for name in hierarchy.controllers)

    def _enter(self, hierarchy: "Hierarchy", pid: int) -> None:
        path = f"{hierarchy.dir}/cgroup.procs"
        try:
            files.write(path, str(pid))
        except OSError as error:
            self._lost(hierarchy, error, f"move process {pid} into cgroup")

    def join(self, pid: int, *, sub: dict[str, str] | None = None, init: int = 0) -> None:
        """Put one more process of the container (`exec`) in, everywhere.

        `sub` names cgroups below the container's, by controller ("" = every one):
        they must exist; ``..`` does not lead out. Where the container itself has
        turned its cgroup into an inner one that may hold no processes (v2), the
        process goes where `init` is.
        """
        sub = sub or {}
        for name in sub:
            if name and name not in self.paths():
                raise CgroupError(f"the container has no cgroup of a controller {name!r}")
        late = [h for c in self.late for h in self.hierarchies if c in h.controllers]
        for hierarchy in [h for h in self.hierarchies if h not in late] + late:
            names = [name for name in hierarchy.controllers if name in sub]
            below = normpath("/" + sub.get(names[0] if names else "", "")).rstrip("/")
            try:
                self._move(hierarchy, below, pid)
            except OSError as error:
                if error.errno == EBUSY and not below and self._join_init(hierarchy, pid, init):
                    continue
                path = f"{hierarchy.dir}{below}/cgroup.procs"
                raise failure(error, f"move process {pid} into cgroup", path) from None

    def _move(self, hierarchy: "Hierarchy", below: str, pid: int) -> None:
        """Put a process into the cgroup, or the one `below` ("/sub") it. Raises OSError."""
        files.write(f"{hierarchy.dir}{below}/cgroup.procs", str(pid))

    def _join_init(self, hierarchy: "Hierarchy", pid: int, init: int) -> bool:
        text = files.read_or(f"/proc/{init}/cgroup")
        for line in text.split("\n"):
            if line.startswith("0::"):
                root = hierarchy.root.rstrip("/")
                path = hierarchy.mountpoint + line[3:].removeprefix(root)
                if path.startswith(f"{hierarchy.dir}/") and "/../" not in f"{path}/":
                    try:
                        self._move(hierarchy, path[len(hierarchy.dir) :], pid)
                    except OSError:
                        return False
                    return True
        return False

    # -- limits ----------------------------------------------------------------

    def apply(self, resources: "Json", *, update: bool = False) -> None:
        """Write linux.resources. `update` says that the container runs, and that what is
        absent shall stay as it is (device rules always do).

        Raises a CgroupError that names the property. After a failed update what was
        changed before is put back, as far as one value can be put back for another.
        """
        settings = self.settings(resources, update=update)
        before = [(s[0], files.read_or(self.file_path(s[0]))) for s in settings] if update else []
        try:
            self._write_all(settings)
        except CgroupError:
            self._put_back(before)
            raise

    def _put_back(self, before: list[tuple[str, str]]) -> None:
        # twice: a value may only be possible again after one that comes later
        for file, value in before + before[::-1]:
            if value and "\n" not in value and ":" not in value:
                try:
                    files.write(self.file_path(file), value)
                except OSError:
                    continue  # the error to report is the one that brought us here

    def _write_all(self, settings: "list[Setting]") -> None:
        # Memory and swap, quota and period and burst: the kernel refuses a value that
        # does not go with the *present* other one, and which must be first depends on
        # whether limits rise or fall. So what is refused is tried again after the rest.
        pending = settings
        while pending:
            refused: list[tuple[Setting, OSError]] = []
            for setting in pending:
                try:
                    self._set(setting)
                except OSError as error:
                    if error.errno != EINVAL:
                        raise self._refusal(setting, error) from None
                    refused.append((setting, error))
            if len(refused) == len(pending):
                raise self._refusal(*refused[0]) from None
            pending = [setting for setting, _ in refused]

    def _set(self, setting: "Setting") -> None:
        file, value, _ = setting
        path = self.file_path(file)
        try:
            if not path:
                raise FileNotFoundError(ENOENT, strerror(ENOENT), file)
            files.write(path, value)
        except FileNotFoundError:
            other = self._instead(file, value)
            if other:
                files.write(self.file_path(other[0]), other[1])
            elif not _may_be_missing(file, value):
                raise

    def _refusal(self, setting: "Setting", error: OSError) -> CgroupError:
        from kaa.cgroups.hints import hint_for_setting

        file, value, pointer = setting
        path = self.file_path(file) or file
        return failure(
            error,
            f"write {value!r} to",
            path,
            pointer=pointer,
            hint=hint_for_setting(self, setting, error.errno or 0),
        )

    # -- processes ---------------------------------------------------------------

    def pids(self, recursive: bool = True) -> list[int]:
        """The processes in the cgroup, and in those below it."""
        main = self._main()
        if main is None:
            return []
        try:
            return files.pids(main.dir, recursive=recursive)
        except OSError as error:
            raise failure(error, "list the processes of", main.dir) from None

    def kill_all(self, signal: int = SIGKILL) -> None:
        """Signal every process, also those that are being forked meanwhile.

        With SIGKILL a frozen cgroup is thawed where its processes could not die otherwise.
        """
        if self.made is None or (signal == SIGKILL and self._kill_at_once()):
            return
        paused = self.frozen()
        try:
            if not paused:
                self.freeze(_KILL_S)
        except CgroupError:
            self._chase(signal)
            return
        try:
            self._signal(self.pids(), signal)
        finally:
            if signal == SIGKILL or not paused:
                self._thaw_quietly()

    def _thaw_quietly(self) -> None:
        """Let killed processes die; whoever has frozen a parent decides about that one."""
        try:
            self.thaw()
        except CgroupError:
            pass

    def _chase(self, signal: int) -> None:
        """Without a freezer: signal until nobody new turns up, or nobody is left to kill."""
        deadline = monotonic() + _KILL_S
        done: set[int] = set()
        while monotonic() < deadline:
            found = self.pids()
            fresh = found if signal == SIGKILL else [pid for pid in found if pid not in done]
            if not fresh:
                return
            self._signal(fresh, signal)
            done.update(fresh)

    def _signal(self, pids: list[int], signal: int) -> None:
        from kaa.cgroups.processes import signal_all

        signal_all(pids, signal, self.pids)

    # -- the end -----------------------------------------------------------------

    def delete(self) -> None:
        """Remove the cgroups, with all below them; up to two seconds for dying processes.

        Before `create` (its crash is being cleaned up) only what is empty is removed.
        """
        if self.made is None:
            self.made = [hierarchy.dir for hierarchy in self.hierarchies]
            self._remove_made()
            return
        deadline = monotonic() + _DELETE_S
        pause = 0.0005
        for hierarchy in self.hierarchies:
            while True:
                try:
                    if files.remove(hierarchy.dir):
                        break
                except OSError as error:
                    raise failure(error, "remove cgroup", hierarchy.dir) from None
                if monotonic() > deadline:
                    raise self._busy(hierarchy.dir)
                sleep(pause)
                pause = min(pause * 2, 0.1)
        self._remove_made()

    def _busy(self, path: str) -> CgroupError:
        left = files.pids(path)
        names = ", ".join(str(pid) for pid in left[:8])
        return CgroupError(
            f"remove cgroup {path}: {strerror(EBUSY)}: {len(left)} process(es) in it: {names}",
            path=path,
            errno=EBUSY,
        )

    def _remove_made(self) -> None:
        """Remove what `create` made as far as nobody else uses it by now."""
        for path in reversed(self.made or []):
            try:
                posix.rmdir(path)
            except OSError:
                continue  # gone, or a neighbour's cgroup is in it: then it is the neighbour's


def _may_be_missing(file: str, value: str) -> bool:
    """Files that some kernels lack and whose absence means what the value says."""
    if ".rsvd." in file:
        return True  # the limit on pages in use is written as well
    if file in ("cpu.idle", "cpu.max.burst", "cpu.cfs_burst_us", "memory.swap.max"):
        return value in ("0", "max")
    return file == "memory.memsw.limit_in_bytes" and value == "-1"
