"""User namespaces for id-mapped mounts, each held by a process until it was opened."""

from errno import EPERM

from kaa.compile.id_maps import mappings
from kaa.compile.inputs import NAMESPACES
from kaa.container.idmap import write_maps
from kaa.container.rootless import has_host_power
from kaa.errors import ConfigError
from kaa.program.init import Init
from kaa.program.program import Program

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kaa.caller import Caller
    from kaa.compile.id_maps import Maps
    from kaa.compile.inputs import Inputs


class Holders:
    """A process in a user namespace for each mapping; equal mappings share one.

    A context manager: inside it `inputs` has the namespaces' paths. Entering
    raises ConfigError for a mapping that cannot be made.
    """

    def __init__(self, caller: "Caller", inputs: "Inputs") -> None:
        self._caller = caller
        self._inputs = inputs
        self._held: list[tuple[Maps, Init]] = []

    def __enter__(self) -> None:
        try:
            self._make_all(self._caller, self._inputs)
        except BaseException:
            self._end()
            raise

    def __exit__(self, *_: object) -> None:
        self._end()

    def _make_all(self, caller: "Caller", inputs: "Inputs") -> None:
        for index, maps in mappings(inputs).items():
            pointer = f"/mounts/{index}"
            if not has_host_power(caller):
                raise ConfigError(
                    "only the machine's root may map the ids of a mount",
                    pointer=pointer,
                    errno=EPERM,
                    hint="without its power a file system of the host cannot be id-mapped",
                )
            if maps[0]:
                pid = self._holder(caller, maps, pointer).pid
                inputs.user_namespaces[index] = f"/proc/{pid}/ns/user"
            else:
                inputs.user_namespaces[index] = inputs.namespaces["user"]

    def _holder(self, caller: "Caller", maps: "Maps", pointer: str) -> Init:
        for made, init in self._held:
            if made == maps:
                return init
        init = Init.spawn(caller)
        self._held.append((maps, init))
        program = Program(init.slots)
        program.at(pointer, "make a user namespace for the mapping of the mount's ids")
        program.unshare(NAMESPACES["user"])
        init.run(program)
        write_maps(caller, init.pid, {"uidMappings": maps[0], "gidMappings": maps[1]}, pointer)
        return init

    def _end(self) -> None:
        while self._held:
            self._held.pop()[1].end()
