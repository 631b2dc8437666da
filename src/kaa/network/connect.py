"""The networks of one container: checked before anything is made, made once its init is there.

A veth pair is made with its far end at once in the container's network
namespace, under its final name: there is no moment at which a name of the
container's could meet one of the host's. The pair ends with either end, and so
with the container, however that ends (veth(4)).
"""

import os
import secrets
from collections.abc import Mapping
from errno import ENODEV, EPERM
from ipaddress import ip_interface
from typing import Any

from kaa.caller import Caller
from kaa.errors import ConfigError
from kaa.network.model import NETWORKS, ROUTES, Network, Route, networks_of, routes_of
from kaa.network.netlink import apart, route, socket_inside, step
from kaa.program.init import Init

_IFA_F_NODAD = 0x02  # nobody else can have the address: do not wait a second for an objection
_AF_INET, _AF_INET6 = 2, 10
_NETWORKS_POINTER = f"/annotations/{NETWORKS}"
_ROUTES_POINTER = f"/annotations/{ROUTES}"


class Plan:
    """What the annotations of one container ask for; `make` does it.

    Raises ConfigError if they make no sense, or if it cannot be done for this
    caller or in these namespaces (`inputs.namespaces`).
    """

    def __init__(
        self, caller: Caller, namespaces: Mapping[str, str], annotations: Mapping[str, str]
    ) -> None:
        self._caller = caller
        self._networks = networks_of(annotations)
        self._routes = routes_of(annotations)
        pointer = _NETWORKS_POINTER if self._networks else _ROUTES_POINTER
        if not self._networks and not self._routes:
            return
        if namespaces.get("network") != "":
            raise ConfigError(
                "networks are made for a new network namespace, and the container has none",
                pointer=pointer,
            )
        if caller.euid != 0:
            raise ConfigError("networks can be made by root only", pointer=pointer, errno=EPERM)
        names = [network.name for network in self._networks]
        for name in names:
            if names.count(name) > 1:
                raise ConfigError(f'two networks are called "{name}"', pointer=pointer)

    def make(self, init: Init) -> None:
        """Make it in the network namespace of the container's `init`; nothing stays if it fails."""
        if not self._networks and not self._routes:
            return
        namespace = os.open(f"/proc/{init.pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            apart(lambda: self._make(namespace, socket_inside(self._caller, namespace)))
        finally:
            os.close(namespace)

    def _make(self, namespace: int, socket: int) -> None:
        with route(socket) as inside, route() as host:
            made: list[int] = []
            try:
                for network in self._networks:
                    if network.kind == "veth":
                        made.append(_make_pair(host, network, namespace))
                        _attach(host, network, made[-1])
                    _configure(inside, network)
                for entry in self._routes:
                    _add_route(inside, entry)
            except BaseException:
                for index in made:
                    host.link("del", index=index)
                raise


def _make_pair(host: Any, network: Network, namespace: int) -> int:
    """The index of the host's end."""
    # long enough that two containers do not meet by chance, and within IFNAMSIZ
    name = network.host_name or f"kaa{secrets.token_hex(6)}"
    peer: dict[str, Any] = {"ifname": network.name, "net_ns_fd": namespace}
    both: dict[str, Any] = {}
    if network.mtu:
        both["mtu"] = network.mtu
    if network.tx_queue_length:
        both["txqlen"] = network.tx_queue_length
    if network.mac:
        peer["address"] = network.mac
    with step(
        f"make the veth pair {name} (host) and {network.name} (container)",
        pointer=_NETWORKS_POINTER,
        hint="does an interface of that name exist, and does the kernel have veth?",
    ):
        host.link("add", ifname=name, kind="veth", peer={**peer, **both}, **both)
    return int(host.link_lookup(ifname=name)[0])


def _attach(host: Any, network: Network, index: int) -> None:
    if network.bridge:
        found = host.link_lookup(ifname=network.bridge)
        if not found:
            raise ConfigError(
                f'there is no bridge "{network.bridge}"', pointer=_NETWORKS_POINTER, errno=ENODEV
            )
        with step(f"attach to the bridge {network.bridge}", pointer=_NETWORKS_POINTER):
            host.link("set", index=index, master=found[0])
        if network.hairpin:
            with step("set the hairpin mode", pointer=_NETWORKS_POINTER):
                host.brport("set", index=index, mode=1)
    with step(f"set the host's end of {network.name} up", pointer=_NETWORKS_POINTER):
        host.link("set", index=index, state="up")


def _configure(inside: Any, network: Network) -> None:
    (index,) = inside.link_lookup(ifname=network.name)
    if network.kind == "loopback" and network.mtu:
        with step(f"set the mtu {network.mtu} of lo", pointer=_NETWORKS_POINTER):
            inside.link("set", index=index, mtu=network.mtu)
    for text in network.addresses:
        address = ip_interface(text)
        more = {"flags": _IFA_F_NODAD} if address.version == 6 else {}
        with step(f"give {network.name} the address {text}", pointer=_NETWORKS_POINTER):
            inside.addr(
                "add",
                index=index,
                address=str(address.ip),
                prefixlen=address.network.prefixlen,
                family=_AF_INET6 if address.version == 6 else _AF_INET,
                **more,
            )
    with step(f"set {network.name} up", pointer=_NETWORKS_POINTER):
        inside.link("set", index=index, state="up")
    for gateway in network.gateways:
        with step(
            f"route by way of {gateway}",
            pointer=_NETWORKS_POINTER,
            hint="is the gateway in one of the networks of `addresses`?",
        ):
            inside.route(
                "add",
                dst="default",
                gateway=gateway,
                oif=index,
                family=_AF_INET6 if ":" in gateway else _AF_INET,
            )


def _add_route(inside: Any, entry: Route) -> None:
    message: dict[str, Any] = {
        "dst": entry.destination,
        "family": _AF_INET6 if entry.is_ipv6 else _AF_INET,
    }
    if entry.gateway:
        message["gateway"] = entry.gateway
    if entry.source:
        message["prefsrc"] = entry.source
    if entry.interface:
        found = inside.link_lookup(ifname=entry.interface)
        if not found:
            raise ConfigError(
                f'the container has no interface "{entry.interface}"',
                pointer=_ROUTES_POINTER,
                errno=ENODEV,
            )
        message["oif"] = found[0]
        if not entry.gateway:
            message["scope"] = 253  # RT_SCOPE_LINK: the destination is on the wire
    with step(f"add the route to {entry.destination}", pointer=_ROUTES_POINTER):
        inside.route("add", **message)
