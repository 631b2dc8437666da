"""The runtimes that bench.py measures, and what it has them do."""

import contextlib
import itertools
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType

HERE = Path(__file__).resolve().parent
LIFECYCLE = "create, start, kill, delete"
_numbers = itertools.count()


def timed(*commands: Sequence[str | Path]) -> float:
    """Run the commands one after the other; milliseconds."""
    begin = time.perf_counter()
    for command in commands:
        # To a file: the container's process would keep a pipe open.
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    return 1000 * (time.perf_counter() - begin)


def make_bundle(bundle: Path) -> Path:
    """A bundle with busybox in five new namespaces, to sleep in; `true` is beside it."""
    root = bundle / "rootfs"
    for name in ("bin", "dev", "proc", "sys", "tmp"):
        (root / name).mkdir(parents=True)
    busybox = shutil.which("busybox")
    if busybox is None:
        raise SystemExit("bench: needs busybox: apt-get install busybox-static")
    shutil.copy(busybox, root / "bin/busybox")
    for applet in ("sleep", "true"):
        (root / "bin" / applet).symlink_to("busybox")
    write_config(bundle, ["/bin/sleep", "3600"])
    (bundle / "true").mkdir()
    write_config(bundle / "true", ["/bin/true"], root="../rootfs")
    return bundle


def write_config(bundle: Path, arguments: list[str], root: str = "rootfs") -> None:
    """A config.json such as an engine writes one, but for a seccomp filter."""
    nosuid = ["nosuid", "noexec", "nodev"]
    mounts = [
        ("/proc", "proc", "proc", nosuid),
        ("/dev", "tmpfs", "tmpfs", ["nosuid", "strictatime", "mode=755", "size=65536k"]),
        ("/dev/pts", "devpts", "devpts", ["nosuid", "noexec", "newinstance", "ptmxmode=0666"]),
        ("/dev/shm", "tmpfs", "shm", [*nosuid, "mode=1777", "size=65536k"]),
        ("/dev/mqueue", "mqueue", "mqueue", nosuid),
        ("/sys", "sysfs", "sysfs", [*nosuid, "ro"]),
    ]
    config = {
        "ociVersion": "1.0.2",
        "process": {
            "user": {"uid": 0, "gid": 0},
            "args": arguments,
            "env": ["PATH=/bin"],
            "cwd": "/",
            "capabilities": {"bounding": ["CAP_KILL"], "permitted": ["CAP_KILL"]},
            "noNewPrivileges": True,
        },
        "root": {"path": root, "readonly": True},
        "hostname": "bench",
        "mounts": [
            {"destination": destination, "type": kind, "source": source, "options": options}
            for destination, kind, source, options in mounts
        ],
        "linux": {
            "resources": {"devices": [{"allow": False, "access": "rwm"}]},
            "namespaces": [{"type": t} for t in ("pid", "network", "ipc", "uts", "mount")],
            "maskedPaths": ["/proc/kcore", "/proc/keys", "/sys/firmware"],
            "readonlyPaths": ["/proc/bus", "/proc/sys", "/proc/sysrq-trigger"],
        },
    }
    (bundle / "config.json").write_text(json.dumps(config))


class Tool:
    """A runtime's command, with a state directory of its own."""

    def __init__(self, path: str, root: Path) -> None:
        self.path = path
        self.name = Path(path).name
        self.command = [path, "--root", str(root)]

    def id(self) -> str:
        """An id that nobody has."""
        return f"bench-{self.name}-{os.getpid()}-{next(_numbers)}"

    def version(self) -> str:
        """The first lines of --version."""
        done = subprocess.run(
            [self.path, "--version"], check=True, stdout=subprocess.PIPE, text=True
        )
        lines = [line for line in done.stdout.splitlines() if ":" not in line or "python" in line]
        return ", ".join(lines)

    def run_true(self, bundle: Path) -> float:
        """`run`, in milliseconds."""
        return timed([*self.command, "run", "--bundle", bundle / "true", self.id()])

    def lifecycle(self, bundle: Path) -> float:
        """Four commands, in milliseconds."""
        name = self.id()
        return timed(
            [*self.command, "create", "--bundle", bundle, name],
            [*self.command, "start", name],
            [*self.command, "kill", name, "KILL"],
            [*self.command, "delete", "--force", name],
        )

    @contextlib.contextmanager
    def created(self, bundle: Path) -> Iterator[str]:
        """The id of a container that is created, and deleted at the end."""
        name = self.id()
        timed([*self.command, "create", "--bundle", bundle, name])
        try:
            yield name
        finally:
            timed([*self.command, "delete", "--force", name])

    @contextlib.contextmanager
    def running(self, bundle: Path) -> Iterator[str]:
        """The id of a container that runs."""
        with self.created(bundle) as name:
            timed([*self.command, "start", name])
            yield name

    def peak_mib(self, bundle: Path, work: Path) -> float:
        """The largest resident set that `run` had, in MiB."""
        peak = work / "peak"
        if not peak.exists():
            subprocess.run(["cc", "-O1", "-static", "-o", peak, HERE / "peak.c"], check=True)
        run = [*self.command, "run", "--bundle", str(bundle / "true"), self.id()]
        subprocess.run([peak, work / "peak.out", *run], check=True, stdin=subprocess.DEVNULL)
        return int((work / "peak.out").read_text()) / 1024

    def created_pss_kib(self, bundle: Path) -> float:
        """The proportional set size of the process that waits for `start`, in KiB."""
        with self.created(bundle) as name:
            command = [*self.command, "state", name]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
            rollup = Path(f"/proc/{json.loads(done.stdout)['pid']}/smaps_rollup").read_text()
        (line,) = [line for line in rollup.splitlines() if line.startswith("Pss:")]
        return int(line.split()[1])


class Resident:
    """resident.py, on the Python and with the kaa of a tool."""

    def __init__(self, tool: Tool, bundle: Path, root: Path) -> None:
        # The environment that kaa is installed in, else the one this runs in.
        beside = Path(os.path.realpath(tool.path)).with_name("python3")
        python = str(beside) if beside.exists() else "python3"
        self._process = subprocess.Popen(
            [python, str(HERE / "resident.py"), str(root), str(bundle)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> "Resident":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._process.communicate()

    def lifecycle(self) -> float:
        """One container's life, in milliseconds, as the process itself took them."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit("bench: the resident process has ended")
        return float(line)
