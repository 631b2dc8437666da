"""Networks and routes, from the library and from the command line."""

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kit.runtime import Runtime as Command

import kaa

NewId = Callable[[], str]
NAME = f"kb{os.getpid() % 100000}"


def links() -> set[str]:
    return {name for _, name in socket.if_nameindex()}


@pytest.fixture
def bridge(warmed_up: None) -> Iterator[kaa.Bridge]:
    before = links()
    with kaa.Bridge(NAME, "10.77.0.1/24", "fd77::1/64") as found:
        yield found
    end = time.monotonic() + 5
    while links() != before:  # the kernel ends network namespaces in its own time
        assert time.monotonic() < end, f"links are left: {links() - before}"
        time.sleep(0.01)


def plug(switch: kaa.Bridge, number: int, **more: Any) -> kaa.Network:
    addresses = (f"10.77.0.{number}/24", f"fd77::{number}/64")
    return kaa.Network(**{"bridge": switch.name, "addresses": addresses, **more})


def inside(image: Path, runtime: kaa.Runtime, script: str, **more: Any) -> str:
    done = kaa.run(["sh", "-c", script], rootfs=image, runtime=runtime, capture_output=True,
                   text=True, **more)  # fmt: skip
    assert done.returncode == 0, done
    return str(done.stdout)


@pytest.mark.parametrize("address", ["10.77.0.2", "fd77::2"])
def test_two_containers_talk(
    image: Path, runtime: kaa.Runtime, bridge: kaa.Bridge, address: str
) -> None:
    before = links()
    with kaa.Popen(
        ["sh", "-c", "echo up; exec nc -l -p 7 -e cat"],
        stdout=kaa.PIPE,
        stderr=kaa.STDOUT,
        rootfs=image,
        runtime=runtime,
        network=plug(bridge, 2),
    ) as server:
        assert server.stdout
        assert server.stdout.readline() == b"up\n"
        assert len(links() - before) == 1
        script = f"for i in 1 2 3 4 5 6 7 8 9; do nc {address} 7 && break; sleep 0.2; done"
        done = kaa.run(
            ["sh", "-c", script],
            input="hello over there",
            stdout=kaa.PIPE,
            rootfs=image,
            runtime=runtime,
            timeout=20,
            network=plug(bridge, 3),
        )
        assert done.stdout == "hello over there"
        server.kill()


def test_the_link_ends_with_a_killed_container(
    runtime: kaa.Runtime, config: kaa.Config, new_id: NewId, bridge: kaa.Bridge
) -> None:
    before = links()
    config.networks = [plug(bridge, 2)]
    with runtime.create(new_id(), config) as container:
        container.start()
        [link] = links() - before
        os.kill(container.pid, signal.SIGKILL)
        assert container.wait(10) == -9
        end = time.monotonic() + 5
        while link in links():
            assert time.monotonic() < end
            time.sleep(0.01)


def test_what_it_looks_like_inside(image: Path, runtime: kaa.Runtime, bridge: kaa.Bridge) -> None:
    network = plug(
        bridge,
        2,
        name="lan0",
        host_name=f"{NAME}h",
        gateways=("10.77.0.1", "fd77::1"),
        mtu=1400,
        mac="02:00:00:00:00:07",
        tx_queue_length=77,
        hairpin=True,
    )
    loopback = kaa.Network(kind="loopback", addresses=("10.9.9.9/32",))
    routes = [
        kaa.Route(destination="10.99.0.0/16", gateway="10.77.0.9", source="10.77.0.2"),
        kaa.Route(destination="fd99::/64", interface="lan0"),
    ]
    with kaa.Popen(
        ["sh", "-c", "ip address; ip route; ip -6 route; echo done; cat"],
        stdin=kaa.PIPE,
        stdout=kaa.PIPE,
        text=True,
        rootfs=image,
        runtime=runtime,
        network=[network, loopback],
        routes=routes,
    ) as process:
        assert process.stdin and process.stdout
        said = ""
        while not said.endswith("done\n"):
            said += process.stdout.readline()
        host = json.loads(
            subprocess.check_output(["ip", "-j", "-d", "link", "show", f"{NAME}h"], text=True)
        )[0]
    for words in (
        "mtu 1400 qdisc noqueue qlen 77",
        "link/ether 02:00:00:00:00:07",
        "inet 10.77.0.2/24 scope global lan0",
        "inet6 fd77::2/64 scope global",
        "inet 10.9.9.9/32 scope global lo",
        "default via 10.77.0.1 dev lan0",
        "default via fd77::1 dev lan0",
        "10.99.0.0/16 via 10.77.0.9 dev lan0  src 10.77.0.2",
        "fd99::/64 dev lan0",
    ):
        assert words in said, said
    assert "eth0" not in said
    assert (host["mtu"], host["master"], host["operstate"]) == (1400, NAME, "UP")
    assert host["linkinfo"]["info_slave_data"]["hairpin"]


