"""The features structure that `kaa features` prints (features.md, features-linux.md)."""

import posix

from kaa.errors import ConfigError
from kaa.spec.schema import HOOKS
from kaa.spec.schema_linux import (
    MEMORY_POLICY_FLAGS,
    MEMORY_POLICY_MODES,
    NAMESPACES,
    SECCOMP_ACTIONS,
    SECCOMP_ARCHITECTURES,
    SECCOMP_FLAGS,
    SECCOMP_OPERATORS,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# seccomp(2): flags that are younger than the oldest kernel kaa runs on
_FLAG_SINCE = {"SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV": (5, 19)}


def document(version: str) -> "dict[str, Any]":
    """What kaa `version` recognises in a config.json, whatever the host can do.

    Only the seccomp block looks at the host, as the specification allows:
    filters need libseccomp, and some flags a newer kernel.
    """
    from kaa.compile.capabilities import NAMES
    from kaa.compile.mount_options import known_options

    seccomp, libseccomp = _seccomp()
    return {
        "ociVersionMin": "1.0.0",
        "ociVersionMax": "1.3.0",
        "hooks": list(HOOKS),
        "mountOptions": known_options(),
        "linux": {
            "namespaces": list(NAMESPACES),
            "capabilities": list(NAMES),
            "cgroup": {
                "v1": True,
                "v2": True,
                "systemd": True,
                "systemdUser": True,
                "rdma": True,
            },
            "seccomp": seccomp,
            "apparmor": {"enabled": True},
            "selinux": {"enabled": True},
            "intelRdt": {"enabled": True, "schemata": True, "monitoring": True},
            "memoryPolicy": {
                "modes": list(MEMORY_POLICY_MODES),
                "flags": list(MEMORY_POLICY_FLAGS),
            },
            "mountExtensions": {"idmap": {"enabled": True}},
            "netDevices": {"enabled": True},
        },
        "annotations": {
            **libseccomp,
            "kaa.version": version,
            # podman and containerd look for this name, whatever the runtime is called
            "org.opencontainers.runc.checkpoint.enabled": "false",
        },
        "potentiallyUnsafeConfigAnnotations": ["org.systemd.property.", "run.kaa."],
    }


def _seccomp() -> "tuple[dict[str, Any], dict[str, str]]":
    """The seccomp block, and the annotation with the library's version if there is one."""
    from kaa.compile import libseccomp

    try:
        version = ".".join(str(part) for part in libseccomp.load().version)
    except ConfigError:
        return {"enabled": False}, {}
    kernel = _kernel()
    block = {
        "enabled": True,
        "actions": list(SECCOMP_ACTIONS),
        "operators": list(SECCOMP_OPERATORS),
        "archs": list(SECCOMP_ARCHITECTURES),
        "knownFlags": list(SECCOMP_FLAGS),
        "supportedFlags": [
            flag for flag in SECCOMP_FLAGS if kernel >= _FLAG_SINCE.get(flag, (0, 0))
        ],
    }
    return block, {"io.github.seccomp.libseccomp.version": version}


def _kernel() -> tuple[int, int]:
    """The running kernel's version; uname(2)."""
    major, minor = posix.uname().release.split(".")[:2]
    digits = len(minor) - len(minor.lstrip("0123456789"))
    return int(major), int(minor[:digits])
