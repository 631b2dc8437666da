"""The container's seccomp filter, and its listener on the way to who answers for it.

seccomp_unotify(2): loading such a filter gives a descriptor on which its
questions arrive. It goes to `listenerPath` with the state of the process
(runtime-spec, "Container Process State"). Until somebody has it any system
call of the process may hang, so kaa-init waits in memory alone, and we fetch
the descriptor from outside with pidfd_getfd(2).
"""

import posix
from _socket import SCM_RIGHTS, SOL_SOCKET
from _struct import pack

from kaa import codec
from kaa.container.console import connect
from kaa.errors import KaaError
from kaa.program.init import Init
from kaa.program.program import Program
from kaa.program.wire import PROGRESS, TAKEN_OFFSET

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket

    from kaa.compile.inputs import Json
    from kaa.compile.seccomp import Filter
    from kaa.container.runtime import Runtime


def seccomp_filter(runtime: "Runtime", section: "Json") -> "Filter":
    """The compiled filter of `linux.seccomp`, from the cache below the root if it is there."""
    from kaa.compile.seccomp import filter_for

    return filter_for(
        section,
        cache_dir=f"{runtime.root}/.cache",
        uid=runtime.caller.euid,
        machine=posix.uname().machine,
    )


def hand_over_listener(
    runtime: "Runtime",
    filter: "Filter",
    state: "Json",
    pidfd: int,
    progress: int,
    connection: "socket",
) -> None:
    """Wait for the process `pidfd` to load its filter, and pass the listener on.

    `state` is the container's state document; `progress` is open for writing.
    Returns early when the process ends, or stops (end of file on `connection`).
    """
    number = _await_listener(pidfd, progress, connection)
    if number < 0:
        return
    listener = _fetch(runtime, pidfd, number)
    try:
        agent = connect(filter.listener_path, "seccomp listener")
        try:
            document = {
                "ociVersion": state["ociVersion"],
                "fds": ["seccompFd"],
                "pid": state.get("pid", 0),
                "metadata": filter.listener_metadata,
                "state": state,
            }
            agent.sendmsg([codec.dumps(document)], [(SOL_SOCKET, SCM_RIGHTS, pack("=i", listener))])
        finally:
            agent.close()
    finally:
        posix.close(listener)
    posix.pwrite(progress, b"\1\0\0\0", TAKEN_OFFSET)


def _await_listener(pidfd: int, progress: int, connection: "socket") -> int:
    from select import POLLIN, poll

    waiting = poll()
    waiting.register(pidfd, POLLIN)
    waiting.register(connection, POLLIN)
    while True:
        number = int(PROGRESS.unpack(posix.pread(progress, PROGRESS.size, 0))[3])
        if number >= 0 or waiting.poll(1):
            return number


def _fetch(runtime: "Runtime", pidfd: int, number: int) -> int:
    """Descriptor `number` of the process, with a kaa-init's help: pidfd_getfd(2)."""
    # its stdin is the pidfd, so no pid is looked up
    init = Init.spawn(runtime.caller, stdio=(pidfd, 1, 2))
    try:
        program = Program(init.slots)
        program.at("/linux/seccomp/listenerPath", "fetch the seccomp listener")
        program.send_fd(program.pidfd_getfd(0, number, 0))
        reply = init.run(program)
    finally:
        init.end()
    if len(reply.fds) != 1:
        reply.close()
        raise KaaError("kaa-init sent no listener")
    return reply.fds.pop()
