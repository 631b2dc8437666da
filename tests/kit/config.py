"""The config.json that the tests begin from."""

from typing import Any

Config = dict[str, Any]

PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

PROC: Config = {"destination": "/proc", "type": "proc", "source": "proc"}
CAPABILITIES = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]


def tmpfs(destination: str, *options: str) -> Config:
    return {
        "destination": destination,
        "type": "tmpfs",
        "source": "tmpfs",
        "options": list(options),
    }


def bind(source: object, destination: str, *options: str) -> Config:
    return {
        "destination": destination,
        "type": "none",
        "source": str(source),
        "options": ["rbind", *options],
    }


def default() -> Config:
    """A container with five namespaces and the usual mounts; args are the test's own."""
    return {
        "ociVersion": "1.0.2",
        "process": {
            "terminal": False,
            "user": {"uid": 0, "gid": 0},
            "args": ["true"],
            "env": [PATH, "TERM=xterm"],
            "cwd": "/",
            "capabilities": {
                name: list(CAPABILITIES) for name in ("bounding", "effective", "permitted")
            },
            "noNewPrivileges": True,
        },
        "root": {"path": "rootfs", "readonly": False},
        "hostname": "kaa-test",
        "mounts": [
            dict(PROC),
            tmpfs("/dev", "nosuid", "strictatime", "mode=755", "size=65536k"),
            {
                "destination": "/dev/pts",
                "type": "devpts",
                "source": "devpts",
                "options": [
                    "nosuid",
                    "noexec",
                    "newinstance",
                    "ptmxmode=0666",
                    "mode=0620",
                    "gid=5",
                ],
            },
            tmpfs("/dev/shm", "nosuid", "noexec", "nodev", "mode=1777", "size=65536k"),
            {
                "destination": "/dev/mqueue",
                "type": "mqueue",
                "source": "mqueue",
                "options": ["nosuid", "noexec", "nodev"],
            },
            {
                "destination": "/sys",
                "type": "sysfs",
                "source": "sysfs",
                "options": ["nosuid", "noexec", "nodev", "ro"],
            },
        ],
        "linux": {
            "namespaces": [{"type": name} for name in ("pid", "network", "ipc", "uts", "mount")],
            "resources": {"devices": [{"allow": False, "access": "rwm"}]},
            "maskedPaths": [
                "/proc/acpi",
                "/proc/kcore",
                "/proc/keys",
                "/proc/latency_stats",
                "/proc/timer_list",
                "/proc/sched_debug",
                "/sys/firmware",
                "/proc/scsi",
            ],
            "readonlyPaths": [
                "/proc/bus",
                "/proc/fs",
                "/proc/irq",
                "/proc/sys",
                "/proc/sysrq-trigger",
            ],
        },
    }


def add_user_namespace(config: Config, first: int = 200000, count: int = 65536) -> None:
    """A new user namespace: container ids 0..`count` are host ids from `first`."""
    linux = config["linux"]
    linux["namespaces"].append({"type": "user"})
    mapping = {"containerID": 0, "hostID": first, "size": count}
    linux["uidMappings"] = [dict(mapping)]
    linux["gidMappings"] = [dict(mapping)]


def set_namespace(config: Config, kind: str, path: str | None = None) -> None:
    """Make the namespace new, or joined when `path` is given."""
    drop_namespace(config, kind)
    entry = {"type": kind}
    if path is not None:
        entry["path"] = path
    config["linux"]["namespaces"].append(entry)


def drop_namespace(config: Config, kind: str) -> None:
    """Let the container inherit the namespace of the runtime."""
    linux = config["linux"]
    linux["namespaces"] = [entry for entry in linux["namespaces"] if entry["type"] != kind]
