"""`process.terminal`: a pseudo-terminal from the container's own devpts.

Nothing of the image is trusted: /dev/pts/ptmx must be the multiplexer of a
real devpts, and the other end is taken by TIOCGPTPEER, not by name
(CVE-2025-52565).
"""

from _struct import pack
from errno import EPERM
from posix import O_CLOEXEC, O_NOCTTY, O_RDWR

from kaa.compile.devices import bind_console
from kaa.compile.process import user_ids
from kaa.program.program import Program, Slot

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kaa.compile.inputs import Json

_DEVPTS_MAGIC = 0x1CD1
_TIOCSPTLCK = 0x40045431
_TIOCGPTPEER = 0x5441
_TIOCSWINSZ = 0x5414
_TIOCSCTTY = 0x540E
_AT_EMPTY_PATH = 0x1000
_LEAVE = 0xFFFFFFFF


def open_pty(p: Program, process: "Json", root: Slot, descriptors: Slot) -> tuple[Slot, Slot]:
    """Make a pseudo-terminal below `root`; returns the slots of both ends.

    `descriptors` is the directory of our own descriptors in a trusted procfs.
    """
    p.at("/process/terminal", "open the container's /dev/pts/ptmx")
    ptmx = p.resolve(root, "/dev/pts/ptmx", 16, 0)
    facts = p.buffer(256)
    p.fstatfs(ptmx, facts)
    p.check(facts, 8, -1, _DEVPTS_MAGIC, EPERM)
    p.statx(ptmx, "", _AT_EMPTY_PATH, 0x7FF, facts)
    p.check(facts + 128, 8, -1, 5 | 2 << 32, EPERM)  # stx_rdev_major, stx_rdev_minor
    number = p.buffer(24)
    p.decimal(number, 24, ptmx)
    master = p.openat(descriptors, number, O_RDWR | O_NOCTTY | O_CLOEXEC, 0)
    p.close(ptmx)
    p.ioctl(master, _TIOCSPTLCK, pack("=i", 0), keep=True)
    peer = p.ioctl(master, _TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC)
    size = process.get("consoleSize") or {}
    height, width = size.get("height") or 0, size.get("width") or 0
    if height or width:
        p.at("/process/consoleSize", f"make the terminal {width}x{height}")
        p.ioctl(master, _TIOCSWINSZ, pack("=4H", height, width, 0, 0))
    p.at("/process/terminal", "give the terminal to the user")
    p.fchown(peer, user_ids(process)[0], _LEAVE, ok=(EPERM,))
    p.at("/process/terminal", "send the terminal's master")
    p.send_fd(master)
    return master, peer


def open_console(p: Program, process: "Json", root: Slot, descriptors: Slot) -> Slot:
    """The terminal of a container's first process, also bound on /dev/console."""
    master, peer = open_pty(p, process, root, descriptors)
    p.close(master)
    p.at("/process/terminal", "bind the terminal on /dev/console")
    bind_console(p, root, peer)
    return peer


def adopt(p: Program, peer: Slot | None) -> None:
    """A new session; the terminal, if there is one, becomes its controlling terminal and stdio."""
    p.at("", "start a new session")
    p.setsid()
    if peer is None:
        return
    p.at("/process/terminal", "take the controlling terminal")
    p.ioctl(peer, _TIOCSCTTY, 0)
    for fd in (0, 1, 2):
        p.dup3(peer, fd, 0)
    p.close(peer)
