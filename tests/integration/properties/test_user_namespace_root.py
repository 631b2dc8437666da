"""The root of a user namespace, as rootless podman is one: `unshare -Ur` around the runtime."""

import json
import os
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from kit import config
from kit.container import Container

from . import ordinary

pytestmark = pytest.mark.kaa_only("runc 1.1 fails here: it cannot go back to the host's mounts")


@pytest.fixture
def below(user: ordinary.UserRuntime, tmp: Path) -> Container:
    """A container of the user's, whose runtime is root of a user namespace of one id."""
    runtime = ordinary.UserRuntime(user.runtime_dir, ("unshare", "--user", "--map-root-user"))
    found = ordinary.container(runtime, tmp / "below", f"{tmp.name}-b")
    for key in ("uidMappings", "gidMappings"):
        found.linux[key] = [{"containerID": 0, "hostID": 0, "size": 1}]
    return found


def without_user_namespace(container: Container) -> Container:
    """The container stays in the runtime's own."""
    config.drop_namespace(container.config, "user")
    for key in ("uidMappings", "gidMappings"):
        del container.linux[key]
    return container


IDS = "id -u; cat /proc/self/uid_map"


def test_a_user_namespace_below(below: Container) -> None:
    shown = below.script(IDS).run().ok().out.split()
    assert shown == ["0", "0", "0", "1"]


def test_in_the_runtimes_own(below: Container) -> None:
    without_user_namespace(below)
    shown = below.script(IDS).run().ok().out.split()
    assert shown == ["0", "0", str(ordinary.UID), "1"]


def test_time_offsets_and_a_score(below: Container) -> None:
    """Files in /proc that an undumpable process of a user namespace does not own."""
    without_user_namespace(below)
    below.linux["namespaces"].append({"type": "time"})
    below.linux["timeOffsets"] = {"boottime": {"secs": 9_000_000}}
    score = min(int(Path("/proc/self/oom_score_adj").read_text()) + 50, 1000)
    below.process["oomScoreAdj"] = score
    shown = below.script("cat /proc/uptime /proc/self/oom_score_adj").run().ok().out.splitlines()
    assert float(shown[0].split()[0]) > 9_000_000
    assert int(shown[1]) == score


def test_a_limit_it_cannot_set(below: Container, nothing_is_left: Callable[[], None]) -> None:
    below.linux["resources"] = {"memory": {"limit": 1 << 26}}
    below.run().failed("memory", code=1)
    nothing_is_left()


def test_the_state_is_in_the_runtime_directory(
    below: Container, user: ordinary.UserRuntime
) -> None:
    below.process["args"] = ["sleep", "1000"]
    below.create().ok()
    assert (user.root / below.id).is_dir()
    # each call is in a user namespace of its own; from outside all of them can be reached
    assert json.loads(user("state", below.id).ok().out)["status"] == "created"
    user("delete", "--force", below.id).ok()


def test_the_life_of_a_container(below: Container, user: ordinary.UserRuntime) -> None:
    """All calls from within one user namespace, as podman makes them."""
    below.process["args"] = ["sleep", "1000"]
    below.write()
    kaa, id = shlex.join(user.command), below.id
    script = f"""
        set -e
        {kaa} create --bundle {below.bundle} {id} >/dev/null
        {kaa} start {id}
        {kaa} exec {id} id -u
        {kaa} list --quiet
        {kaa} kill {id} KILL
        {kaa} delete --force {id}
        {kaa} list --quiet
    """
    shown = subprocess.run(
        ["unshare", "--user", "--map-root-user", "sh", "-c", script],
        user=ordinary.UID,
        group=ordinary.UID,
        extra_groups=[],
        env=user.environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (shown.returncode, shown.stdout) == (0, f"0\n{id}\n"), shown


def test_a_bind_over_locked_mounts(below: Container, tmp: Path) -> None:
    """What lies below another's mount is not uncovered by a bind that leaves it out."""
    below.mounts.append(
        {"destination": "/vol", "type": "none", "source": "/sys", "options": ["bind"]}
    )
    below.run().failed("invalid argument", "/mounts/", code=1)


def test_a_full_identity_map_is_not_the_initial_namespace(
    container: Container, nothing_is_left: Callable[[], None]
) -> None:
    """uid_map says what the host's says; devices and cgroups are closed all the same."""
    container.script("cat /proc/self/uid_map; test -c /dev/null && echo device").write()
    argv = container.runtime.argv("run", "--bundle", container.bundle, container.id)
    first, *rest = _in_identity_namespace(argv).splitlines()
    assert first.split() == ["0", "0", "4294967295"]
    assert rest == ["device"]
    nothing_is_left()


def _in_identity_namespace(argv: list[str]) -> str:
    """Run it as root of a user namespace that maps every id to itself."""
    with subprocess.Popen(
        ["unshare", "--user", "sh", "-c", 'read _; exec "$0" "$@" </dev/null', *argv],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as holder:
        own = os.readlink("/proc/self/ns/user")
        while os.readlink(f"/proc/{holder.pid}/ns/user") == own:
            pass
        for name in ("uid_map", "gid_map"):
            Path(f"/proc/{holder.pid}/{name}").write_text("0 0 4294967295\n")
        out, err = holder.communicate("\n", timeout=40)
    assert holder.returncode == 0, err
    return out
