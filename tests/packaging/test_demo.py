"""The demo on a machine that has nothing: debootstrap's smallest Debian 12, and git."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from kit import hostns
from kit.build import CACHE, Lock

from .conftest import copy_source, run

SUITE = "bookworm"
PACKAGES = "ca-certificates,git"

# A root of its own, in mount and pid namespaces of its own; $1 is the cached system.
MACHINE = """
set -e
mount -t tmpfs -o mode=0755 fresh "$2"
mkdir "$2/upper" "$2/work" "$2/root"
mount -t overlay -o "lowerdir=$1,upperdir=$2/upper,workdir=$2/work" fresh "$2/root"
cd "$2/root"
mount -t proc proc proc
mount --rbind /sys sys
mount --rbind /dev dev
mkdir -p checkout var/cache/apt/archives
mount --bind "$3" checkout
mount --bind "$4" var/cache/apt/archives
cp -L /etc/resolv.conf etc/resolv.conf
cp -L /etc/ssl/certs/ca-certificates.crt etc/ssl/certs/ca-certificates.crt
grep -hs -i 'acquire::.*prox' /etc/apt/apt.conf /etc/apt/apt.conf.d/* >etc/apt/apt.conf.d/00proxy ||
    true
exec chroot . /bin/sh -c "$5"
"""

INSTALLING = re.compile(r"^setup: installing with apt-get: (.*)$", re.MULTILINE)


def mirror() -> list[str]:
    """The mirror that this machine's apt has SUITE from, if it has: apt-get(8), indextargets."""
    if not shutil.which("apt-get"):
        return []
    query = ["--format", "$(CODENAME) $(REPO_URI)", "Identifier: Packages", "Component: main"]
    targets = run("apt-get", "indextargets", *query).stdout.splitlines()
    return [uri for name, uri in map(str.split, targets) if name == SUITE][:1]


@pytest.fixture(scope="module")
def debian() -> Path:
    """The system, in the cache: to be used as the lower layer of an overlay."""
    if not shutil.which("debootstrap"):
        pytest.skip("debootstrap is not installed")
    target = CACHE / "debian-minbase-git"
    with Lock(target.name):
        if not target.exists():
            fresh = target.with_suffix(f".{os.getpid()}")
            command = ["debootstrap", "--variant=minbase", f"--include={PACKAGES}"]
            command += [SUITE, str(fresh), *mirror()]
            try:
                run(*hostns.with_network(command), env=os.environ, timeout=600)
                fresh.rename(target)
            finally:
                shutil.rmtree(fresh, ignore_errors=True)
    return target


@pytest.fixture
def commit(tmp_path: Path) -> Path:
    """A git repository with the files of this checkout."""
    source = copy_source(tmp_path / "source")
    git = ["git", "-c", "user.name=test", "-c", "user.email=test@localhost"]
    run(*git, "init", "--quiet", cwd=source)
    run(*git, "add", "--all", cwd=source)
    run(*git, "commit", "--quiet", "--message", "as it is", cwd=source)
    return source


def on_a_fresh_machine(
    debian: Path, commit: Path, directory: Path, script: str
) -> subprocess.CompletedProcess[str]:
    """Run `script` there, with stderr in stdout."""
    archives = CACHE / "apt-archives"
    (archives / "partial").mkdir(parents=True, exist_ok=True)
    place = directory / "machine"
    place.mkdir()
    environ = {k: v for k, v in os.environ.items() if k.lower().endswith("_proxy")}
    with Lock(archives.name):
        return run(
            *hostns.with_network(["unshare", "--mount", "--pid", "--fork", "--kill-child"]),
            *("sh", "-c", MACHINE, "sh", debian, place, commit, archives, script),
            check=False,
            capture_output=False,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=600,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", **environ},
        )


@pytest.mark.slow
def test_demo_on_a_fresh_machine(debian: Path, commit: Path, tmp_path: Path) -> None:
    script = """
        set -e
        git config --global --add safe.directory /checkout/.git
        git clone --quiet /checkout /root/kaa
        cd /root/kaa
        if command -v python3 cc make; then exit 9; fi
        sh scripts/demo.sh
        echo === the second time
        sh scripts/demo.sh
        echo === a command
        sh scripts/demo.sh sh -c 'echo $$; exit 7' || echo status $?
        echo === left behind
        ls /tmp /kaa-demo-was-here 2>&1 || true
        git status --short
    """
    done = on_a_fresh_machine(debian, commit, tmp_path, script)
    print(done.stdout)
    assert done.returncode == 0
    first, second, command, left = re.split(r"=== .*\n", done.stdout)
    assert {"gcc", "libc6-dev", "python3"} <= set(" ".join(INSTALLING.findall(first)).split())
    assert not INSTALLING.search(second)
    for output in (first, second):
        assert re.search(r"process number +\d+ +1\n", output), output
        assert re.search(r"host name +\S+ +kaa-demo\n", output)
        assert re.search(r"network interfaces .*\blo\n", output)
        assert re.search(r"root file system +overlay +overlay\n", output)
        assert "the file is not here" in output
    assert command.splitlines()[-2:] == ["1", "status 7"]
    assert left == "ls: cannot access '/kaa-demo-was-here': No such file or directory\n/tmp:\n"


def test_demo_says_that_it_needs_root() -> None:
    demo = Path(__file__).parents[2] / "scripts/demo.sh"
    done = run("setpriv", "--reuid=65534", "--clear-groups", "sh", demo, check=False)
    assert done.returncode == 1
    assert done.stderr == "demo: needs root, to install packages and to mount: sudo make demo\n"
