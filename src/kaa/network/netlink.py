"""rtnetlink(7) by way of pyroute2, here and in a container's network namespace."""

import os
from collections.abc import Callable
from typing import Any, TypeVar

from kaa import site_packages
from kaa.caller import Caller
from kaa.compile.inputs import NAMESPACES
from kaa.errors import KaaError, strerror
from kaa.program.init import Init
from kaa.program.program import Program

_AF_NETLINK, _NETLINK_ROUTE = 16, 0
_SOCK_DGRAM_CLOEXEC = 2 | os.O_CLOEXEC  # pyroute2 takes only this kind; netlink has no other

Result = TypeVar("Result")


def socket_inside(caller: Caller, namespace: int) -> int:
    """A netlink socket in the network namespace of a descriptor: a descriptor, the caller's.

    A kaa-init of its own goes there to open it. The container's init could not:
    its next program is compiled already, and counts on the slots as they are.
    """
    init = Init.spawn(caller, stdio=(namespace, 1, 2))  # the namespace is its descriptor 0
    try:
        program = Program(init.slots)
        program.at("/linux/namespaces", "open a netlink socket in the network namespace")
        program.setns(0, NAMESPACES["network"])
        program.send_fd(program.socket(_AF_NETLINK, _SOCK_DGRAM_CLOEXEC, _NETLINK_ROUTE))
        reply = init.run(program)
    finally:
        init.end()
    if len(reply.fds) != 1:
        reply.close()
        raise KaaError("kaa-init sent no netlink socket")
    return reply.fds.pop()


def route(fd: int = -1) -> Any:
    """An IPRoute on the socket `fd` (which it takes over), or on one of our own namespace."""
    from pyroute2 import IPRoute

    # groups=0: nobody here wants to be told what others change
    return IPRoute(groups=0) if fd < 0 else IPRoute(groups=0, fileno=fd)


def apart(work: Callable[[], Result]) -> Result:
    """Do `work`, which uses pyroute2, in a thread of its own.

    pyroute2 runs an event loop in the thread that it is called in, which may
    have one of its own running. Raises KaaError where pyroute2 is missing, and
    for what the kernel refused without `work` saying so better.
    """
    site_packages.enable()
    try:
        from pyroute2.netlink.exceptions import NetlinkError
    except ImportError:
        raise KaaError(
            "pyroute2 is needed for networks and is not installed", hint="pip install pyroute2"
        ) from None
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1, thread_name_prefix="kaa-netlink") as pool:
        try:
            return pool.submit(work).result()
        except NetlinkError as error:
            raise KaaError(f"rtnetlink: {strerror(error.code)}", errno=error.code) from None


class step:
    """`with step("add the address ..."):` an error of the kernel's gets these words."""

    def __init__(self, what: str, *, pointer: str | None = None, hint: str | None = None) -> None:
        self._what = what
        self._pointer = pointer
        self._hint = hint

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        from pyroute2.netlink.exceptions import NetlinkError

        if isinstance(error, NetlinkError):
            raise KaaError(
                f"{self._what}: {strerror(error.code)}",
                pointer=self._pointer,
                call="rtnetlink",
                errno=error.code,
                hint=self._hint,
            ) from None
