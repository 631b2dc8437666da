"""cgroupsPath with systemd, and the limits as properties of a unit."""

from typing import Any

import pytest

from kaa.cgroups import unit_properties, v1, v2
from kaa.cgroups.dbus import addresses
from kaa.cgroups.device_rules import device_list
from kaa.cgroups.ownership import _is_writable
from kaa.cgroups.unit import scope, slice_path
from kaa.cgroups.unit_properties import INFINITY, annotated, bit_mask, devices, limits
from kaa.errors import CgroupError


@pytest.mark.parametrize(
    ("given", "user", "slice", "unit"),
    [
        ("", False, "system.slice", "kaa-id.scope"),
        ("", True, "user.slice", "kaa-id.scope"),
        (":x:y", False, "system.slice", "x-y.scope"),
        (":x:y", True, "user.slice", "x-y.scope"),
        ("-:x:y", False, "-.slice", "x-y.scope"),
        ("machine.slice::y", False, "machine.slice", "y.scope"),
        ("a-b.slice:cri:0123", False, "a-b.slice", "cri-0123.scope"),
    ],
)
def test_the_scope(given: str, user: bool, slice: str, unit: str) -> None:
    found = scope(given, "id", user=user)
    assert (found.slice, found.unit) == (slice, unit)


@pytest.mark.parametrize(
    "given",
    [
        "/a/b", "a:b", "a:b:c:d", "a.slice:b:", "a.slice:b:c.slice", "a:b:c", ".slice:b:c",
        "-a.slice:b:c", "a-.slice:b:c", "a--b.slice:b:c", "a/b.slice:b:c", "a.slice:b:c/d",
        "a.slice:b:../c", "a.slice:b:c d", "a.slice:b:" + "c" * 255, "a@b.slice:c:d",
        "a.slice:b:c\n", "a.slice:b:\0", "..slice:a:b",
    ],
)  # fmt: skip
def test_what_is_no_scope(given: str) -> None:
    with pytest.raises(CgroupError) as caught:
        scope(given, "id", user=False)
    assert caught.value.pointer == "/linux/cgroupsPath"


def test_where_slices_are() -> None:
    assert slice_path("-.slice") == ""
    assert slice_path("machine.slice") == "/machine.slice"
    assert slice_path("a-b-c.slice") == "/a.slice/a-b.slice/a-b-c.slice"
    assert scope("a-b.slice:p:n", "id", user=False).path("/") == "/a.slice/a-b.slice/p-n.scope"
    user = scope("", "id", user=True)
    assert user.path("/user.slice/u") == "/user.slice/u/user.slice/kaa-id.scope"


def properties(resources: dict[str, Any], systemd: int = 252) -> dict[str, tuple[str, Any]]:
    return dict(limits(v2.settings(resources), systemd))


def test_limits_on_v2() -> None:
    resources = {
        "memory": {"limit": 1 << 20, "swap": 3 << 20, "reservation": 1 << 19},
        "cpu": {"shares": 1024, "quota": 12345, "period": 50000, "cpus": "0-1,8", "mems": "0"},
        "pids": {"limit": 7},
        "blockIO": {"weight": 1000},
    }
    assert properties(resources) == {
        "MemoryMax": ("t", 1 << 20),
        "MemorySwapMax": ("t", 2 << 20),
        "MemoryLow": ("t", 1 << 19),
        "CPUWeight": ("t", 100),
        "CPUQuotaPeriodUSec": ("t", 50000),
        "CPUQuotaPerSecUSec": ("t", 250_000),  # of 246 900, to the next percent
        "AllowedCPUs": ("ay", b"\x03\x01"),
        "AllowedMemoryNodes": ("ay", b"\x01"),
        "TasksMax": ("t", 7),
        "IOWeight": ("t", 10000),
    }


def test_no_limits_on_v2() -> None:
    resources = {"memory": {"limit": -1}, "cpu": {"quota": -1}, "pids": {"limit": -1}}
    assert properties(resources) == {
        "MemoryMax": ("t", INFINITY),
        "MemorySwapMax": ("t", INFINITY),
        "CPUQuotaPerSecUSec": ("t", INFINITY),
        "TasksMax": ("t", INFINITY),
    }
    assert properties({}) == {}


def test_unified_counts_and_comes_last() -> None:
    resources = {
        "memory": {"limit": 1 << 20},
        "unified": {"memory.max": "max", "memory.high": "4096", "io.weight": "default 50",
                    "cpu.max": "5000 10000", "cgroup.max.depth": "3"},
    }  # fmt: skip
    assert properties(resources) == {
        "MemoryMax": ("t", INFINITY),
        "MemoryHigh": ("t", 4096),
        "IOWeight": ("t", 50),
        "CPUQuotaPeriodUSec": ("t", 10000),
        "CPUQuotaPerSecUSec": ("t", 500_000),
    }


def test_idle_is_a_weight() -> None:
    assert properties({"cpu": {"idle": 1, "shares": 2000}}) == {"CPUWeight": ("t", 0)}
    old = properties({"cpu": {"idle": 1}}, systemd=251)
    assert old == {}


def test_an_old_systemd_gets_what_it_knows() -> None:
    resources = {"cpu": {"cpus": "0", "period": 10000, "quota": 10000}, "pids": {"limit": 1}}
    assert set(properties(resources, 241)) == {"CPUQuotaPerSecUSec", "TasksMax"}


