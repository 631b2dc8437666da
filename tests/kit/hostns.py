"""A corner of the machine for the tests alone.

pytest itself moves into a mount namespace where `/` is shared (as systemd makes
it; many faults of propagation need that to be seen) and into a network namespace
with only a loopback. A process above it reaps whatever the runtime orphans, at
once, as an engine's shim would. What appears there came from the tests, even when
others work on the same machine.
"""

import ctypes
import os
import signal
import subprocess

CLONE_NEWNS = 0x00020000
CLONE_NEWNET = 0x40000000
MS_REC = 0x4000
MS_PRIVATE = 1 << 18
MS_SHARED = 1 << 20
PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36

_libc = ctypes.CDLL(None, use_errno=True)
_outer_network: int | None = None


def _check(result: int, what: str) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def enter() -> None:
    """Move this process; needs root. A second call does nothing."""
    global _outer_network
    if _outer_network is not None:
        return
    _outer_network = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    _check(_libc.unshare(CLONE_NEWNS | CLONE_NEWNET), "unshare")
    for propagation in (MS_PRIVATE, MS_SHARED):
        _check(_libc.mount(b"none", b"/", None, MS_REC | propagation, None), "mount /")
    _go_below_a_reaper()
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)


def _go_below_a_reaper() -> None:
    """Go on in a child; this process only collects what ends, and ends as the child does.

    pytest itself cannot do that: it would take the children of `subprocess` away from
    it. And somebody must, promptly: a pid namespace ends only when every process that
    was put into it from outside has been collected.
    """
    _check(_libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), "prctl")
    main = os.fork()
    if main == 0:
        _check(_libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0), "prctl")
        signal.signal(signal.SIGTERM, _interrupt_once)
        return
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # pytest gets it too, and cleans up
    signal.signal(signal.SIGTERM, lambda *_: os.kill(main, signal.SIGTERM))
    while True:
        pid, status = os.wait()
        if pid == main:
            os._exit(os.waitstatus_to_exitcode(status) & 0xFF)


def _interrupt_once(*_: object) -> None:
    """End as after Ctrl-C, with every fixture's clean-up; timeout(1) sends its signal twice."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise KeyboardInterrupt


def with_network(command: list[str]) -> list[str]:
    """`command`, run in the network that pytest was started in (for debootstrap)."""
    if _outer_network is None:
        return command
    return ["nsenter", f"--net=/proc/{os.getpid()}/fd/{_outer_network}", *command]
