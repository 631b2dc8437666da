"""Config, Mount, Namespaces: typed views that lose nothing. No root is needed."""

import json
from pathlib import Path

import pytest

import kaa
from kaa.api.mounts import parse_size
from kaa.spec.default import document


def test_the_default_is_what_kaa_spec_writes_without_a_terminal() -> None:
    expected = document()
    expected["process"]["terminal"] = False
    config = kaa.Config(document())
    config.terminal = False
    assert config.document == expected
    config.validate()


def test_it_goes_to_config_json_and_comes_back(tmp_path: Path) -> None:
    config = kaa.Config(document())
    config.args = ["sleep", "1"]
    config.env = {"A": "1", "B": "x=y"}
    config.cwd = "/tmp"
    config.user = "1:2"
    config.hostname = "box"
    config.capabilities = ["CAP_KILL"]
    config.rlimits = {"RLIMIT_NOFILE": (10, 20)}
    config.no_new_privileges = True
    config.read_only = True
    config.rootfs = "/some/root"
    config.namespaces.add("network", "/run/netns/x")
    config.namespaces.remove("ipc")
    config.map_ids(0, 100000, 65536)
    config.set_limits(memory="1G", pids=5, cpus=1.5)
    config.add_mount(kaa.Mount.tmpfs("/t", size=4096))
    config.seccomp = kaa.default_seccomp()
    config.annotations["org.example"] = "x"
    config.networks = []
    config.add_hook("poststop", "/bin/true", "-x", env={"E": "1"}, timeout=3)
    config.document["org.example.unknown"] = {"kept": [1, 2]}
    config.save(tmp_path)
    back = kaa.Config.load(tmp_path)
    assert back == config
    assert back.document is not config.document
    assert (back.args, back.env, back.cwd) == (["sleep", "1"], {"A": "1", "B": "x=y"}, "/tmp")
    assert (back.user, back.hostname, back.rootfs) == ((1, 2), "box", "/some/root")
    assert back.capabilities == {"CAP_KILL"}
    assert back.rlimits == {"RLIMIT_NOFILE": (10, 20)}
    assert back.read_only
    assert back.no_new_privileges
    assert back.resources["memory"]["limit"] == 1 << 30
    assert back.resources["cpu"] == {"quota": 150_000, "period": 100_000}
    assert back.mounts[-1].options[-1] == "size=4096"
    assert back.document["hooks"]["poststop"] == [
        {"path": "/bin/true", "args": ["true", "-x"], "env": ["E=1"], "timeout": 3}
    ]
    assert kaa.Config.parse(back.dumps()) == back


def test_a_copy_is_apart() -> None:
    config = kaa.Config(document())
    other = config.copy()
    other.args = ["x"]
    other.namespaces.remove("pid")
    assert config != other
    assert "pid" in config.namespaces


def test_errors_name_the_property() -> None:
    config = kaa.Config(document())
    config.cwd = "relative"
    with pytest.raises(kaa.ConfigError) as raised:
        config.validate()
    assert raised.value.pointer == "/process/cwd"
    with pytest.raises(kaa.ConfigError):
        config.dumps()
    config = kaa.Config(document())
    config.annotations["run.kaa.networks"] = '[{"name": "a"}, {"mtu": "big"}]'
    with pytest.raises(kaa.ConfigError, match=r"entry 1: mtu must be a whole number") as raised:
        config.validate()
    assert raised.value.pointer == "/annotations/run.kaa.networks"
    with pytest.raises(TypeError, match="several strings"):
        config.args = "ls -l"


@pytest.mark.parametrize(
    ("text", "size"),
    [(5, 5), ("7", 7), ("1k", 1024), ("2M", 2 << 20), ("1.5G", 3 << 29), ("3MiB", 3 << 20),
     ("1T", 1 << 40), ("10kb", 10240)],
)  # fmt: skip
def test_sizes(text: int | str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "M", "1X", "-", "1 2", "inf", "nan"])
def test_no_sizes(text: str) -> None:
    with pytest.raises(kaa.ConfigError):
        parse_size(text)


def test_mounts() -> None:
    bind = kaa.Mount.bind("data", "/data")
    assert bind.source == f"{Path.cwd()}/data"
    assert "rro" in bind.options
    entry = {
        "destination": "/x",
        "type": "bind",
        "source": "/y",
        "options": ["rbind"],
        "uidMappings": [{"containerID": 0, "hostID": 1, "size": 1}],
    }
    assert kaa.Mount.from_json(entry).to_json() == entry
    config = kaa.Config(document())
    mounts = config.mounts
    before = json.dumps(config.document)
    config.mounts = mounts
    assert json.dumps(config.document) == before


