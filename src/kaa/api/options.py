"""What `kaa.run` and `kaa.Popen` take, made into a configuration."""

import os
import secrets
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypedDict

from kaa import codec
from kaa.api.config import Config
from kaa.api.launching import scratch_root
from kaa.api.mounts import Mount
from kaa.api.profile import default_seccomp
from kaa.errors import ConfigError
from kaa.network.model import Network, Route
from kaa.spec.load import parse

if TYPE_CHECKING:
    from kaa.api.runtime import Runtime

_NOBODY = 65534
# of the host's root these are replaced: sockets, other people's files, locks
_PRIVATE = (("/tmp", 0o1777), ("/var/tmp", 0o1777), ("/run", 0o755))  # noqa: S108

Path = str | os.PathLike[str]


class ContainerOptions(TypedDict, total=False):
    """Which container, and what it may do. All of it is optional.

    Where its root comes from (one of the first three; none means the file
    system of this machine, its "/"):

    - `rootfs`: a directory. `bundle`: one with a config.json. `config`: a `Config`.
    - `throw_away`: the root is a layer in memory over that directory: the
      container may write, and nothing of it stays. Default: True, except with
      a `bundle` or `config`. Needs root.
    - `read_only`: default: False if thrown away, else True.

    What runs in it:

    - `env`: the environment; PATH is added. Nothing of ours is passed on.
    - `cwd`: default "/". `user`: a uid, "UID:GID" or (uid, gid); default: 65534
      (nobody) in the file system of this machine, else 0.
    - `hostname`; `mounts`: `Mount`s, or entries like those of config.json.

    What it may use:

    - `memory`: bytes, or "64M". `pids`: processes and threads. `cpus`: 0.5 is half of one.
    - `network`: "none" (default), "host", a `Network` or several; `routes`.
    - `seccomp`: True (default) for a filter that refuses what only
      administrators and attackers call, False for none, or one like linux.seccomp.

    With a `bundle` or a `config`, an option that is absent leaves alone what that says.

    And: `id`, made up if absent; `runtime`, a `Runtime`.
    """

    id: str
    runtime: "Runtime"
    config: Config
    bundle: Path
    rootfs: Path
    throw_away: bool
    read_only: bool
    cwd: str
    env: Mapping[str, str]
    user: int | str | tuple[int, int]
    hostname: str
    network: str | Network | Sequence[Network]
    routes: Sequence[Route]
    mounts: Sequence[Mount | Mapping[str, Any]]
    memory: int | str
    pids: int
    cpus: float
    seccomp: bool | Mapping[str, Any]


class Plan:
    """A container as it will be started: `document` is validated; `lower` as for `bring_up`.

    Raises ConfigError, before anything was made.
    """

    def __init__(self, args: Sequence[str] | None, options: ContainerOptions) -> None:
        from kaa.api.runtime import Runtime

        unknown = set(options) - set(ContainerOptions.__annotations__)
        if unknown:
            raise TypeError(f"there is no option {sorted(unknown)[0]!r}")
        self.runtime = options.get("runtime") or Runtime()
        self.id = options.get("id") or f"kaa-{os.getpid()}-{secrets.token_hex(6)}"
        self.bundle = "/"
        self.lower = ""
        config = self._base(options)
        if args is not None:
            config.args = args
        _process(config, options)
        _limits(config, options)
        _network(config, options)
        for mount in options.get("mounts") or ():
            config.add_mount(mount)
        if config.terminal:
            raise ConfigError(
                "nobody would be at the terminal's other end",
                pointer="/process/terminal",
                hint="set it to false, or use Runtime.create",
            )
        self.args = config.args
        self.document = parse(codec.dumps(config.document))

    def _base(self, options: ContainerOptions) -> Config:
        given = [name for name in ("config", "bundle", "rootfs") if name in options]
        if len(given) > 1:
            raise TypeError(f"{given[0]} and {given[1]} exclude each other")
        if "config" in options:
            config = options["config"].copy()
            self.bundle = os.getcwd()
        elif "bundle" in options:
            self.bundle = os.path.abspath(options["bundle"])
            config = Config.load(self.bundle)
        else:
            config = self._new(options)
        throw_away = options.get("throw_away", not {"config", "bundle"} & set(given))
        if not given and not throw_away:
            raise ConfigError("the file system of this machine itself cannot be a container's root")
        if throw_away:
            self.lower = os.path.join(self.bundle, config.rootfs)
            config.rootfs = scratch_root(self.runtime.root)
        if "read_only" in options:
            config.read_only = options["read_only"]
        elif throw_away:
            config.read_only = False
        return config

    def _new(self, options: ContainerOptions) -> Config:
        config = Config()
        config.namespaces.add("network")
        config.seccomp = default_seccomp()
        if "rootfs" in options:
            config.rootfs = os.path.abspath(options["rootfs"])
            return config
        config.rootfs = "/"
        config.user = _NOBODY
        config.capabilities = ()
        config.env = {**config.env, "HOME": "/tmp"}  # noqa: S108
        for directory, mode in _PRIVATE:
            config.add_mount(Mount.tmpfs(directory, mode=mode))
        return config


def _process(config: Config, options: ContainerOptions) -> None:
    if "env" in options:
        path = {"PATH": config.env["PATH"]} if "PATH" in config.env else {}
        home = {"HOME": config.env["HOME"]} if "HOME" in config.env else {}
        config.env = {**path, **home, **options["env"]}
    if "cwd" in options:
        config.cwd = options["cwd"]
    if "user" in options:
        config.user = options["user"]
    if "hostname" in options:
        config.hostname = options["hostname"]


def _limits(config: Config, options: ContainerOptions) -> None:
    config.set_limits(
        memory=options.get("memory"), pids=options.get("pids"), cpus=options.get("cpus")
    )
    seccomp = options.get("seccomp")
    if seccomp is None:
        return
    if isinstance(seccomp, Mapping):
        config.seccomp = dict(seccomp)
    else:
        config.seccomp = default_seccomp() if seccomp else None


def _network(config: Config, options: ContainerOptions) -> None:
    network = options.get("network")
    if network == "host":
        config.namespaces.remove("network")
    elif network is not None:
        config.namespaces.add("network")
        if isinstance(network, Network):
            config.networks = [network]
        elif isinstance(network, str):
            if network != "none":
                raise ConfigError(f'network must be "none", "host" or a Network, not "{network}"')
        else:
            config.networks = network
    if "routes" in options:
        config.routes = options["routes"]
