"""Whose power kaa has: the machine's root's, or less.

Less is an ordinary user's, and also the root's of a user namespace, as in
`unshare -Ur` and rootless podman: that one may mount and make namespaces, but
devices, cgroups and limits stay closed to it.
"""

import posix

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kaa.caller import Caller

# The inode of the first user namespace is a constant of the kernel's. What
# uid_map says proves nothing: a namespace may map every id to itself.
_INITIAL = "user:[4026531837]"


def has_host_power(caller: "Caller") -> bool:
    """The caller is root, and that of the initial user namespace (user_namespaces(7))."""
    if caller.euid != 0:
        return False
    try:
        return posix.readlink("/proc/self/ns/user") == _INITIAL
    except OSError:
        return True  # a kernel without user namespaces, or no /proc, which others complain of