def test_in_a_user_namespace(
    image: Path, runtime: kaa.Runtime, config: kaa.Config, new_id: NewId, bridge: kaa.Bridge
) -> None:
    config.map_ids(0, 200000, 65536)
    config.networks = [plug(bridge, 2)]
    with runtime.create(new_id(), config) as container:
        container.start()
        said = container.exec(["ip", "-o", "address"], stdout=kaa.PIPE).stdout
        assert b"10.77.0.2/24" in said


def test_by_annotation_from_the_command_line(
    runtime: kaa.Runtime, config: kaa.Config, new_id: NewId, bridge: kaa.Bridge, tmp: Path
) -> None:
    config.args = ["ip", "-o", "address"]
    config.networks = [plug(bridge, 4)]
    config.routes = [kaa.Route(gateway="10.77.0.1")]
    config.save(tmp)
    done = Command(Path(runtime.root))("run", "--bundle", tmp, new_id()).ok()
    assert "10.77.0.4/24" in done.out
    config.annotations["run.kaa.networks"] = '[{"bridge": "br0", "adresses": []}]'
    (tmp / "config.json").write_text(json.dumps(config.document))
    done = Command(Path(runtime.root))("run", "--bundle", tmp, new_id())
    done.failed("/annotations/run.kaa.networks: entry 0: unknown property", code=1)


@pytest.mark.parametrize(
    ("network", "words"),
    [
        ({"bridge": "no-such-bridge"}, "there is no bridge"),
        ({"bridge": "lo"}, "attach to the bridge lo"),
        ({"gateways": ("192.0.2.1",)}, "network is unreachable"),
        ({"host_name": NAME}, "file exists"),
        ({"name": "lo"}, "file exists"),
    ],
)
def test_errors_leave_no_link(
    image: Path, runtime: kaa.Runtime, bridge: kaa.Bridge, network: dict[str, Any], words: str
) -> None:
    before = links()
    with pytest.raises(kaa.KaaError, match=words) as raised:
        inside(image, runtime, "true", network=plug(bridge, 2, **network))
    assert raised.value.pointer == "/annotations/run.kaa.networks"
    end = time.monotonic() + 5
    while links() != before:
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_later_failure_leaves_no_link(
    runtime: kaa.Runtime, config: kaa.Config, new_id: NewId, bridge: kaa.Bridge
) -> None:
    config.networks = [plug(bridge, 2)]
    config.args = ["no-such-program"]
    with pytest.raises(kaa.SyscallError):
        runtime.create(new_id(), config)


def test_it_takes_a_network_namespace_of_its_own(
    runtime: kaa.Runtime, config: kaa.Config, new_id: NewId
) -> None:
    config.networks = [kaa.Network()]
    for path in (None, "/proc/self/ns/net"):
        config.namespaces.remove("network")
        if path:
            config.namespaces.add("network", path)
        with pytest.raises(kaa.ConfigError, match="new network namespace"):
            runtime.create(new_id(), config)


def test_two_of_one_name(runtime: kaa.Runtime, config: kaa.Config, new_id: NewId) -> None:
    config.networks = [kaa.Network(), kaa.Network()]
    with pytest.raises(kaa.ConfigError, match="two networks"):
        runtime.create(new_id(), config)


def test_a_bridge_exists_once(bridge: kaa.Bridge) -> None:
    with pytest.raises(kaa.KaaError, match="file exists"):
        kaa.Bridge(NAME).create()
    with pytest.raises(kaa.ConfigError, match="bridge"):
        kaa.Bridge("a/b")


def test_many_networks_leave_nothing_in_this_process(
    image: Path,
    runtime: kaa.Runtime,
    bridge: kaa.Bridge,
    nothing_is_left: Callable[[], None],
) -> None:
    descriptors = len(os.listdir("/proc/self/fd"))
    for number in range(2, 12):
        inside(image, runtime, "true", network=plug(bridge, number))
    assert len(os.listdir("/proc/self/fd")) == descriptors


def test_is_supported() -> None:
    for kind in ("user", "mount", "cgroup", "uts", "ipc", "network", "pid", "time"):
        made = subprocess.run(["unshare", f"--{kind.replace('network', 'net')}", "true"],
                              capture_output=True, check=False)  # fmt: skip
        assert kaa.is_supported(kind) == (made.returncode == 0)
