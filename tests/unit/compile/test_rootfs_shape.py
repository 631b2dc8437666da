"""The rootfs programs as data: order, sizes, reasons, and that every slot is given back."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kaa.compile import devices, masks, mounts, rootfs, staging
from kaa.compile.inputs import Inputs
from kaa.compile.mount_options import known_options
from kaa.errors import ConfigError
from kaa.program.op import SKIP
from kaa.program.program import Program, Ref
from kaa.program.wire import encode

MOUNTS: list[dict[str, Any]] = [
    {"destination": "/proc", "type": "proc", "source": "proc"},
    {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["ro", "mode=755"]},
    {"destination": "/data", "source": "/srv", "options": ["rbind", "ro", "rprivate"]},
    {"destination": "/tmp", "type": "tmpfs", "options": ["tmpcopyup"]},
]


def compiled(
    mounted: list[dict[str, Any]], *, staged: bool = False, **linux: Any
) -> tuple[Program, Inputs]:
    """All rootfs steps in one program."""
    inputs = Inputs(
        {
            "root": {"path": "rootfs", "readonly": True},
            "process": {"cwd": "/"},
            "mounts": mounted,
            "linux": linux,
        },
        bundle="/bundle",
        rootfs="/bundle/rootfs",
        namespaces={"mount": "", "pid": ""} | ({"user": ""} if staged else {}),
        staged=staged,
        staging="/run/kaa/x/staging",
    )
    p = Program()
    if staged:
        staging.stage(p, inputs)
    root = rootfs.enter(p, inputs)
    mounts.mount_all(p, inputs, root)
    devices.make_devices(p, inputs, root)
    masks.mask(p, inputs, root)
    rootfs.leave(p, inputs, root)
    return p, inputs


def calls(p: Program) -> list[str]:
    """The names of the calls, in order."""
    return [op.call for op in p.ops]


@pytest.mark.parametrize("staged", [False, True])
def test_every_slot_is_given_back(staged: bool) -> None:
    p, _ = compiled(
        MOUNTS,
        staged=staged,
        maskedPaths=["/proc/kcore"],
        readonlyPaths=["/proc/sys"],
        devices=[{"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229, "uid": 5}],
    )
    numbers = [p.slots.take().number for _ in range(p.slots._next)]
    assert sorted(numbers) == list(range(len(numbers)))
    assert len(numbers) < 20


def test_every_op_says_why() -> None:
    p, _ = compiled(MOUNTS, maskedPaths=["/proc/kcore"])
    assert all(op.phrase for op in p.ops)
    assert {op.pointer.split("/")[1] for op in p.ops if op.pointer} <= {
        "root",
        "mounts",
        "linux",
        "process",
    }


def test_jumps_lead_ahead_and_not_past_the_end() -> None:
    p, _ = compiled(MOUNTS, maskedPaths=["/a", "/b"], readonlyPaths=["/c"])
    for index, op in enumerate(p.ops):
        if op.policy == SKIP or op.call == "jump":
            assert op.skip > 0 or op.call != "jump"
            assert index + 1 + op.skip <= len(p.ops)


def test_read_only_comes_last() -> None:
    p, _ = compiled(MOUNTS)
    order = [(op.call, op.pointer) for op in p.ops]
    last_node = max(i for i, (call, _) in enumerate(order) if call == "mknodat")
    dev = order.index(("mount_setattr", "/mounts/1/options"))
    root = order.index(("mount_setattr", "/root/readonly"))
    assert last_node < dev < root < calls(p).index("pivot_root")


def test_nothing_of_the_host_is_named_after_the_pivot() -> None:
    p, _ = compiled(MOUNTS, rootfsPropagation="rshared")
    after = calls(p)[calls(p).index("pivot_root") :]
    assert after == [
        "pivot_root",
        "umount2",
        "chdir",
        "mount_setattr",
        "close",
    ]


def test_pivot_errors_are_never_ignored() -> None:
    p, _ = compiled(MOUNTS)
    for op in p.ops:
        if op.call in ("pivot_root", "umount2", "mount_setattr"):
            assert op.policy == 0


def strings(p: Program, call: str, argument: int) -> list[str]:
    """That argument of every such call, where it is a string."""
    return [
        p.data[op.args[argument].offset :].split(b"\0")[0].decode()
        for op in p.ops
        if op.call == call and type(op.args[argument]) is Ref
    ]


def test_mount_label() -> None:
    label = "system_u:object_r:container_file_t:s0:c1,c2"
    mounted: list[dict[str, Any]] = [
        {"destination": "/proc", "type": "proc"},
        {"destination": "/a", "type": "tmpfs"},
        {"destination": "/b", "type": "tmpfs", "options": ["silent", "size=1m"]},
        {"destination": "/q", "type": "mqueue"},
    ]
    p, _ = compiled(mounted, mountLabel=label)
    assert strings(p, "fsconfig", 2).count("context") == 1
    assert strings(p, "fsconfig", 3).count(label) == 1
    assert strings(p, "mount", 4) == [f'context="{label}",size=1m']
    assert strings(p, "fsetxattr", 1) == ["security.selinux"]


def test_a_staged_bind_is_opened_by_number() -> None:
    p, _ = compiled(MOUNTS, staged=True)
    assert strings(p, "open_tree", 1)[:4] == ["/bundle/rootfs", "/srv", "rootfs", "2"]


def test_device_replacement_and_skipping() -> None:
    inputs = Inputs(
        {
            "linux": {
                "devices": [
                    {"path": "/dev/null", "type": "c", "major": 1, "minor": 3, "fileMode": 0o600},
                    {"path": "/dev/ptmx", "type": "c", "major": 5, "minor": 2},
                ]
            }
        }
    )
    found = {device.path: device for device in devices.devices(inputs)}
    assert "/dev/ptmx" not in found
    assert found["/dev/null"].mode & 0o7777 == 0o600
    assert len(found) == 6


@pytest.mark.parametrize(
    ("numbers", "encoded"),
    [
        ((1, 3), 0x103),
        ((10, 229), 0xAE5),
        ((259, 0x12345), 0x12310345),
        ((4095, 0xFFFFF), 2**32 - 1),
    ],
)
def test_device_numbers(numbers: tuple[int, int], encoded: int) -> None:
    assert devices.Device("/dev/x", "", 0o20666, numbers).number == encoded


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
KINDS = ["bind", "proc", "sysfs", "tmpfs", "cgroup", "mqueue"]
OPTION = st.one_of(st.sampled_from(known_options()), TEXT, st.just("size=1m"))
MOUNT = st.fixed_dictionaries(
    {"destination": st.one_of(TEXT, st.sampled_from(["/", "/proc", "/proc/x", "/a/../.."]))},
    optional={
        "type": st.one_of(TEXT, st.sampled_from(KINDS)),
        "source": st.one_of(TEXT, st.sampled_from(["/bundle/rootfs/x", "/etc", "x" * 300])),
        "options": st.lists(OPTION, max_size=6),
    },
)


@settings(max_examples=300, deadline=None)
@given(st.lists(MOUNT, max_size=5), st.booleans(), st.booleans())
def test_whatever_mounts_say_it_compiles_or_is_a_config_error(
    mounted: list[dict[str, Any]], staged: bool, shared: bool
) -> None:
    try:
        p, _ = compiled(mounted, staged=staged, rootfsPropagation="shared" if shared else "")
    except ConfigError as error:
        refused = error
    else:
        assert encode(p)
        assert p.slots._next - len(p.slots._free) == 0
        return
    assert (refused.pointer or "").startswith("/mounts/")
