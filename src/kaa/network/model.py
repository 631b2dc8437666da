"""Networks and routes as data, and their form in the annotations of config.json.

config.json has no place for a veth pair, so they travel as two annotations
whose values are JSON (docs/library.md, "Networks"):

    "run.kaa.networks": "[{\"name\": \"eth0\", \"bridge\": \"br0\", ...}]"
    "run.kaa.routes":   "[{\"destination\": \"10.1.0.0/16\", ...}]"
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any, TypeVar

from kaa.errors import ConfigError

NETWORKS = "run.kaa.networks"
ROUTES = "run.kaa.routes"

_NAME_MAX = 15  # bytes: IFNAMSIZ without its NUL, <linux/if.h>
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}\Z", re.IGNORECASE)
_KINDS = ("veth", "loopback")


@dataclass(frozen=True, kw_only=True)
class Network:
    """One interface of a container.

    A ``veth`` is a pair: `name` is the end in the container, `host_name` the
    one on the host (made up if empty), which becomes a port of `bridge` if
    that is given. `addresses` are written with their prefix ("10.0.0.2/24",
    "fd00::2/64"), `gateways` (at most one for IPv4 and one for IPv6) without.
    `mtu` is in bytes and for both ends; 0 leaves the kernel's. `mac` is the
    container's end's. `tx_queue_length` is in packets; `hairpin` lets the
    bridge send a frame back through the port that it came from.

    ``loopback`` is "lo", which every container with a network namespace of its
    own has; name it to give it more addresses.

    Raises ConfigError for what makes no sense.
    """

    name: str = "eth0"
    kind: str = "veth"
    bridge: str = ""
    host_name: str = ""
    addresses: tuple[str, ...] = ()
    gateways: tuple[str, ...] = ()
    mtu: int = 0
    mac: str = ""
    tx_queue_length: int = 0
    hairpin: bool = False

    def __post_init__(self) -> None:
        _check_types(self)
        if self.kind not in _KINDS:
            raise ConfigError(f'kind must be one of {", ".join(_KINDS)}, not "{self.kind}"')
        if self.kind == "loopback":
            self._check_loopback()
        for what in ("name", "bridge", "host_name"):
            _check_name(what, getattr(self, what), empty=what != "name")
        for address in self.addresses:
            _parse("addresses", address, ip_interface)
        versions = [_parse("gateways", gateway, ip_address).version for gateway in self.gateways]
        if len(set(versions)) != len(versions):
            raise ConfigError("gateways: at most one for IPv4 and one for IPv6")
        if self.mtu and not 68 <= self.mtu <= 65535:
            raise ConfigError(f"mtu must be from 68 to 65535, not {self.mtu}")
        if not 0 <= self.tx_queue_length < 2**31:
            raise ConfigError(f"txQueueLength must not be {self.tx_queue_length}")
        if self.mac and (not _MAC.match(self.mac) or int(self.mac[:2], 16) & 1):
            raise ConfigError(f'mac must be one such as 02:00:00:00:00:01, not "{self.mac}"')
        if self.hairpin and not self.bridge:
            raise ConfigError("hairpin is a mode of a bridge's port, and there is no bridge")

    def _check_loopback(self) -> None:
        if self.name not in ("eth0", "lo"):
            raise ConfigError(f'the loopback interface is called lo, not "{self.name}"')
        object.__setattr__(self, "name", "lo")
        plain = Network.__dataclass_fields__
        for what in ("bridge", "host_name", "gateways", "mac", "tx_queue_length"):
            if getattr(self, what) != plain[what].default:
                raise ConfigError(f"{_camel(what)} has no meaning for a loopback interface")

    def to_json(self) -> dict[str, Any]:
        """The entry in the annotation; what has its default is left out."""
        return _to_json(self)

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> "Network":
        """The reverse of `to_json`. Raises ConfigError."""
        return _from_json(cls, entry)


@dataclass(frozen=True, kw_only=True)
class Route:
    """One entry of a container's routing table.

    `destination` is a network ("10.1.0.0/16") or "default", which needs a
    gateway or an interface that says which family it is of. `gateway` and
    `source` are addresses, `interface` is a name in the container.
    Raises ConfigError for what makes no sense.
    """

    destination: str = "default"
    gateway: str = ""
    source: str = ""
    interface: str = ""

    def __post_init__(self) -> None:
        _check_types(self)
        given = [
            _parse(what, text, ip_address).version
            for what, text in (("gateway", self.gateway), ("source", self.source))
            if text
        ]
        if self.destination != "default":
            given.append(_parse("destination", self.destination, ip_network).version)
        if len(set(given)) > 1:
            raise ConfigError("a route cannot be of IPv4 and of IPv6")
        _check_name("interface", self.interface, empty=True)
        if not self.gateway and not self.interface:
            raise ConfigError("a route needs a gateway or an interface")

    @property
    def is_ipv6(self) -> bool:
        """The family, as the addresses say; IPv4 if there are none."""
        texts = (self.gateway, self.source, self.destination)
        return any(":" in text for text in texts)

    def to_json(self) -> dict[str, Any]:
        """The entry in the annotation; what has its default is left out."""
        return _to_json(self)

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> "Route":
        """The reverse of `to_json`. Raises ConfigError."""
        return _from_json(cls, entry)


Item = TypeVar("Item", Network, Route)


def networks_of(annotations: Mapping[str, str]) -> list[Network]:
    """The networks that the annotations ask for. Raises ConfigError."""
    return _items(annotations, NETWORKS, Network.from_json)


def routes_of(annotations: Mapping[str, str]) -> list[Route]:
    """The routes that the annotations ask for. Raises ConfigError."""
    return _items(annotations, ROUTES, Route.from_json)


def dumps(items: list[Network] | list[Route]) -> str:
    """The value of an annotation."""
    return json.dumps([item.to_json() for item in items])


def _items(
    annotations: Mapping[str, str], key: str, make: Callable[[Mapping[str, Any]], Item]
) -> list[Item]:
    pointer = f"/annotations/{key}"
    text = annotations.get(key)
    if not text:
        return []
    try:
        entries = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"is not JSON: {error}", pointer=pointer) from None
    if not isinstance(entries, list):
        raise ConfigError("must be a JSON array of objects", pointer=pointer)
    found = []
    for index, entry in enumerate(entries):
        try:
            if not isinstance(entry, dict):
                raise ConfigError("must be an object")
            found.append(make(entry))
        except ConfigError as error:
            raise ConfigError(f"entry {index}: {error.message}", pointer=pointer) from None
    return found


def _to_json(item: "Network | Route") -> dict[str, Any]:
    found = {}
    for field in fields(item):
        value = getattr(item, field.name)
        if value != field.default:
            found[_camel(field.name)] = list(value) if isinstance(value, tuple) else value
    return found


def _from_json(cls: type[Item], entry: Mapping[str, Any]) -> Item:
    known = {_camel(field.name): field.name for field in fields(cls)}
    unknown = sorted(set(entry) - set(known))
    if unknown:
        # unlike in config.json nobody else's extensions can be meant
        raise ConfigError(f"unknown property {json.dumps(unknown[0])}")
    values: dict[str, Any] = {
        known[key]: tuple(value) if isinstance(value, list) else value
        for key, value in entry.items()
    }
    return cls(**values)


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)


def _check_types(item: "Network | Route") -> None:
    for field in fields(item):
        value, wanted = getattr(item, field.name), type(field.default)
        if wanted is tuple:
            if isinstance(value, list):
                value = tuple(value)
                object.__setattr__(item, field.name, value)
            right = isinstance(value, tuple) and all(isinstance(text, str) for text in value)
        else:
            right = type(value) is wanted
        if not right:
            words = {tuple: "an array of strings", str: "a string", int: "a whole number"}
            raise ConfigError(f"{_camel(field.name)} must be {words.get(wanted, 'true or false')}")


def _check_name(what: str, name: str, *, empty: bool) -> None:
    """What the kernel's dev_valid_name() takes, and no "%d" that it would replace."""
    if not name and empty:
        return
    if (
        not 0 < len(name.encode("utf-8", "surrogateescape")) <= _NAME_MAX
        or name in (".", "..")
        or any(char in "/:%" or char.isspace() or not char.isprintable() for char in name)
    ):
        raise ConfigError(
            f"{_camel(what)} must be the name of an interface, not {json.dumps(name)}"
        )


def _parse(what: str, text: str, parse: Callable[[str], Any]) -> Any:
    try:
        if parse is ip_interface and "/" not in text:
            raise ValueError(f"{text!r} has no prefix length")
        return parse(text)
    except ValueError as error:
        raise ConfigError(f"{_camel(what)}: {error}") from None
