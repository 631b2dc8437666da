"""What compilation has to be told about the host: the `Inputs` of a bundle."""

import posix

from kaa.caller import normpath
from kaa.compile import namespaces
from kaa.compile.inputs import Inputs
from kaa.container.rootless import has_host_power
from kaa.errors import ConfigError, KaaError, strerror

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kaa.caller import Caller
    from kaa.compile.inputs import Json

_S_IFMT, _S_IFDIR = 0o170000, 0o040000
_LAST_CAP = 40


def gather(
    caller: "Caller",
    config: "Json",
    *,
    id: str,
    bundle: str,
    staging: str = "",
    no_pivot: bool = False,
    no_new_keyring: bool = False,
    preserve_fds: int = 0,
) -> Inputs:
    """Look at the host and the bundle; nothing is changed."""
    requested = namespaces.requested(config)
    if caller.euid != 0 and "user" not in requested:
        raise ConfigError(
            "rootless container requires user namespaces",
            pointer="/linux/namespaces",
            hint="add a namespace of type user with uidMappings and gidMappings, or run as root",
        )
    process = config["process"]
    listen_fds = _listen_fds(caller)
    check_preserved(preserve_fds + listen_fds)
    check_labels(process, (config.get("linux") or {}).get("mountLabel") or "")
    return Inputs(
        config,
        id=id,
        bundle=bundle,
        rootfs=rootfs_of(config, bundle),
        namespaces=requested,
        staged=caller.euid == 0 and "user" in requested and requested.get("mount") == "",
        staging=staging,
        source_kinds=_source_kinds(config, bundle),
        privileged=has_host_power(caller),
        no_pivot=no_pivot,
        no_new_keyring=no_new_keyring,
        preserve_fds=preserve_fds + listen_fds,
        terminal=bool(process.get("terminal")),
        has_kcore=_exists("/proc/kcore"),
        last_cap=last_capability(),
        limits=current_limits(process),
        listen_fds=listen_fds,
    )


def rootfs_of(config: "Json", bundle: str) -> str:
    """The absolute path of `root.path`, which must be a directory and no link."""
    path = config["root"]["path"]
    path = normpath(path if path.startswith("/") else f"{bundle}/{path}")
    try:
        mode = posix.lstat(path).st_mode
    except OSError as error:
        raise ConfigError(
            f"invalid rootfs: {path}: {strerror(error.errno or 0)}",
            pointer="/root/path",
            path=path,
            errno=error.errno,
        ) from None
    if mode & _S_IFMT != _S_IFDIR:
        raise ConfigError(
            f"invalid rootfs: {path} is not a directory, or a symlink",
            pointer="/root/path",
            path=path,
        )
    return path


def _source_kinds(config: "Json", bundle: str) -> dict[int, str]:
    kinds: dict[int, str] = {}
    for index, mount in enumerate(config.get("mounts") or []):
        options = mount.get("options") or []
        if "bind" in options or "rbind" in options:
            source = mount.get("source") or ""
            path = source if source.startswith("/") else f"{bundle}/{source}"
            try:
                mode = posix.stat(path).st_mode
            except OSError:
                kinds[index] = ""
            else:
                kinds[index] = "dir" if mode & _S_IFMT == _S_IFDIR else "file"
    return kinds


def _exists(path: str) -> bool:
    try:
        posix.stat(path)
    except OSError:
        return False
    return True


def last_capability() -> int:
    """The kernel's highest capability: capabilities(7)."""
    try:
        fd = posix.open("/proc/sys/kernel/cap_last_cap", posix.O_RDONLY | posix.O_CLOEXEC)
    except OSError:
        return _LAST_CAP
    try:
        return int(posix.read(fd, 16))
    finally:
        posix.close(fd)


def current_limits(process: "Json") -> dict[str, tuple[int, int]]:
    """Our own limits of the kinds that the process names: getrlimit(2)."""
    wanted = process.get("rlimits")
    if not wanted:
        return {}
    import resource

    from kaa.compile.process import RLIMITS

    found = {}
    for limit in wanted:
        soft, hard = resource.getrlimit(RLIMITS[limit["type"]])
        found[limit["type"]] = (
            soft if soft >= 0 else (1 << 64) - 1,
            hard if hard >= 0 else (1 << 64) - 1,
        )
    return found


def check_labels(process: "Json", mount_label: str = "") -> None:
    """A label of a security module that the machine does not run is an error, not a wish."""
    if process.get("apparmorProfile") and not _has_apparmor():
        raise ConfigError(
            "an AppArmor profile is asked for, but AppArmor is not enabled on this machine",
            pointer="/process/apparmorProfile",
        )
    for pointer, label in (
        ("/process/selinuxLabel", process.get("selinuxLabel")),
        ("/linux/mountLabel", mount_label),
    ):
        # the kernel makes the directory if SELinux is on: security/selinux/selinuxfs.c
        if label and not _exists("/sys/fs/selinux"):
            raise ConfigError(
                "an SELinux label is asked for, but SELinux is not enabled on this machine",
                pointer=pointer,
            )


def _has_apparmor() -> bool:
    try:
        fd = posix.open("/sys/module/apparmor/parameters/enabled", posix.O_RDONLY | posix.O_CLOEXEC)
    except OSError:
        return False
    try:
        return posix.read(fd, 1) != b"N"
    except OSError:
        return True  # not for the eyes of a user namespace
    finally:
        posix.close(fd)


def _listen_fds(caller: "Caller") -> int:
    """How many descriptors systemd passed to us: sd_listen_fds(3)."""
    environ = caller.environ
    if environ.get("LISTEN_PID") != str(caller.pid):
        return 0
    text = environ.get("LISTEN_FDS", "")
    return int(text) if text.isascii() and text.isdigit() else 0


def check_preserved(count: int) -> None:
    """Each of the descriptors 3.. that are to be kept must be open, and be the caller's."""
    if not count:
        return
    from fcntl import F_GETFD, FD_CLOEXEC, fcntl

    for fd in range(3, 3 + count):
        try:
            inherited = not fcntl(fd, F_GETFD) & FD_CLOEXEC
        except OSError:
            inherited = False
        if not inherited:
            raise KaaError(f"unable to preserve fd {fd}: it is not open")
