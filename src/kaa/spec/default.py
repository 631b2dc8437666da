"""The config.json that `kaa spec` writes: a shell in a container like runc's default."""

import posix

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_CAPABILITIES = ("CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE")
_NO_EXEC = ("nosuid", "noexec", "nodev")


def document(
    rootless: bool = False, ids: tuple[int, int] = (0, 0), cgroup2: bool | None = None
) -> "dict[str, Any]":
    """A new configuration; with `rootless`, one that `ids` (uid, gid) may run without privileges.

    `cgroup2` says that the host's cgroups are version 2, where the container
    gets a cgroup namespace; None looks whether they are. There are no
    inheritable and no ambient capabilities (CVE-2022-29162).
    """
    if cgroup2 is None:
        cgroup2 = posix.access("/sys/fs/cgroup/cgroup.controllers", posix.F_OK)
    names = ["pid", "network", "ipc", "uts", "mount"]
    if cgroup2:
        names.append("cgroup")
    linux: dict[str, Any] = {"resources": {"devices": [{"allow": False, "access": "rwm"}]}}
    if rootless:
        names.remove("network")
        names.append("user")
        linux = {
            "uidMappings": [{"containerID": 0, "hostID": ids[0], "size": 1}],
            "gidMappings": [{"containerID": 0, "hostID": ids[1], "size": 1}],
        }
    linux["namespaces"] = [{"type": name} for name in names]
    linux["maskedPaths"] = [
        "/proc/acpi",
        "/proc/asound",
        "/proc/kcore",
        "/proc/keys",
        "/proc/latency_stats",
        "/proc/timer_list",
        "/proc/timer_stats",
        "/proc/sched_debug",
        "/sys/firmware",
        "/proc/scsi",
    ]
    linux["readonlyPaths"] = [
        "/proc/bus",
        "/proc/fs",
        "/proc/irq",
        "/proc/sys",
        "/proc/sysrq-trigger",
    ]
    return {
        "ociVersion": "1.3.0",
        "process": {
            "terminal": True,
            "user": {"uid": 0, "gid": 0},
            "args": ["sh"],
            "env": [
                "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                "TERM=xterm",
            ],
            "cwd": "/",
            "capabilities": {
                name: list(_CAPABILITIES) for name in ("bounding", "effective", "permitted")
            },
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
            "noNewPrivileges": True,
        },
        "root": {"path": "rootfs", "readonly": True},
        "hostname": "kaa",
        "mounts": _mounts(rootless),
        "linux": linux,
    }


def _mounts(rootless: bool) -> "list[dict[str, Any]]":
    pts = ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]
    sys = _mount("/sys", "sysfs", "sysfs", *_NO_EXEC, "ro")
    if rootless:
        # sysfs belongs to the network namespace, which is the host's and not the user's.
        sys = _mount("/sys", "none", "/sys", "rbind", *_NO_EXEC, "ro")
    else:
        pts.append("gid=5")  # the group tty, which a mapping of one id does not have
    return [
        {"destination": "/proc", "type": "proc", "source": "proc"},
        _mount("/dev", "tmpfs", "tmpfs", "nosuid", "strictatime", "mode=755", "size=65536k"),
        _mount("/dev/pts", "devpts", "devpts", *pts),
        _mount("/dev/shm", "tmpfs", "shm", *_NO_EXEC, "mode=1777", "size=65536k"),  # noqa: S108
        _mount("/dev/mqueue", "mqueue", "mqueue", *_NO_EXEC),
        sys,
        _mount("/sys/fs/cgroup", "cgroup", "cgroup", *_NO_EXEC, "relatime", "ro"),
    ]


def _mount(destination: str, kind: str, source: str, *options: str) -> "dict[str, Any]":
    return {
        "destination": destination,
        "type": kind,
        "source": source,
        "options": list(options),
    }
