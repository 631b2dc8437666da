"""Known attacks on container runtimes that are no links: what they got, nobody gets here."""

import hashlib
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from kit import config, fdleaker, probe
from kit.console import ConsoleSocket
from kit.container import Container, wait_for
from kit.hostcanary import HostCanary
from kit.runtime import CHECKOUT

FIRST, LAST = 3, 30


@pytest.mark.parametrize("place", ["config", "exec", "link"])
def test_cwd_through_a_leaked_descriptor(container: Container, place: str) -> None:
    """CVE-2024-21626: every descriptor number, with a caller that leaks `/` in all of them."""
    container.process["args"] = ["sh", "-c", "pwd -P; ls -a . ../../../../../.."]
    if place == "exec":
        container.sleeping()
    for number in range(FIRST, LAST):
        path = f"/proc/self/fd/{number}"
        if place == "link":
            (container.rootfs / f"link{number}").symlink_to(path)
            path = f"/link{number}"
        if place == "exec":
            result = container.exec(
                *("--cwd", path, "--", "sh", "-c", "pwd -P; ls -a . ../../../../../.."),
                prefix=fdleaker.prefix(),
            )
        else:
            container.process["cwd"] = path
            result = container.run(prefix=fdleaker.prefix())
            container.delete("--force")
        assert "work" not in result.out.split(), f"{path} is on the host\n{result}"
        assert result.code != 0 or result.out.startswith("/"), result
        assert "unreachable" not in result.out


def test_a_program_through_a_leaked_descriptor(container: Container, tmp: Path) -> None:
    """CVE-2024-21626, third way: args[0] is a path through a descriptor."""
    evil = tmp / "evil"
    evil.write_text("#!/bin/sh\ntouch /was-run\n")
    evil.chmod(0o755)
    for number in range(FIRST, LAST):
        container.process["args"] = [f"/proc/self/fd/{number}{evil}"]
        container.run(prefix=fdleaker.prefix()).failed()
        container.delete("--force")
    assert not (container.rootfs / "was-run").exists()


def test_the_runtime_cannot_be_overwritten_from_inside(container: Container) -> None:
    """CVE-2019-5736: root in the container opens every other process's executable.

    While `exec` enters again and again, a loop inside opens /proc/PID/exe of what
    it sees, and tries to write to it once it may no longer be running.
    """
    if not container.runtime.is_kaa:
        pytest.skip("the hashes are those of kaa's files")
    before = _hashes()
    container.process["capabilities"] = {
        kind: ["CAP_DAC_OVERRIDE", "CAP_SYS_PTRACE", "CAP_KILL"]
        for kind in ("bounding", "effective", "permitted")
    }
    container.process["noNewPrivileges"] = False
    container.script(
        "while :; do for p in /proc/[0-9]*; do test $p = /proc/1 && continue; "
        "(exec 9< $p/exe && echo $(readlink $p/exe) >> /exes; "
        "echo evil > /proc/self/fd/9; echo evil > $p/exe) 2>> /errors; "
        "(ls -l $p/fd; ls -l $p/map_files; readlink $p/root $p/cwd) >> /links 2>/dev/null; "
        "done; done"
    )
    container.up()
    for _ in range(40):
        container.exec("true").ok()
    exes = container.rootfs / "exes"
    seen = set(exes.read_text().split()) if exes.exists() else set()
    assert not any("python" in exe for exe in seen), seen
    links = (container.rootfs / "links").read_text()
    assert "/work/" not in links
    assert "python" not in links
    assert _hashes() == before


@pytest.mark.parametrize("args", [["/proc/self/exe", "--version"], ["/bin/self"]])
def test_self_exe_as_the_program(container: Container, args: list[str]) -> None:
    """CVE-2019-5736, the entry point: it must not be the host's binary that runs."""
    script = container.rootfs / "bin/self"
    script.write_text("#!/proc/self/exe\n")
    script.chmod(0o755)
    container.process["args"] = args
    before = _hashes()
    result = container.run(timeout=20)
    result.sane()
    assert _hashes() == before
    container.delete("--force")


