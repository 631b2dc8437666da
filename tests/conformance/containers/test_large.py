"""Documents that are larger than most."""

import time
from pathlib import Path

import pytest
from kit import config
from kit.container import Container
from kit.runtime import TIMEOUT

MANY = 1000
NOISE = 0.06  # seconds that a busy machine may take or leave


def with_binds(container: Container, count: int) -> Container:
    source = container.bundle / "source"
    source.mkdir(exist_ok=True)
    (source / "file").write_text("of the host")
    for number in range(count):
        container.mounts.append(config.bind(source, f"/many/{number}", "rprivate", "ro"))
    return container


def test_a_thousand_bind_mounts(container: Container) -> None:
    with_binds(container, MANY)
    container.script("grep -c ' /many/' /proc/self/mountinfo; cat /many/0/file /many/999/file")
    assert container.run().ok().out == f"{MANY}\n" + "of the host" * 2


def test_a_thousand_bind_mounts_in_a_user_namespace(container: Container) -> None:
    config.add_user_namespace(container.config)
    container.rootfs.chmod(0o777)
    with_binds(container, MANY)
    shown = container.script("grep -c ' /many/' /proc/self/mountinfo").run().ok()
    assert shown.out == f"{MANY}\n"


@pytest.mark.slow
def test_time_grows_in_proportion(container: Container) -> None:
    """Ten times the mounts do not take much more than ten times as long."""

    def seconds(count: int) -> float:
        container.config["mounts"] = config.default()["mounts"]
        with_binds(container, count)
        best = TIMEOUT
        for _ in range(3):
            begin = time.monotonic()
            container.run().ok()
            best = min(best, time.monotonic() - begin)
        return best

    none, hundred, thousand = (seconds(count) for count in (0, MANY // 10, MANY))
    assert thousand - none < 16 * max(hundred - none, NOISE)


def test_five_hundred_environment_variables_and_arguments(container: Container) -> None:
    container.process["env"] += [f"V{number}={'x' * 200}" for number in range(500)]
    container.process["args"] = ["sh", "-c", "echo $# $V499 | cut -c1-8", "sh", *["a"] * 500]
    assert container.run().ok().out == "500 xxxx\n"


def test_an_annotation_of_a_mebibyte(container: Container) -> None:
    container.config["annotations"] = {"org.example.large": "x" * (1 << 20)}
    container.create().ok()
    assert len(container.state()["annotations"]["org.example.large"]) == 1 << 20


def test_two_hundred_masked_paths_and_devices(container: Container) -> None:
    for number in range(200):
        (container.rootfs / f"secret{number}").write_text("secret")
    container.linux["maskedPaths"] += [f"/secret{number}" for number in range(200)]
    container.linux["devices"] = [
        {"type": "c", "path": f"/dev/zero{number}", "major": 1, "minor": 5} for number in range(200)
    ]
    shown = container.script("cat /secret*; ls /dev/zero* | wc -l").run().ok().out
    assert shown.strip() == "201", "the two hundred, and /dev/zero itself"


def test_a_root_with_a_long_path(container: Container, tmp: Path) -> None:
    """Longer than what a UNIX socket, and nearly as long as what the kernel takes."""
    above = tmp
    while len(str(above)) < 3000:
        above /= "d" * 200
    above.mkdir(parents=True)
    container.rootfs.rename(above / "rootfs")
    container.config["root"]["path"] = str(above / "rootfs")
    assert container.script("echo here").run().ok().out == "here\n"
