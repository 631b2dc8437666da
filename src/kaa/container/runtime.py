"""The runtime: where its containers are recorded, for whom it acts, and with which choices."""

from kaa.container.rootless import has_host_power

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from kaa.caller import Caller


class Runtime:
    """Passed to every operation.

    `root` is the absolute directory of the state. `rootless` is True or False
    when the user said so, None to find out. `warn` takes a sentence that is
    worth saying and no reason to stop. `no_cgroup` means that kaa makes none.
    """

    __slots__ = ("caller", "no_cgroup", "root", "rootless", "systemd_cgroup", "warn")

    def __init__(
        self,
        root: str,
        caller: "Caller",
        *,
        systemd_cgroup: bool = False,
        rootless: bool | None = None,
        warn: "Callable[[str], None]" = lambda message: None,
        no_cgroup: bool = False,
    ) -> None:
        self.root = root
        self.caller = caller
        self.systemd_cgroup = systemd_cgroup
        self.rootless = rootless
        self.warn = warn
        self.no_cgroup = no_cgroup

    @property
    def is_rootless(self) -> bool:
        """Whether cgroup permission errors are to be expected."""
        return not has_host_power(self.caller) if self.rootless is None else self.rootless