def test_entering_cannot_be_traced(container: Container) -> None:
    """CVE-2016-9962: the process that enters is not dumpable until it is the container's."""
    container.process["capabilities"] = {
        kind: ["CAP_KILL"] for kind in ("bounding", "effective", "permitted")
    }
    container.script(
        "while :; do for p in /proc/[0-9]*; do case $p in /proc/1|/proc/$$) continue;; esac; "
        "readlink $p/exe $p/cwd $p/root; for f in $p/fd/*; do readlink $f; done; "
        "done >> /seen 2>/dev/null; done"
    ).up()
    for _ in range(40):
        container.exec("true").ok()
    container.stop()
    allowed = ("/", "/bin/busybox", "/dev/null", "pipe:", "/seen", "/tmp", "anon", "/proc", "/exes")
    seen = set((container.rootfs / "seen").read_text().split())
    # exec's own standard streams are the caller's files, "(deleted)" in this kit
    foreign = {name for name in seen if not name.startswith(allowed) and name != "(deleted)"}
    assert not any("socket" in name or "/sys/fs/cgroup" in name for name in seen), seen
    assert not foreign, foreign


@pytest.mark.kaa_only("runc 1.1 has this hole, and the test shows it")
@pytest.mark.parametrize("null", ["link", "file", "missing", "other device", "directory"])
def test_a_false_null_device(container: Container, tmp: Path, null: str) -> None:
    """CVE-2025-31133, CVE-2025-62161: what masks a file must be the real /dev/null."""
    dev = tmp / "dev"
    dev.mkdir()
    place = dev / "null"
    if null == "link":
        place.symlink_to("/proc/sys/kernel/core_pattern")
    elif null == "file":
        place.write_text("not a device")
    elif null == "other device":
        os.mknod(place, 0o666 | stat.S_IFCHR, os.makedev(1, 5))
    elif null == "directory":
        place.mkdir()
    container.mounts[:] = [m for m in container.mounts if not m["destination"].startswith("/dev")]
    container.mounts.append(config.bind(dev, "/dev"))
    (container.rootfs / "masked").write_text("a secret")
    container.linux["maskedPaths"] = ["/masked", "/proc/kcore", "/proc/keys"]
    container.linux["readonlyPaths"] = ["/proc/sys"]
    container.script(
        "head -c 64 /masked; echo owned > /proc/sys/kernel/core_pattern; "
        "echo owned > /masked; head -c 16 /proc/keys"
    )
    result = container.run()
    assert "secret" not in result.out
    assert "not a device" not in result.out
    assert "owned" not in Path("/proc/sys/kernel/core_pattern").read_text()


@pytest.mark.parametrize("fake", ["console", "ptmx", "pts/0"])
def test_a_false_terminal(container: Container, canary: HostCanary, tmp: Path, fake: str) -> None:
    """CVE-2025-52565: /dev/console and the pty are never what the image put there."""
    dev = tmp / "dev"
    (dev / "pts").mkdir(parents=True)
    (dev / fake).symlink_to(canary.file)
    container.mounts[:] = [m for m in container.mounts if not m["destination"].startswith("/dev")]
    container.mounts.append(config.bind(dev, "/dev"))
    container.process["terminal"] = True
    container.script("stat -c %t /dev/console; echo owned > /dev/console")
    console = ConsoleSocket(tmp / "console.sock")
    try:
        result = container.create("--console-socket", console.path)
        if result.code == 0:
            os.close(console.receive()[0])
            container.start()
        else:
            result.sane()
        container.delete("--force")
    finally:
        console.close()
    canary.intact()


@pytest.mark.parametrize("target", ["/proc/self/attr/exec", "/proc/thread-self/attr/exec"])
def test_the_confinements_files_are_not_covered(container: Container, target: str) -> None:
    """CVE-2025-52881: a harmless procfs file bound over where a label is written."""
    container.mounts.append(config.bind("/proc/self/environ", target))
    container.run().failed("proc", "self")


def test_a_covered_sysctl_is_set_all_the_same_or_refused(container: Container) -> None:
    """CVE-2025-52881: /proc/sys covered by a tmpfs."""
    container.mounts.append(config.tmpfs("/proc/sys"))
    container.linux["sysctl"] = {"net.ipv4.ip_forward": "1"}
    container.linux["readonlyPaths"] = []
    container.run().failed("proc")


