"""An ordinary user's containers, in scopes of the user's own systemd."""

import json
import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kit.config import default
from kit.container import wait_for
from kit.rootfs import busybox
from kit.runtime import ENVIRONMENT, Result, command_line

from .test_v2_containers import BOMB, MIB

pytest.importorskip("jeepney")

NAME = "tester"


class User:
    """An ordinary user with a systemd, and a bundle and a container of the user's."""

    def __init__(self, bundle: Path) -> None:
        found = pwd.getpwnam(NAME)
        self.uid, self.gid = found.pw_uid, found.pw_gid
        self.runtime_dir = Path(f"/run/user/{self.uid}")
        self.bundle = bundle
        self.id = bundle.parent.name
        self.config = default()
        self.config["linux"]["namespaces"] += [{"type": "user"}, {"type": "cgroup"}]
        for kind, own in (("uid", self.uid), ("gid", self.gid)):
            self.config["linux"][f"{kind}Mappings"] = [
                {"containerID": 0, "hostID": own, "size": 1},
                {"containerID": 1, "hostID": 100000, "size": 65536},
            ]
        self.config["linux"]["cgroupsPath"] = f"user.slice:test:{self.id}"
        self.config["process"]["args"] = ["sleep", "1000"]
        busybox(bundle / "rootfs")
        subprocess.run(["chown", "-R", f"{self.uid}:{self.gid}", bundle], check=True)
        self.environ = {**ENVIRONMENT, "XDG_RUNTIME_DIR": str(self.runtime_dir)}

    def call(self, *args: object, session: bool = False, **environ: str) -> Result:
        """kaa, as the user: as a child of ours, or in a login session of its own."""
        command = [*command_line(), "--root", str(self.bundle / "state"), *map(str, args)]
        whole = {**self.environ, **environ}
        if session:
            prefix = ["systemd-run", "--quiet", "--wait", "--pipe", "--collect",
                      f"--uid={NAME}", "--property=PAMName=login",
                      *(f"--setenv={k}={v}" for k, v in whole.items())]  # fmt: skip
        else:
            prefix = ["setpriv", f"--reuid={self.uid}", f"--regid={self.gid}", "--init-groups"]
        with (self.bundle.parent / "said").open("w+") as said:
            done = subprocess.run(
                [*prefix, *command], stdin=subprocess.DEVNULL, stdout=said, stderr=said,
                env=whole, check=False, timeout=60,
            )  # fmt: skip
            said.seek(0)
            text = said.read()
        return Result([*prefix, *command], done.returncode, text, text)

    def create(self, **more: Any) -> Result:
        (self.bundle / "config.json").write_text(json.dumps(self.config))
        return self.call("--systemd-cgroup", "create", "--bundle", self.bundle, self.id, **more)

    def up(self, **more: Any) -> "User":
        self.create(**more).ok()
        self.call("start", self.id, **more).ok()
        return self

    @property
    def cgroup(self) -> Path:
        manager = f"user.slice/user-{self.uid}.slice/user@{self.uid}.service"
        return Path("/sys/fs/cgroup", manager, "user.slice", f"test-{self.id}.scope")

    def value(self, file: str) -> str:
        return (self.cgroup / file).read_text().strip()

    def shown(self, key: str) -> str:
        done = subprocess.run(
            ["setpriv", f"--reuid={self.uid}", f"--regid={self.gid}", "--init-groups",
             "systemctl", "--user", "show", "--value", "--property", key, f"test-{self.id}.scope"],
            capture_output=True, text=True, check=True, env=self.environ,
        )  # fmt: skip
        return done.stdout.strip()


@pytest.fixture
def user(tmp: Path) -> Iterator[User]:
    try:
        uid = pwd.getpwnam(NAME).pw_uid
    except KeyError:
        pytest.skip(f"there is no user {NAME} on this machine: see tests/vm")
    if not os.path.exists(f"/run/user/{uid}/systemd/private"):
        pytest.skip(f"the user {NAME} has no systemd running")
    tmp.chmod(0o755)
    found = User(tmp / "bundle")
    yield found
    found.call("delete", "--force", found.id)
    shutil.rmtree(found.bundle)
    assert found.shown("LoadState") == "not-found"
    assert not found.cgroup.exists()


def test_limits(user: User) -> None:
    resources = user.config["linux"]["resources"]
    resources |= {"memory": {"limit": 64 * MIB}, "pids": {"limit": 40}, "cpu": {"shares": 512}}
    user.up()
    assert user.shown("ActiveState") == "active"
    assert user.shown("Delegate") == "yes"
    assert user.shown("TasksMax") == "40"
    assert user.value("memory.max") == str(64 * MIB)
    assert user.value("pids.max") == "40"
    assert user.value("cpu.weight") == "59"
    assert user.cgroup.stat().st_uid == user.uid
    assert user.call("exec", user.id, "cat", "/proc/self/cgroup").ok().out.strip() == "0::/"
    user.call("update", "--pids-limit", "50", user.id).ok()
    assert user.value("pids.max") == user.shown("TasksMax") == "50"
    user.call("pause", user.id).ok()
    assert json.loads(user.call("state", user.id).ok().out)["status"] == "paused"
    user.call("resume", user.id).ok()
    stats = json.loads(user.call("events", "--stats", user.id).ok().out)
    assert stats["data"]["pids"] == {"current": 1, "limit": 50}


def test_from_a_login_session(user: User) -> None:
    """There only systemd may move processes to the scope, those of `exec` too."""
    user.up(session=True)
    where = user.call("exec", user.id, "cat", "/proc/self/cgroup", session=True).ok()
    assert where.out.strip() == "0::/"
    assert len(user.value("cgroup.procs").split()) == 1
    user.call("kill", user.id, "KILL", session=True).ok()
    wait_for(lambda: user.shown("ActiveState") != "active", "the scope to end")
    user.call("delete", user.id, session=True).ok()


def test_over_the_session_bus(user: User) -> None:
    user.up(DBUS_SESSION_BUS_ADDRESS=f"unix:path={user.runtime_dir}/bus")
    assert user.shown("ActiveState") == "active"


def test_a_limit_that_nobody_may_set(user: User) -> None:
    user.config["linux"]["resources"]["hugepageLimits"] = [{"pageSize": "2MB", "limit": 0}]
    refused = user.create().failed("/linux/resources/hugepageLimits/0/limit")
    assert "hugetlb" in refused.err
    assert user.shown("LoadState") == "not-found"


def test_out_of_memory(user: User) -> None:
    user.config["linux"]["resources"]["memory"] = {"limit": 24 * MIB, "swap": 24 * MIB}
    user.config["process"]["args"] = ["tail", "/dev/zero"]
    (user.bundle / "config.json").write_text(json.dumps(user.config))
    run = user.call("--systemd-cgroup", "run", "--bundle", user.bundle, user.id)
    assert run.code == 137


def test_a_fork_bomb(user: User) -> None:
    user.config["linux"]["resources"]["pids"] = {"limit": 60}
    user.config["process"]["args"] = ["sh", "-c", BOMB]
    user.up()
    wait_for(lambda: int(user.value("pids.current")) > 40, "the bomb to spread", 30)
    user.call("delete", "--force", user.id).ok()
    assert not user.cgroup.exists()


def test_without_a_session(user: User) -> None:
    user.create(XDG_RUNTIME_DIR="/nonexistent").failed("connect to your systemd")
