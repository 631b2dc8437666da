"""linux.intelRdt on a machine without resctrl: refused, before anything is made."""

from collections.abc import Callable
from pathlib import Path

import pytest
from kit import config
from kit.container import Container

MOUNTED = " - resctrl " in Path("/proc/self/mountinfo").read_text()


@pytest.mark.skipif(MOUNTED, reason="resctrl is mounted here")
@pytest.mark.parametrize(
    "section",
    [
        {"closID": "gold"},
        {"l3CacheSchema": "L3:0=f"},
        {"memBwSchema": "MB:0=50"},
        {"schemata": ["L3:0=f"], "enableMonitoring": True},
    ],
)
def test_refused_without_resctrl(
    container: Container, section: config.Config, nothing_is_left: Callable[[], None]
) -> None:
    container.linux["intelRdt"] = section
    container.run().failed("/linux/intelRdt", "rdt", code=1)
    nothing_is_left()


@pytest.mark.kaa_only("runc 1.1 checks less")
@pytest.mark.parametrize(
    ("section", "pointer"),
    [
        ({"closID": ".."}, "/linux/intelRdt/closID"),
        ({"closID": "a/b"}, "/linux/intelRdt/closID"),
        ({"memBwSchema": "L3:0=f"}, "/linux/intelRdt/memBwSchema"),
        ({"schemata": ["L3:0=f\nMB:0=10"]}, "/linux/intelRdt/schemata/0"),
    ],
)
def test_bad_values(container: Container, section: config.Config, pointer: str) -> None:
    container.linux["intelRdt"] = section
    container.run().failed(pointer, code=1)