def test_file_capabilities_are_not_regained(container: Container) -> None:
    """CVE-2022-29162: a program with inheritable file capabilities gains nothing."""
    probe.install(container.rootfs)
    target = container.rootfs / "inside_probe"
    set_inheritable = subprocess.run(
        ["setcap", "cap_net_raw+ei", str(target)], capture_output=True, check=False
    )
    if set_inheritable.returncode:
        # VFS_CAP_REVISION_2 with the effective bit; inheritable: CAP_NET_RAW
        data = (0x02000001).to_bytes(4, "little") + bytes(4)
        data += (1 << 13).to_bytes(4, "little") + bytes(8)
        os.setxattr(target, "security.capability", data)
    container.process["noNewPrivileges"] = False
    container.sleeping()
    for options in ([], ["--cap", "CAP_NET_RAW", "--user", "1000"]):
        result = container.exec(*options, "--", probe.PATH)
        if result.code == 0:
            report = probe.Report(result.out)
            assert report.capabilities("Inh") == set()
            if not options:
                assert "CAP_NET_RAW" not in report.capabilities("Prm")


def test_a_systemd_property_is_not_taken_from_anyone(container: Container, tmp: Path) -> None:
    """CVE-2024-3154: an annotation must not run a command on the host."""
    container.config["annotations"] = {
        "org.systemd.property.ExecStartPre": f"'/bin/touch {tmp}/owned'"
    }
    container.run()
    assert not (tmp / "owned").exists()


def test_a_very_long_annotation_and_source(container: Container) -> None:
    """CVE-2021-43784: lengths that once overflowed a 16-bit field."""
    config.add_user_namespace(container.config)
    os.chown(container.rootfs, 200000, 200000)
    container.config["annotations"] = {"long": "x" * 70_000}
    probe.install(container.rootfs)
    container.process["args"] = [probe.PATH]
    report = probe.Report(container.run().ok().out)
    assert report["uid_map"].split() == ["0", "200000", "65536"]
    container.mounts.append(config.bind("/" + "s" * 70_000, "/vol"))
    container.run().failed()


@pytest.mark.parametrize("option", ["ro", "rw"])
def test_cgroups_without_a_namespace_are_not_the_hosts(container: Container, option: str) -> None:
    """CVE-2023-25809: with "ro" nothing is writable; without, only the container's own."""
    container.mounts.append(
        {
            "destination": "/sys/fs/cgroup",
            "type": "cgroup",
            "source": "cgroup",
            "options": ["nosuid", "noexec", "nodev", option],
        }
    )
    container.script(
        "for d in /sys/fs/cgroup /sys/fs/cgroup/*/; do mkdir $d/../escaped $d/made && echo $d; "
        "done 2>/dev/null; find /sys/fs/cgroup -name escaped -o -name made; true"
    )
    made = container.run().ok().out
    if option == "ro":
        assert made == ""
    left = [path for path in Path("/sys/fs/cgroup").glob("*/escaped") if path.is_dir()]
    assert left == []


def test_many_starts_leave_the_hosts_mounts_alone(container: Container) -> None:
    """A mount that leaks now and then: the mount table is the same after 30 starts."""
    before = Path("/proc/self/mountinfo").read_text()
    for _ in range(30):
        container.run().ok()
    assert Path("/proc/self/mountinfo").read_text() == before


def test_a_pid_that_was_taken_by_somebody_else(container: Container) -> None:
    """The start time tells: kill and delete never touch the stranger."""
    container.sleeping()
    pid = container.pid
    container.stop()
    sleeper = subprocess.Popen(["sleep", "100"])
    try:
        path = container.runtime.root / container.id / "state.json"
        text = path.read_text()
        assert str(pid) in text
        path.write_text(text.replace(str(pid), str(sleeper.pid)))
        container.kill("KILL")
        container.delete("--force")
        wait_for(lambda: not (container.runtime.root / container.id).exists(), "delete", 15)
        assert sleeper.poll() is None, "a stranger was killed"
    finally:
        sleeper.kill()
        sleeper.wait()


def _hashes() -> dict[str, str]:
    """What kaa is made of, by content: its modules, kaa-init and the interpreter."""
    files = [*(CHECKOUT / "src/kaa").rglob("*.py"), CHECKOUT / "src/kaa/init/kaa-init"]
    files.append(Path(sys.executable).resolve())
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
