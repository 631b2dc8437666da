"""linux.netDevices: interfaces of the host in the container, and back when it was not to be.

The tests' own network namespace (see kit.hostns) is the host's here. veth
stands for a physical device: this kernel has no other that may be moved.
"""

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from kit import config
from kit.container import Container

HOST = "kt-host"
PEER = "kt-peer"


def ip(*args: str) -> Any:
    shown = subprocess.run(["ip", "-json", *args], capture_output=True, text=True, check=True)
    return json.loads(shown.stdout or "[]")


def link(name: str = HOST) -> dict[str, Any]:
    """The interface and its addresses, as `ip addr` tells."""
    (found,) = ip("addr", "show", "dev", name)
    return dict(found)


def addresses(entry: dict[str, Any]) -> set[str]:
    return {f"{a['local']}/{a['prefixlen']}" for a in entry["addr_info"] if a["scope"] == "global"}


@pytest.fixture
def device(nothing_is_left: object) -> Iterator[str]:
    """A pair of interfaces; one has addresses, an MTU and a MAC of its own, and is up."""
    ip("link", "add", HOST, "type", "veth", "peer", "name", PEER)
    ip("link", "set", PEER, "up")
    ip("link", "set", HOST, "mtu", "1400", "address", "02:00:00:00:00:42", "up")
    for address in ("10.99.0.2/24", "10.99.1.2/32", "fd99::2/64"):
        ip("addr", "add", address, "dev", HOST)
    ip("addr", "add", "10.98.0.2/24", "dev", HOST, "scope", "link")
    ip("addr", "add", "10.97.0.2/24", "dev", HOST, "valid_lft", "900", "preferred_lft", "900")
    yield HOST
    for name in (HOST, PEER):
        subprocess.run(["ip", "link", "del", name], check=False, capture_output=True)


def inside(container: Container) -> list[dict[str, Any]]:
    """The interfaces of the running container; by the host's ip, in its network namespace."""
    shown = subprocess.run(
        ["nsenter", f"--net=/proc/{container.pid}/ns/net", "ip", "-json", "addr"],
        capture_output=True,
        text=True,
        check=True,
    )
    return [entry for entry in json.loads(shown.stdout) if entry["ifname"] != "lo"]


def with_devices(container: Container, **devices: config.Config) -> Container:
    container.linux["netDevices"] = {
        name.replace("_", "-"): entry for name, entry in devices.items()
    }
    return container