class TestNamespaces:
    def test_a_view_of_the_configuration(self) -> None:
        config = kaa.Config({"ociVersion": "1.0.2"})
        names = config.namespaces
        names.add("pid")
        names.add("network", "/proc/1/ns/net")
        assert config.document["linux"]["namespaces"] == [
            {"type": "pid"},
            {"type": "network", "path": "/proc/1/ns/net"},
        ]
        names.add("pid", "/proc/1/ns/pid")
        assert config.namespaces.path_of("pid") == "/proc/1/ns/pid"
        assert len(names) == 2

    def test_what_it_answers(self) -> None:
        names = kaa.Namespaces()
        names.add("mount")
        names.add("uts")
        names.add("user", "/proc/1/ns/user")
        assert list(names) == ["mount", "uts", "user"]
        assert names.contains("uts")
        assert "uts" in names
        assert not names.contains("time")
        assert names.path_of("mount") == ""
        assert names.path_of("user") == "/proc/1/ns/user"
        assert names.clone_flags() == 0x00020000 | 0x04000000
        assert names.remove("uts")
        assert not names.remove("uts")
        with pytest.raises(KeyError):
            names.path_of("uts")
        same = kaa.Namespaces([{"type": "user", "path": "/proc/1/ns/user"}, {"type": "mount"}])
        assert names == same
        assert names != kaa.Namespaces()

    def test_there_is_no_such_kind(self) -> None:
        names = kaa.Namespaces()
        for call in (names.add, names.remove, names.contains, names.path_of, kaa.is_supported):
            with pytest.raises(kaa.ConfigError, match="net"):
                call("net")


class TestNetworks:
    def test_they_travel_as_annotations(self) -> None:
        config = kaa.Config(document())
        config.networks = [
            kaa.Network(bridge="br0", addresses=("10.0.0.2/24", "fd00::2/64"), mtu=1400),
            kaa.Network(kind="loopback", addresses=("10.1.0.1/32",)),
        ]
        config.routes = [kaa.Route(destination="10.2.0.0/16", gateway="10.0.0.1")]
        back = kaa.Config.parse(config.dumps())
        assert back.networks == config.networks
        assert back.networks[1].name == "lo"
        assert back.routes == config.routes
        assert json.loads(back.annotations["run.kaa.networks"])[0] == {
            "bridge": "br0",
            "addresses": ["10.0.0.2/24", "fd00::2/64"],
            "mtu": 1400,
        }
        back.networks = []
        assert "run.kaa.networks" not in back.annotations

    @pytest.mark.parametrize(
        ("fields", "words"),
        [
            ({"kind": "macvlan"}, "kind"),
            ({"name": ""}, "name"),
            ({"name": "a/b"}, "name"),
            ({"name": "eth%d"}, "name"),
            ({"name": "sixteen-letters-"}, "name"),
            ({"bridge": "a b"}, "bridge"),
            ({"addresses": ("10.0.0.1",)}, "prefix"),
            ({"addresses": ("10.0.0.256/24",)}, "addresses"),
            ({"addresses": "10.0.0.1/24"}, "array"),
            ({"gateways": ("10.0.0.1", "10.0.0.2")}, "at most one"),
            ({"gateways": ("x",)}, "gateways"),
            ({"mtu": 60}, "mtu"),
            ({"mtu": True}, "whole number"),
            ({"mac": "01:00:00:00:00:01"}, "mac"),
            ({"mac": "02:00:00:00:00"}, "mac"),
            ({"hairpin": True}, "bridge"),
            ({"tx_queue_length": -1}, "txQueueLength"),
            ({"kind": "loopback", "name": "lo1"}, "lo"),
            ({"kind": "loopback", "bridge": "br0"}, "loopback"),
        ],
    )
    def test_networks_that_make_no_sense(self, fields: dict[str, object], words: str) -> None:
        with pytest.raises(kaa.ConfigError, match=words):
            kaa.Network(**fields)  # type: ignore[arg-type]

    @pytest.mark.parametrize(
        ("fields", "words"),
        [
            ({}, "gateway or an interface"),
            ({"destination": "10.0.0.1/8", "gateway": "10.0.0.1"}, "destination"),
            ({"gateway": "10.0.0.1", "source": "fd00::1"}, "IPv4 and of IPv6"),
            ({"destination": "fd00::/64", "gateway": "10.0.0.1"}, "IPv4 and of IPv6"),
            ({"interface": "a/b"}, "interface"),
        ],
    )
    def test_routes_that_make_no_sense(self, fields: dict[str, str], words: str) -> None:
        with pytest.raises(kaa.ConfigError, match=words):
            kaa.Route(**fields)

    @pytest.mark.parametrize(
        "text", ["{", "{}", "[1]", '[{"nmae": "x"}]', '[{"mtu": null}]', "[" * 100000]
    )
    def test_annotations_that_make_no_sense(self, text: str) -> None:
        config = kaa.Config(document())
        config.annotations["run.kaa.networks"] = text
        with pytest.raises(kaa.ConfigError) as raised:
            config.validate()
        assert raised.value.pointer == "/annotations/run.kaa.networks"


def test_every_public_name_is_there() -> None:
    for name in kaa.__all__:
        assert getattr(kaa, name) is not None
    assert set(kaa.__all__) <= set(dir(kaa))
    with pytest.raises(AttributeError):
        kaa.nonsense  # noqa: B018
