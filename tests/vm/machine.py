#!/usr/bin/env python3
"""A throw-away virtual machine: Debian 12, systemd, cgroup v2, an ordinary user.

    machine.py build                        make the image, if it is not in the cache
    machine.py run [options] -- COMMAND     boot, run COMMAND in a copy of this checkout,
                                            power off; the exit status is COMMAND's
    machine.py missing                      print what this host lacks for that, if anything

COMMAND is run by root in /srv/kaa, within a service of systemd's. What it prints
comes out here. 124 is the exit status if the time is over, 125 if the machine has failed.
The user `tester` has subordinate ids, and a systemd of their own that was given
every controller.

The image is debootstrap's, made as root from the mirror in apt's configuration; it is
kept in $KAA_VM_CACHE (default: ~/.cache/kaa-vm), under a name that says what it was made
of. $KAA_VM_ACCEL is qemu's accelerator (default: tcg, emulation, which works everywhere).
"""

import argparse
import contextlib
import fcntl
import hashlib
import inspect
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parents[1]
TOOLS = ("qemu-system-x86_64", "debootstrap", "mke2fs")
TOOL_PACKAGES = "qemu-system-x86 debootstrap e2fsprogs"
SUITE = "bookworm"
PACKAGES = (
    # the machine
    "systemd-sysv", "dbus", "dbus-user-session", "libpam-systemd", "udev", "kmod",
    "linux-image-cloud-amd64", "initramfs-tools", "e2fsprogs",
    # what kaa and its tests want
    "python3", "python3-pytest", "python3-hypothesis", "python3-jeepney", "python3-rich",
    "busybox-static", "uidmap", "libseccomp2", "gcc", "libc6-dev", "runc", "crun",
    "iproute2", "procps", "util-linux",
)  # fmt: skip
DISK = "6G"
BUILD_S = 1200
FAILED, TIMED_OUT = 125, 124
LEFT_OUT = {".git", ".venv", "build", "dist", "__pycache__", ".mypy_cache", ".ruff_cache"}
MASKED = (
    "apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "e2scrub_all.timer",
    "e2scrub_reap.service", "fstrim.timer", "getty@tty1.service", "serial-getty@ttyS0.service",
    "systemd-timesyncd.service", "networking.service", "systemd-tmpfiles-clean.timer",
)  # fmt: skip

SERVICE = """\
[Unit]
Description=run what the host has sent, and power off
After=dbus.service systemd-logind.service systemd-user-sessions.service user@1000.service
Wants=user@1000.service

[Service]
ExecStart=/usr/local/sbin/kaa-job
StandardInput=null
Delegate=yes
TasksMax=infinity
LimitNOFILE=1048576
OOMPolicy=continue

[Install]
WantedBy=multi-user.target
"""
JOB = """\
#!/bin/sh
# The disk vdb is a tar: the checkout, and the script "job". The ports are virtio's.
exec </dev/null
trap 'sync; systemctl poweroff --force --force' EXIT
modprobe --all virtio_console overlay veth
udevadm settle
mkdir -p /srv/kaa
tar -x -f /dev/vdb -C /srv/kaa
cd /srv/kaa
export HOME=/root LANG=C.UTF-8 TERM=dumb
mkfifo /run/kaa-out
cat /run/kaa-out >/dev/virtio-ports/out &
sh ./job >/run/kaa-out 2>&1
status=$?
wait
echo "$status" >/dev/virtio-ports/status
sleep 1
"""


def missing() -> str:
    """Why no machine can be made here; "" if one can."""
    lacking = [tool for tool in TOOLS if shutil.which(tool) is None]
    if lacking:
        return f"not installed: {', '.join(lacking)} (Debian: apt install {TOOL_PACKAGES})"
    if not image().exists():
        if os.geteuid() != 0:
            return "making the image of the machine needs root"
        if not mirror():
            return f"apt knows no mirror with {SUITE}"
    return ""


def mirror() -> str:
    """A Debian mirror: the one that apt has, or on another distribution the general one."""
    shown = subprocess.run(
        [
            "apt-get", "indextargets", "--format", "$(REPO_URI)",
            "Created-By: Packages", f"Codename: {SUITE}", "Component: main",
        ],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    found = shown.stdout.split()
    return found[0] if found else "http://deb.debian.org/debian/"


def cache() -> Path:
    """Where images are kept."""
    return Path(os.environ.get("KAA_VM_CACHE") or Path.home() / ".cache/kaa-vm")


def image() -> Path:
    """The directory of the image that this file describes: `disk`, `vmlinuz`, `initrd`."""
    how = [inspect.getsource(function) for function in (_make, _furnish)]
    parts = [SUITE, *PACKAGES, DISK, *MASKED, SERVICE, JOB, *how]
    return cache() / hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]