@pytest.mark.kaa_only("runc 1.1 has no netDevices")
class TestNetDevices:
    def test_moved_with_what_it_has(self, container: Container, device: str) -> None:
        with_devices(container, kt_host={}).sleeping()
        (found,) = inside(container)
        assert found["ifname"] == HOST
        assert "UP" in found["flags"]
        assert (found["mtu"], found["address"]) == (1400, "02:00:00:00:00:42")
        permanent = {"10.99.0.2/24", "10.99.1.2/32", "fd99::2/64"}
        assert addresses(found) == permanent, "permanent global ones, and no others"
        assert not any(a["local"] == "10.98.0.2" for a in found["addr_info"])
        assert HOST not in {entry["ifname"] for entry in ip("link")}

    def test_it_carries_packets(self, container: Container, device: str) -> None:
        with_devices(container, kt_host={}).sleeping()
        ip("addr", "add", "10.99.0.1/24", "dev", PEER)
        ping = ["ping", "-c", "1", "-W", "5", "10.99.0.1"]
        assert " 0% packet loss" in container.exec("--cap", "NET_RAW", "--", *ping).ok().out

    def test_renamed(self, container: Container, device: str) -> None:
        with_devices(container, kt_host={"name": "eth0"}).sleeping()
        (found,) = inside(container)
        assert found["ifname"] == "eth0"
        assert "10.99.0.2/24" in addresses(found)

    def test_a_template(self, container: Container, device: str) -> None:
        with_devices(container, kt_host={"name": "net%d"}, kt_peer={"name": "net%d"}).sleeping()
        assert {entry["ifname"] for entry in inside(container)} == {"net0", "net1"}

    def test_in_a_user_namespace(self, container: Container, device: str) -> None:
        config.add_user_namespace(container.config)
        os.chown(container.rootfs, 200000, 200000)
        with_devices(container, kt_host={"name": "eth0"}).sleeping()
        assert container.exec("cat", "/sys/class/net/eth0/mtu").ok().out == "1400\n"

    def test_into_a_joined_namespace(self, container: Container, device: str) -> None:
        with subprocess.Popen(["unshare", "--net", "sleep", "1000"]) as holder:
            try:
                _wait_for_namespace(holder.pid)
                config.set_namespace(container.config, "network", f"/proc/{holder.pid}/ns/net")
                with_devices(container, kt_host={"name": "eth0"}).sleeping()
                assert {entry["ifname"] for entry in inside(container)} == {"eth0"}
            finally:
                holder.kill()

    def test_the_hooks_see_it(self, container: Container, device: str) -> None:
        out = container.bundle / "seen"
        script = (
            f"pid=$(grep -o '\"pid\":[0-9]*' | cut -d: -f2); nsenter -t $pid -n ip -br l > {out}"
        )
        hook = {"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/usr/bin:/usr/sbin"]}
        container.config["hooks"] = {"createRuntime": [hook]}
        with_devices(container, kt_host={"name": "eth0"}).create().ok()
        assert "eth0" in out.read_text()

    @pytest.mark.parametrize(
        ("devices", "words"),
        [
            ({"kt_host": {"name": "lo"}}, "file exists"),
            ({"kt_host": {"name": "eth0"}, "kt_peer": {"name": "eth0"}}, "file exists"),
            ({"kt_host": {"name": "eth0"}, "nobody": {}}, "no such device"),
            ({"kt_host": {"name": "eth0"}, "lo": {"name": "lo7"}}, "invalid argument"),
        ],
    )
    def test_what_cannot_be_moved(
        self,
        container: Container,
        device: str,
        devices: dict[str, config.Config],
        words: str,
        nothing_is_left: Callable[[], None],
    ) -> None:
        """The error names the device, and the others are back as they were."""
        before = link()
        with_devices(container, **devices).run().failed(words, code=1)
        assert _without_times(link()) == _without_times(before)

    def test_a_failure_after_it_puts_it_back(self, container: Container, device: str) -> None:
        before = link()
        with_devices(container, kt_host={"name": "eth%d"})
        container.process["args"] = ["no-such-program"]
        container.run().failed("executable file not found", code=1)
        assert _without_times(link()) == _without_times(before)

    def test_our_own_network_namespace(self, container: Container, device: str) -> None:
        config.set_namespace(container.config, "network", f"/proc/{os.getpid()}/ns/net")
        with_devices(container, kt_host={}).run().failed("/linux/netDevices", code=1)
        assert link()["mtu"] == 1400

    def test_without_a_network_namespace(self, container: Container, device: str) -> None:
        config.drop_namespace(container.config, "network")
        with_devices(container, kt_host={}).run().failed("/linux/netDevices", code=1)

    def test_at_the_end_the_kernel_decides(self, container: Container, device: str) -> None:
        """A runtime must not move them out (config-linux.md); virtual ones end with it."""
        with_devices(container, kt_host={}).sleeping()
        container.delete("--force").ok()
        names = _names_once_settled()
        assert HOST not in names and PEER not in names


def _wait_for_namespace(pid: int) -> None:
    own = os.readlink("/proc/self/ns/net")
    while os.readlink(f"/proc/{pid}/ns/net") == own:
        pass


def _without_times(entry: dict[str, Any]) -> dict[str, Any]:
    """What is to stay: not the index, nor what is counted down, or settles by itself."""
    kept = {key: entry[key] for key in ("ifname", "mtu", "address")}
    kept["up"] = "UP" in entry["flags"]
    kept["addresses"] = addresses(entry) - {"10.97.0.2/24"}
    return kept


def _names_once_settled() -> set[str]:
    """A network namespace is taken apart in the background."""
    for _ in range(100):
        names = {entry["ifname"] for entry in ip("link")}
        if PEER not in names:
            break
        time.sleep(0.05)
    return names
