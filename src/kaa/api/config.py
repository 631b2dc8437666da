"""config.json, built and read: typed where it matters, and nothing lost of the rest."""

import copy
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from kaa.api.mounts import Mount, parse_size
from kaa.api.namespaces import Namespaces
from kaa.errors import ConfigError
from kaa.network.model import NETWORKS, ROUTES, Network, Route, dumps, networks_of, routes_of
from kaa.spec import default
from kaa.spec.load import load, parse
from kaa.spec.validate import validate

Json = dict[str, Any]

_CPU_PERIOD_US = 100_000
_CAPABILITY_SETS = ("bounding", "effective", "permitted")


class Config:
    """A container's configuration (config.md).

    `document` is the whole of it, in the form of config.json; the properties
    are views of its parts, and what they do not know stays as it is. Without a
    document it begins as the one of `kaa spec`, but without a terminal: new
    namespaces, three capabilities, a read-only root at "rootfs".
    """

    def __init__(self, document: Mapping[str, Any] | None = None) -> None:
        self.document: Json
        if document is None:
            self.document = default.document(os.geteuid() != 0, (os.geteuid(), os.getegid()))
            self.document["process"]["terminal"] = False
        else:
            self.document = copy.deepcopy(dict(document))

    # -- in and out ----------------------------------------------------------

    @classmethod
    def load(cls, bundle: str | os.PathLike[str]) -> "Config":
        """The validated config.json of a bundle. Raises ConfigError."""
        return cls(load(os.path.abspath(bundle)))

    @classmethod
    def parse(cls, text: str | bytes) -> "Config":
        """A validated configuration from JSON. Raises ConfigError."""
        return cls(parse(text.encode() if isinstance(text, str) else text))

    def validate(self) -> None:
        """Raise ConfigError, with the JSON pointer, for the first property that is wrong."""
        validate(copy.deepcopy(self.document))
        networks_of(self.annotations)
        routes_of(self.annotations)

    def dumps(self) -> str:
        """The validated document as JSON, indented. Raises ConfigError."""
        self.validate()
        return json.dumps(self.document, indent=2, ensure_ascii=False) + "\n"

    def save(self, bundle: str | os.PathLike[str]) -> None:
        """Write config.json into a directory, which becomes a bundle. Raises ConfigError."""
        text = self.dumps()
        (Path(bundle) / "config.json").write_text(text, encoding="utf-8")

    def copy(self) -> "Config":
        """Another one with the same contents."""
        return Config(self.document)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Config) and self.document == other.document

    __hash__ = None  # type: ignore[assignment]

    def _section(self, *names: str) -> Json:
        found = self.document
        for name in names:
            found = found.setdefault(name, {})
        return found

    # -- process -------------------------------------------------------------

    @property
    def args(self) -> list[str]:
        """The command. Assign any iterable of strings."""
        return list(self._section("process").get("args") or [])

    @args.setter
    def args(self, value: Iterable[str]) -> None:
        if isinstance(value, str):
            raise TypeError("args must be several strings, not one")
        self._section("process")["args"] = [os.fspath(item) for item in value]

    @property
    def env(self) -> dict[str, str]:
        """The environment: a copy. Assign a mapping; it replaces all there was."""
        entries = self._section("process").get("env") or []
        return {name: value for name, _, value in (entry.partition("=") for entry in entries)}

    @env.setter
    def env(self, value: Mapping[str, str]) -> None:
        self._section("process")["env"] = [f"{name}={text}" for name, text in value.items()]

    @property
    def cwd(self) -> str:
        """The working directory, absolute."""
        return str(self._section("process").get("cwd") or "/")

    @cwd.setter
    def cwd(self, value: str) -> None:
        self._section("process")["cwd"] = value

    @property
    def user(self) -> tuple[int, int]:
        """uid and gid in the container. Assign them, a uid alone, or "UID:GID"."""
        user = self._section("process").get("user") or {}
        return user.get("uid") or 0, user.get("gid") or 0

    @user.setter
    def user(self, value: int | str | tuple[int, int]) -> None:
        uid, gid = parse_user(value)
        self._section("process", "user").update(uid=uid, gid=gid)

    @property
    def terminal(self) -> bool:
        """Whether the process gets a terminal of its own."""
        return bool(self._section("process").get("terminal"))

    @terminal.setter
    def terminal(self, value: bool) -> None:
        self._section("process")["terminal"] = value

    @property
    def no_new_privileges(self) -> bool:
        """Whether set-id programs give nothing: prctl(2), PR_SET_NO_NEW_PRIVS."""
        return bool(self._section("process").get("noNewPrivileges"))

    @no_new_privileges.setter
    def no_new_privileges(self, value: bool) -> None:
        self._section("process")["noNewPrivileges"] = value

    @property
    def capabilities(self) -> frozenset[str]:
        """The effective capabilities. Assigning sets the bounding and permitted ones as well."""
        sets = self._section("process").get("capabilities") or {}
        return frozenset(sets.get("effective") or ())

    @capabilities.setter
    def capabilities(self, value: Iterable[str]) -> None:
        names = sorted(set(value))
        self._section("process")["capabilities"] = {key: list(names) for key in _CAPABILITY_SETS}

    @property
    def rlimits(self) -> dict[str, tuple[int, int]]:
        """Name to soft and hard limit, getrlimit(2). Assign a mapping; it replaces them all."""
        entries = self._section("process").get("rlimits") or []
        return {entry["type"]: (entry["soft"], entry["hard"]) for entry in entries}

    @rlimits.setter
    def rlimits(self, value: Mapping[str, tuple[int, int]]) -> None:
        self._section("process")["rlimits"] = [
            {"type": name, "soft": soft, "hard": hard} for name, (soft, hard) in value.items()
        ]

    # -- what it sees --------------------------------------------------------

    @property
    def hostname(self) -> str:
        """The host name in its UTS namespace."""
        return self.document.get("hostname") or ""

    @hostname.setter
    def hostname(self, value: str) -> None:
        self.document["hostname"] = value

    @property
    def rootfs(self) -> str:
        """The root directory: absolute, or relative to the bundle."""
        return self._section("root").get("path") or ""

    @rootfs.setter
    def rootfs(self, value: str | os.PathLike[str]) -> None:
        self._section("root")["path"] = os.fspath(value)

    @property
    def read_only(self) -> bool:
        """Whether the root is read-only (what is mounted in it has its own options)."""
        return bool(self._section("root").get("readonly"))

    @read_only.setter
    def read_only(self, value: bool) -> None:
        self._section("root")["readonly"] = value

    @property
    def mounts(self) -> tuple[Mount, ...]:
        """The mounts in their order. Assign an iterable; it replaces them all."""
        return tuple(Mount.from_json(entry) for entry in self.document.get("mounts") or [])

    @mounts.setter
    def mounts(self, value: Iterable[Mount]) -> None:
        self.document["mounts"] = [mount.to_json() for mount in value]

    def add_mount(self, mount: Mount | Mapping[str, Any]) -> None:
        """Mount this too, after all the others."""
        entry = mount.to_json() if isinstance(mount, Mount) else dict(mount)
        self.document.setdefault("mounts", []).append(entry)

    @property
    def namespaces(self) -> Namespaces:
        """The namespaces: a view, whose changes are made here."""
        return Namespaces(self._section("linux").setdefault("namespaces", []))

    def map_ids(self, container: int, host: int, size: int) -> None:
        """A new user namespace, or one more mapping for it, of uids and gids alike."""
        self.namespaces.add("user")
        entry = {"containerID": container, "hostID": host, "size": size}
        for name in ("uidMappings", "gidMappings"):
            self._section("linux").setdefault(name, []).append(dict(entry))

    # -- limits --------------------------------------------------------------

    @property
    def resources(self) -> Json:
        """linux.resources itself: what `set_limits` knows no word for can be put there."""
        return self._section("linux", "resources")

    def set_limits(
        self,
        *,
        memory: int | str | None = None,
        pids: int | None = None,
        cpus: float | None = None,
    ) -> None:
        """Limit memory (bytes, or "64M"), the number of processes, and processors (0.5: half).

        What is None stays as it is.
        """
        for section, value in limits(memory=memory, pids=pids, cpus=cpus).items():
            self.resources.setdefault(section, {}).update(value)

    @property
    def seccomp(self) -> Json | None:
        """linux.seccomp, or None."""
        return self._section("linux").get("seccomp")

    @seccomp.setter
    def seccomp(self, value: Mapping[str, Any] | None) -> None:
        if value is None:
            self._section("linux").pop("seccomp", None)
        else:
            self._section("linux")["seccomp"] = copy.deepcopy(dict(value))

    # -- annotations, networks, hooks ---------------------------------------

    @property
    def annotations(self) -> dict[str, str]:
        """The annotations themselves."""
        return self._section("annotations")

    @property
    def networks(self) -> list[Network]:
        """The interfaces that kaa makes for the container. Assign an iterable."""
        return networks_of(self.annotations)

    @networks.setter
    def networks(self, value: Iterable[Network]) -> None:
        self._annotate(NETWORKS, list(value))

    @property
    def routes(self) -> list[Route]:
        """The routes that kaa adds in the container. Assign an iterable."""
        return routes_of(self.annotations)

    @routes.setter
    def routes(self, value: Iterable[Route]) -> None:
        self._annotate(ROUTES, list(value))

    def _annotate(self, key: str, items: list[Network] | list[Route]) -> None:
        if items:
            self.annotations[key] = dumps(items)
        else:
            self.annotations.pop(key, None)

    def add_hook(
        self,
        kind: str,
        path: str,
        *args: str,
        env: Mapping[str, str] | None = None,
        timeout: int | None = None,
    ) -> None:
        """Run a program at `kind` ("createRuntime", "poststop", ...): config.md, hooks.

        `path` is absolute; `args` come after the program's own name; `timeout` is in seconds.
        """
        entry: Json = {"path": path, "args": [path.rpartition("/")[2], *args]}
        if env:
            entry["env"] = [f"{name}={text}" for name, text in env.items()]
        if timeout is not None:
            entry["timeout"] = timeout
        self._section("hooks").setdefault(kind, []).append(entry)


def limits(
    *, memory: int | str | None = None, pids: int | None = None, cpus: float | None = None
) -> Json:
    """linux.resources with these limits: see `Config.set_limits`. Raises ConfigError."""
    found: Json = {}
    if memory is not None:
        found["memory"] = {"limit": parse_size(memory)}
    if pids is not None:
        found["pids"] = {"limit": pids}
    if cpus is not None:
        if not cpus > 0:
            raise ConfigError(f"cpus must be more than 0, not {cpus}")
        quota = max(1000, round(cpus * _CPU_PERIOD_US))  # the kernel takes no less
        found["cpu"] = {"quota": quota, "period": _CPU_PERIOD_US}
    return found


def parse_user(value: int | str | tuple[int, int]) -> tuple[int, int]:
    """uid and gid; a uid alone is the gid too.

    Names are refused: whose /etc/passwd should they be looked up in?
    """
    if isinstance(value, tuple):
        return value
    if isinstance(value, int):
        return value, value
    uid, colon, gid = value.partition(":")
    if not uid.isdecimal() or (colon and not gid.isdecimal()):
        raise ConfigError(
            f'user "{value}": ids must be numbers', hint='1000, "1000:100" or (1000, 100)'
        )
    return int(uid), int(gid or uid)
