"""A bridge on the host: the switch that containers are plugged into."""

from ipaddress import ip_interface

from kaa.network.model import Network
from kaa.network.netlink import apart, route, step


class Bridge:
    """A bridge in our own network namespace.

    `addresses` ("10.0.0.1/24") are the host's own on it: the gateways of the
    containers. `mtu` is in bytes; 0 leaves the kernel's. As a context manager
    it exists inside the block:

        with Bridge("br0", "10.0.0.1/24"):
            ...

    Raises ConfigError for a name or an address that makes no sense.
    """

    def __init__(self, name: str, *addresses: str, mtu: int = 0) -> None:
        checked = Network(bridge=name, addresses=addresses, mtu=mtu)
        self.name = name
        self.addresses = checked.addresses
        self.mtu = mtu

    def create(self) -> None:
        """Make it and set it up. Raises KaaError: it exists, say, or we are not root."""
        apart(self._create)

    def _create(self) -> None:
        with route() as host:
            more = {"mtu": self.mtu} if self.mtu else {}
            with step(f"make the bridge {self.name}"):
                host.link("add", ifname=self.name, kind="bridge", **more)
            (index,) = host.link_lookup(ifname=self.name)
            try:
                for text in self.addresses:
                    address = ip_interface(text)
                    with step(f"give the bridge {self.name} the address {text}"):
                        host.addr(
                            "add",
                            index=index,
                            address=str(address.ip),
                            prefixlen=address.network.prefixlen,
                        )
                with step(f"set the bridge {self.name} up"):
                    host.link("set", index=index, state="up")
            except BaseException:
                host.link("del", index=index)
                raise

    def delete(self) -> None:
        """Remove it, with whatever is attached to it let go; a missing one is fine."""
        apart(self._delete)

    def _delete(self) -> None:
        with route() as host:
            for index in host.link_lookup(ifname=self.name):
                with step(f"remove the bridge {self.name}"):
                    host.link("del", index=index)

    def __enter__(self) -> "Bridge":
        self.create()
        return self

    def __exit__(self, *_: object) -> None:
        self.delete()
