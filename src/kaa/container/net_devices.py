"""`linux.netDevices`: interfaces of the host, moved into the container's network namespace.

config-linux.md, "Network Devices" (1.3): renamed, their permanent global
addresses kept, set up. At the container's end the kernel decides what becomes
of them (network_namespaces(7)): physical ones return to the initial
namespace, virtual ones end with theirs; a runtime must not take them out. Only
a creation that fails puts them back where they were.
"""

import posix
from errno import EEXIST, EINVAL, ENODEV, EPERM

from kaa.errors import ConfigError, KaaError, strerror
from kaa.program.program import Program

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from kaa.caller import Caller
    from kaa.compile.inputs import Json
    from kaa.program.init import Init

_AF_NETLINK, _NETLINK_ROUTE = 16, 0
_SOCK_DGRAM_CLOEXEC = 2 | posix.O_CLOEXEC
_IFF_UP = 1
_RT_SCOPE_UNIVERSE = 0
_IFA_F_PERMANENT = 0x80
# <linux/if_addr.h>: no duplicate address detection, temporary addresses, no prefix route, groups
_IFA_KEPT = 0x002 | 0x100 | 0x200 | 0x400


def check(caller: "Caller", devices: "Json") -> None:
    """Refuse what an ordinary user cannot have, before anything is made. Raises ConfigError."""
    if devices and caller.euid != 0:
        raise ConfigError(
            "network devices of the host can be moved by root only",
            pointer="/linux/netDevices",
            errno=EPERM,
        )


class NetDevices:
    """The devices of one container on their way in, or back.

    `init` is the container's kaa-init: it opens the sockets in its network
    namespace. They, and the namespace, stay open until `close`.
    """

    def __init__(self, init: "Init", devices: "Json") -> None:
        self._init = init
        self._devices = devices
        self._moved: list[_Device] = []
        self._namespaces: list[int] = []
        self._sockets: list[int] = []

    def _open(self) -> None:
        for path in ("thread-self", self._init.pid):
            fd = posix.open(f"/proc/{path}/ns/net", posix.O_RDONLY | posix.O_CLOEXEC)
            self._namespaces.append(fd)
        program = Program(self._init.slots)
        program.at("/linux/netDevices", "open netlink sockets in the network namespace")
        for _ in ("in", "back"):
            # pyroute2 takes a datagram socket only; to netlink it is all one
            socket = program.socket(_AF_NETLINK, _SOCK_DGRAM_CLOEXEC, _NETLINK_ROUTE)
            program.send_fd(socket)
            program.close(socket)
        self._sockets = self._init.run(program).fds

    @property
    def _here(self) -> int:
        return self._namespaces[0]

    @property
    def _there(self) -> int:
        return self._namespaces[1]

    def close(self) -> None:
        """Let go of the namespaces."""
        for fds in (self._namespaces, self._sockets):
            while fds:
                posix.close(fds.pop())

    def move_in(self) -> None:
        """Move all of them. Raises ConfigError about the one that cannot be moved."""
        self._open()
        here, there = posix.fstat(self._here), posix.fstat(self._there)
        if (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino):
            raise ConfigError(
                "the container's network namespace is our own: there is nowhere to move to",
                pointer="/linux/netDevices",
            )
        _apart(self._move_all_in)

    def move_back(self) -> None:
        """Put the moved ones back as they were; what cannot be put back is a KaaError."""
        if self._moved and self._sockets:
            _apart(self._move_all_back)

    def _move_all_in(self) -> None:
        from pyroute2.netlink.exceptions import NetlinkError

        with _route() as host, _route(self._sockets.pop()) as inside:
            for name, entry in self._devices.items():
                pointer = f"/linux/netDevices/{name.replace('~', '~0').replace('/', '~1')}"
                device = _Device(name, (entry or {}).get("name") or name, pointer)
                try:
                    self._move_in(device, host, inside)
                except NetlinkError as error:
                    raise device.failure(error.code) from None

    def _move_in(self, device: "_Device", host: "Any", inside: "Any") -> None:
        device.find(host)
        known = {link["index"] for link in inside.get_links()}
        if "%" not in device.new_name and inside.link_lookup(ifname=device.new_name):
            # the kernel would say so only once the device is on the other side
            raise device.failure(EEXIST)
        self._moved.append(device)
        try:
            host.link("set", index=device.index, net_ns_fd=self._there, ifname=device.new_name)
        finally:
            # it may be there under a new index, and even though it could not be renamed
            for link in inside.get_links():
                if link["index"] not in known:
                    device.index = link["index"]
        device.restore_addresses(inside)
        inside.link("set", index=device.index, state="up")

    def _move_all_back(self) -> None:
        from pyroute2.netlink.exceptions import NetlinkError

        with _route() as host, _route(self._sockets.pop()) as inside:
            while self._moved:
                device = self._moved.pop()
                if host.link_lookup(ifname=device.name):
                    continue  # it had never left
                try:
                    inside.link("set", index=device.index, state="down")
                    inside.link("set", index=device.index, net_ns_fd=self._here, ifname=device.name)
                    (device.index,) = host.link_lookup(ifname=device.name)
                    device.restore_addresses(host)
                    if device.was_up:
                        host.link("set", index=device.index, state="up")
                except NetlinkError as error:
                    raise KaaError(
                        f"move the network device {device.name} back: {strerror(error.code)}"
                    ) from None