def test_limits_on_v1() -> None:
    resources = {
        "memory": {"limit": 1 << 20},
        "cpu": {"shares": 1024, "quota": 20000, "period": 100000, "cpus": "0"},
        "pids": {"limit": 7},
        "blockIO": {"weight": 500},
    }
    assert dict(limits(v1.settings(resources), 252)) == {
        "MemoryLimit": ("t", 1 << 20),
        "CPUShares": ("t", 1024),
        "CPUQuotaPeriodUSec": ("t", 100_000),
        "CPUQuotaPerSecUSec": ("t", 200_000),
        "AllowedCPUs": ("ay", b"\x01"),
        "TasksMax": ("t", 7),
        "BlockIOWeight": ("t", 500),
    }


def test_nonsense_in_unified_is_refused_with_its_pointer() -> None:
    for key, value in (("memory.max", "lots"), ("cpuset.cpus", "a"), ("pids.max", "-7")):
        with pytest.raises(CgroupError) as caught:
            properties({"unified": {key: value}})
        assert caught.value.pointer == f"/linux/resources/unified/{key}"


def test_bit_masks() -> None:
    assert bit_mask("0") == b"\x01"
    assert bit_mask("0-7,9") == b"\xff\x02"
    assert bit_mask("") == b""
    for bad in ("a", "3-1", "0-", "-1", "0-99999999", "1,,2"):
        with pytest.raises(CgroupError):
            bit_mask(bad)


def test_devices() -> None:
    deny = {"allow": False, "access": "rwm"}
    rule = {"allow": True, "type": "b", "major": 8, "minor": 0, "access": "r"}
    wide = {"allow": True, "type": "c", "major": 4, "access": "rw"}
    found = dict(devices(device_list({"devices": [deny, rule, wide]})))
    assert found["DevicePolicy"] == ("s", "strict")
    signature, entries = found["DeviceAllow"]
    assert signature == "a(ss)"
    assert {("/dev/block/8:0", "r"), ("char-4", "rw"), ("char-*", "m")} <= set(entries)
    assert ("/dev/char/1:3", "rwm") in entries


def test_devices_that_systemd_has_no_words_for() -> None:
    assert devices(device_list({"devices": [{"allow": True}]})) == []
    one = {"allow": True, "type": "c", "minor": 3, "access": "r"}
    assert devices(device_list({"devices": [{"allow": False}, one]})) == []


def test_annotations() -> None:
    asked = {
        "org.systemd.property.TimeoutStopSec": "1.5",
        "org.systemd.property.RuntimeMaxUSec": "uint64 90",
        "org.systemd.property.CollectMode": "'inactive-or-failed'",
        "org.systemd.property.After": "['crio.service']",
        "org.systemd.property.DefaultDependencies": "true",
        "other": "ignored",
    }
    assert annotated(asked) == [
        ("TimeoutStopUSec", ("t", 1_500_000)),
        ("RuntimeMaxUSec", ("t", 90)),
        ("CollectMode", ("s", "inactive-or-failed")),
        ("After", ("as", ["crio.service"])),
        ("DefaultDependencies", ("b", True)),
    ]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("ExecStartPre", "[('/bin/sh', ['sh'], false)]"),
        ("FailureAction", "'reboot'"),
        ("OnFailure", "['x.service']"),
        ("Conflicts", "['sshd.service']"),
        ("Slice", "'-.slice'"),
        ("PIDs", "[uint32 1]"),
        ("Delegate", "false"),
        ("DevicePolicy", "'auto'"),
        ("DeviceAllow", "[('/dev/sda', 'rw')]"),
        ("BPFProgram", "[('device', '/sys/fs/bpf/x')]"),
        ("IPIngressFilterPath", "['/sys/fs/bpf/x']"),
        ("Sec", "5"),
        ("", "5"),
        ("a b", "5"),
        ("TimeoutStopSec", "'90s'"),
        ("TimeoutStopSec", "-1"),
        ("TimeoutStopSec", "1e300"),
        ("KillMode", "process"),
        ("TasksMax", "-1"),
    ],
)
def test_annotations_that_are_refused(name: str, text: str) -> None:
    """CVE-2024-3154: annotations must not reach beyond the container's own scope."""
    with pytest.raises(CgroupError) as caught:
        annotated({f"org.systemd.property.{name}": text})
    assert caught.value.pointer == f"/annotations/org.systemd.property.{name}"


def test_every_annotation_has_a_type() -> None:
    from kaa.cgroups.gvariant import types_of

    for name, signature in unit_properties._ANNOTATIONS.items():
        assert types_of(signature) == [signature], name


def test_where_systemd_is_asked() -> None:
    assert addresses({}, 0, user=False)[0] == "/run/systemd/private"
    environ = {"DBUS_SESSION_BUS_ADDRESS": "unix:path=/run/a%20b,guid=1;tcp:host=x;unix:abstract=y"}
    found = addresses(environ, 7, user=True)
    assert found == ["/run/a b", "\0y", "/run/user/7/systemd/private", "/run/user/7/bus"]
    assert addresses({"XDG_RUNTIME_DIR": "/x"}, 7, user=True)[0] == "/x/systemd/private"


def test_when_the_container_gets_its_cgroup() -> None:
    def mount(*options: str, type: str = "cgroup") -> dict[str, Any]:
        return {"destination": "/sys/fs/cgroup/", "type": type, "options": list(options)}

    assert _is_writable([mount()])
    assert _is_writable([mount("ro", "rw")])
    assert _is_writable([mount("rw", type="cgroup2")])
    assert not _is_writable([mount("rw", "ro")])
    assert not _is_writable([mount(type="tmpfs")])
    assert not _is_writable([mount(), mount("ro")])
    assert not _is_writable([{"destination": "/sys", "type": "cgroup"}])