def build() -> Path:
    """The image; made if it is not there."""
    target = image()
    target.parent.mkdir(parents=True, exist_ok=True)
    with (target.parent / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if target.exists():
            return target
        for old in target.parent.iterdir():
            if old.is_dir():
                shutil.rmtree(old)
        started = time.monotonic()
        say("making the image of the machine (some minutes)")
        with tempfile.TemporaryDirectory(prefix="new-", dir=target.parent) as fresh:
            _make(Path(fresh))
            (Path(fresh) / "done").rename(target)
        say(f"made it in {time.monotonic() - started:.0f} s")
    return target


def _make(work: Path) -> None:
    root, done = work / "root", work / "done"
    done.mkdir()
    log = work / "log"
    with log.open("wb") as output:
        steps = (
            ["debootstrap", "--variant=minbase", f"--include={','.join(PACKAGES)}",
             SUITE, str(root), mirror()],
            ["chroot", str(root), "useradd", "--create-home", "--uid=1000",
             "--shell=/bin/bash", "tester"],
        )  # fmt: skip
        for step in steps:
            _run(step, output, log)
        _furnish(root)
        for name in ("vmlinuz", "initrd.img"):
            (found,) = (root / "boot").glob(f"{name.partition('.')[0]}*-*")
            shutil.copy(found, done / name.partition(".")[0])
        _run(["mke2fs", "-q", "-t", "ext4", "-O", "^has_journal", "-E", "lazy_itable_init=1",
              "-m", "0", "-d", str(root), str(done / "disk"), DISK], output, log)  # fmt: skip
    shutil.rmtree(root)


def _run(command: list[str], output: object, log: Path) -> None:
    made = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=output,  # type: ignore[call-overload]
        stderr=subprocess.STDOUT,
        check=False,
        timeout=BUILD_S,
        env={**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"},
    )
    if made.returncode:
        tail = log.read_text(errors="replace").splitlines()[-20:]
        raise SystemExit("\n".join([*tail, f"machine: {command[0]} has failed"]))


def _furnish(root: Path) -> None:
    """What makes a machine of the directory tree, and boots it straight to the job."""

    def put(path: str, text: str, mode: int = 0o644) -> None:
        place = root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
        place.chmod(mode)

    units = "etc/systemd/system"
    put("etc/hostname", "vm\n")
    put("etc/hosts", "127.0.0.1 localhost vm\n::1 localhost\n")
    put("etc/fstab", "")
    put("etc/subuid", "tester:100000:65536\n")
    put("etc/subgid", "tester:100000:65536\n")
    put("etc/systemd/journald.conf.d/kaa.conf", "[Journal]\nStorage=volatile\n")
    put(f"{units}/user@.service.d/kaa.conf", "[Service]\nDelegate=yes\n")
    put(f"{units}/kaa-job.service", SERVICE)
    put("usr/local/sbin/kaa-job", JOB, 0o755)
    put("var/lib/systemd/linger/tester", "")
    wants = root / units / "multi-user.target.wants"
    wants.mkdir(exist_ok=True)
    (wants / "kaa-job.service").symlink_to("../kaa-job.service")
    for unit in MASKED:
        (root / units / unit).unlink(missing_ok=True)
        (root / units / unit).symlink_to("/dev/null")
    default = root / units / "default.target"
    default.unlink(missing_ok=True)
    default.symlink_to("/lib/systemd/system/multi-user.target")
    shutil.rmtree(root / "var/cache/apt/archives")


def pack(target: Path, command: str) -> None:
    """The checkout and the command, as the tar that becomes the machine's second disk."""

    def wanted(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
        return None if Path(entry.name).name in LEFT_OUT else entry

    job = target.with_suffix(".job")
    job.write_text(command)
    with tarfile.open(target, "w") as archive:
        for name in ("src", "tests", "benchmarks", "pyproject.toml"):
            archive.add(CHECKOUT / name, name, filter=wanted)
        archive.add(job, "job")
    # a disk is a whole number of sectors
    os.truncate(target, -(-target.stat().st_size // 512) * 512)


def run(command: str, *, timeout_s: float, memory: int, cpus: int, kernel: str) -> int:
    """Boot, run the shell command, show its output, power off; the command's exit status."""
    found = build()
    with tempfile.TemporaryDirectory(prefix="kaa-vm-") as name:
        work = Path(name)
        pack(work / "job.tar", command)
        status, console = work / "status", work / "console"
        argv = [
            "qemu-system-x86_64", "-nodefaults", "-no-user-config", "-no-reboot",
            "-display", "none", "-machine", "pc", "-m", str(memory), "-smp", str(cpus),
            *_accelerator(),
            "-kernel", str(found / "vmlinuz"), "-initrd", str(found / "initrd"),
            "-append", f"root=/dev/vda rw console=ttyS0 quiet panic=-1 mitigations=off {kernel}",
            *_disk("root", found / "disk", "snapshot=on"),
            *_disk("job", work / "job.tar", "readonly=on"),
            "-device", "virtio-rng-pci",
            "-serial", f"file:{console}",
            "-device", "virtio-serial-pci",
            # not stdio, which ends, and blocks the writer, where standard input ends
            *_port("out", "file,path=/dev/stdout"),
            *_port("status", f"file,path={status}"),
        ]  # fmt: skip
        if not _follow(argv, {**os.environ, "TMPDIR": str(work)}, timeout_s):
            say(f"it has not ended within {timeout_s:g} s")
            _show(console)
            return TIMED_OUT
        try:
            return int(status.read_text())
        except (ValueError, FileNotFoundError):
            say("it has failed")
            _show(console)
            return FAILED


def _follow(argv: list[str], environ: dict[str, str], timeout_s: float) -> bool:
    """Run qemu and pass on what it prints; whether it has ended in time."""
    late = threading.Event()
    with subprocess.Popen(
        argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, env=environ
    ) as process:
        assert process.stdout

        def end() -> None:
            late.set()
            process.kill()

        timer = threading.Timer(timeout_s, end)
        timer.start()
        try:
            while said := os.read(process.stdout.fileno(), 1 << 16):
                sys.stdout.buffer.write(said)
                sys.stdout.flush()
        except BaseException:
            process.kill()
            raise
        finally:
            timer.cancel()
    return not late.is_set()


def _accelerator() -> list[str]:
    accelerator = os.environ.get("KAA_VM_ACCEL", "tcg")
    if accelerator == "tcg":
        return ["-accel", "tcg,thread=multi,tb-size=512", "-cpu", "Nehalem"]
    return ["-accel", accelerator, "-cpu", "host"]


def _disk(name: str, path: Path, options: str) -> list[str]:
    drive = f"id={name},file={path},format=raw,if=none,cache=unsafe,{options}"
    return ["-drive", drive, "-device", f"virtio-blk-pci,drive={name}"]


def _port(name: str, chardev: str) -> list[str]:
    kind, _, rest = chardev.partition(",")
    backend = f"{kind},id={name}" + (f",{rest}" if rest else "")
    return ["-chardev", backend, "-device", f"virtserialport,chardev={name},name={name}"]


def _show(console: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        sys.stderr.write("\n".join(console.read_text(errors="replace").splitlines()[-40:]) + "\n")


def say(text: str) -> None:
    """A word to the one who waits."""
    print(f"machine: {text}", file=sys.stderr, flush=True)


def main() -> int:
    """The command line above."""
    parser = argparse.ArgumentParser(description="A throw-away virtual machine.")
    commands = parser.add_subparsers(dest="action", required=True)
    commands.add_parser("build", help="make the image")
    commands.add_parser("missing", help="print what this host lacks")
    runner = commands.add_parser("run", help="run a command in the machine")
    runner.add_argument("--timeout", type=float, default=1500, help="seconds")
    runner.add_argument("--memory", type=int, default=2048, help="MiB")
    runner.add_argument("--cpus", type=int, default=2)
    runner.add_argument("--v1", action="store_true", help="with the cgroups of version 1")
    runner.add_argument("command", nargs="+")
    given = parser.parse_args()
    # as for an interrupt: the machine ends with us, and so do the temporary files
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    why = missing()
    if given.action == "missing":
        print(why)
        return bool(why)
    if why:
        say(why)
        return FAILED
    if given.action == "build":
        build()
        return 0
    return run(
        shlex.join(given.command),
        timeout_s=given.timeout,
        memory=given.memory,
        cpus=given.cpus,
        kernel=f"systemd.unified_cgroup_hierarchy={int(not given.v1)}",
    )


if __name__ == "__main__":
    raise SystemExit(main())