class _Device:
    """One interface: its names outside and inside, and where it is now (`index`)."""

    def __init__(self, name: str, new_name: str, pointer: str) -> None:
        self.name = name
        self.new_name = new_name
        self.pointer = pointer
        self.index = 0
        self.was_up = False
        self._addresses: list[dict[str, Any]] = []

    def find(self, host: "Any") -> None:
        """Look it up on the host, with its addresses."""
        found = host.link_lookup(ifname=self.name)
        if not found:
            raise self.failure(ENODEV)
        (self.index,) = found
        (link,) = host.get_links(self.index)
        self.was_up = bool(link["flags"] & _IFF_UP)
        self._addresses = [
            _address(message)
            for message in host.get_addr(index=self.index)
            if message["scope"] == _RT_SCOPE_UNIVERSE and _flags(message) & _IFA_F_PERMANENT
        ]

    def restore_addresses(self, route: "Any") -> None:
        """Moving took them away."""
        for address in self._addresses:
            route.addr("add", index=self.index, **address)

    def failure(self, errno: int) -> ConfigError:
        """The error of this device."""
        hints = {
            EEXIST: "give it another name, or a template such as eth%d",
            EINVAL: "loopback devices, and some virtual ones, stay where they are",
        }
        to = f" as {self.new_name}" if self.new_name != self.name else ""
        return ConfigError(
            f"move the network device {self.name} into the container{to}: {strerror(errno)}",
            pointer=self.pointer,
            errno=errno,
            hint=hints.get(errno),
        )


def _flags(message: "Any") -> int:
    flags = message.get_attr("IFA_FLAGS")
    return int(message["flags"] if flags is None else flags)


def _address(message: "Any") -> "dict[str, Any]":
    """What `addr("add", ...)` takes to make the address again."""
    found = {"family": message["family"], "prefixlen": message["prefixlen"]}
    for key in ("address", "local", "broadcast", "rt_priority"):
        value = message.get_attr(f"IFA_{key.upper()}")
        if value is not None:
            found[key] = value
    kept = _flags(message) & _IFA_KEPT
    if kept:
        found["flags"] = kept
    return found


def _route(fd: int = -1) -> "Any":
    """rtnetlink(7) in our own network namespace, or on a socket (taken over) of another."""
    from pyroute2 import IPRoute

    return IPRoute(groups=0) if fd < 0 else IPRoute(groups=0, fileno=fd)


def _apart(work: "Callable[[], None]") -> None:
    """Do it in a thread: pyroute2 runs an event loop, and the caller's thread may have its own."""
    from kaa import site_packages

    site_packages.enable()
    try:
        import pyroute2  # noqa: F401
    except ImportError:
        raise KaaError(
            "pyroute2 is needed for network devices and is not installed",
            pointer="/linux/netDevices",
            hint="pip install pyroute2",
        ) from None
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as pool:
        pool.submit(work).result()
