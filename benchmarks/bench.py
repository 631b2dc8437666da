"""kaa beside runc and crun: how long things take, and how much memory.

    python3 benchmarks/bench.py [--rounds N] [--listed N] [--kaa COMMAND] [--json] (as root)

Every round runs every measurement of every runtime once, in a new random
order, so that whatever else the machine is doing hits all of them alike; the
first rounds are not counted. The numbers are medians. Without --kaa it is the
wheel of this checkout that is measured, installed in an environment of its own
for /usr/bin/python3: an editable install is slower.
"""

import argparse
import contextlib
import json
import os
import platform
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median

from runtimes import LIFECYCLE, Resident, Tool, make_bundle, timed

HERE = Path(__file__).resolve().parent
INSIDE = "--in-own-mount-namespace"
WARM_UP = 3
PEAK = "peak memory of `run true`"
CREATED = "memory of a created container's init"
UNITS = {PEAK: "MiB", CREATED: "KiB"}
Measurement = Callable[[], float]


def install(directory: Path) -> str:
    """Build kaa's wheel and install it in `directory`; the path of the command."""
    python = "/usr/bin/python3" if usable("/usr/bin/python3") else sys.executable
    venv = directory / "venv"
    script = "import sys, hatchling.build as b; b.build_wheel(sys.argv[1])"
    subprocess.run(
        [sys.executable, "-c", script, directory],
        cwd=HERE.parent,
        check=True,
        stdout=subprocess.DEVNULL,
    )
    (wheel,) = directory.glob("*.whl")
    subprocess.run([python, "-m", "venv", "--without-pip", venv], check=True)
    pip = [sys.executable, "-m", "pip", "--python", str(venv / "bin/python3")]
    subprocess.run([*pip, "install", "--quiet", "--no-deps", "--no-index", str(wheel)], check=True)
    return str(venv / "bin/kaa")


def enter_mount_namespace() -> None:
    """Start again in a mount namespace of one's own, without the v2 half of a hybrid set-up.

    crun refuses to work where cgroup v2 has controllers beside those of v1.
    """
    again = [sys.executable, *sys.argv, INSIDE]
    umount = 'umount --lazy /sys/fs/cgroup/unified 2>/dev/null; exec "$@"'
    os.execvp("unshare", ["unshare", "--mount", "sh", "-c", umount, "sh", *again])


def usable(python: str) -> bool:
    """Whether `python` is 3.11 or newer."""
    check = "import sys; sys.exit(sys.version_info < (3, 11))"
    return shutil.which(python) is not None and not subprocess.call([python, "-c", check])


def measurements(
    tool: Tool, stack: contextlib.ExitStack, bundle: Path, listed: int
) -> Iterator[tuple[str, Measurement]]:
    """What is measured in every round, in milliseconds."""
    exec_in = stack.enter_context(tool.running(bundle))
    for _ in range(listed):
        stack.enter_context(tool.created(bundle))
    yield "run `true`", lambda: tool.run_true(bundle)
    yield f"{LIFECYCLE}, four commands", lambda: tool.lifecycle(bundle)
    yield "exec `true`", lambda: timed([*tool.command, "exec", exec_in, "/bin/true"])
    yield f"list, {listed} containers", lambda: timed([*tool.command, "list"])


def measure(
    tools: list[Tool], rounds: int, work: Path, listed: int
) -> dict[str, dict[str, list[float]]]:
    """Row → tool → the values of all rounds."""
    bundle = make_bundle(work / "bundle")
    with contextlib.ExitStack() as stack:
        todo = [
            (row, t.name, m) for t in tools for row, m in measurements(t, stack, bundle, listed)
        ]
        resident = stack.enter_context(Resident(tools[0], bundle, work / "resident"))
        todo.append((f"{LIFECYCLE}, in a resident process", tools[0].name, resident.lifecycle))
        found: dict[str, dict[str, list[float]]] = {row: {} for row, _, _ in todo}
        for number in range(WARM_UP + rounds):
            random.shuffle(todo)
            for row, name, measurement in todo:
                value = measurement()
                if number >= WARM_UP:
                    found[row].setdefault(name, []).append(value)
    # A resident process spares what the others' commands take for one container's life.
    commands = found[f"{LIFECYCLE}, four commands"]
    in_resident = found[f"{LIFECYCLE}, in a resident process"]
    in_resident.update({tool.name: commands[tool.name] for tool in tools[1:]})
    found[PEAK] = {t.name: [t.peak_mib(bundle, work) for _ in range(5)] for t in tools}
    found[CREATED] = {t.name: [t.created_pss_kib(bundle) for _ in range(5)] for t in tools}
    return found


def table(found: dict[str, dict[str, list[float]]], tools: list[Tool]) -> str:
    """The medians and their ratios, in Markdown."""
    names = [tool.name for tool in tools]
    head = ["", *names, *(f"kaa / {name}" for name in names[1:])]
    lines = [head, ["---", *("--:" for _ in head[1:])]]
    for row, values in found.items():
        medians = {name: median(values[name]) for name in names}
        cells = [f"{medians[name]:.1f}" for name in names]
        ratios = [f"{medians[names[0]] / medians[name]:.2f}" for name in names[1:]]
        lines.append([f"{row} ({UNITS.get(row, 'ms')})", *cells, *ratios])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def machine(tools: list[Tool]) -> dict[str, str]:
    """What the numbers depend on."""
    cpus = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line]
    cpu = cpus[0].split(":")[1].strip() if cpus else platform.machine()
    found = {
        "machine": f"{cpu}, {os.cpu_count()} CPUs",
        "kernel": f"{platform.system()} {platform.release()}",
    }
    for tool in tools:
        found[tool.name] = tool.version()
    return found


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Measure kaa beside runc and crun.")
    parser.add_argument("--rounds", type=int, default=30, help="how many times (default: 30)")
    parser.add_argument(
        "--listed", type=int, default=20, help="containers alive all the while (default: 20)"
    )
    parser.add_argument("--kaa", metavar="COMMAND", help="the kaa to measure")
    parser.add_argument("--json", action="store_true", help="print every value instead")
    parser.add_argument(INSIDE, action="store_true", dest="inside", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if os.geteuid():
        parser.error("containers need root")
    if not options.inside:
        enter_mount_namespace()
    with tempfile.TemporaryDirectory(prefix="kaa-bench-") as directory:
        work = Path(directory)
        (work / "kaa").mkdir()
        kaa = shutil.which(options.kaa) if options.kaa else install(work / "kaa")
        if kaa is None:
            parser.error(f"no such command: {options.kaa}")
        others = [path for name in ("runc", "crun") if (path := shutil.which(name))]
        tools = [Tool(path, work / f"root-{Path(path).name}") for path in (kaa, *others)]
        found = measure(tools, options.rounds, work, options.listed)
        facts = machine(tools)
    if options.json:
        print(json.dumps({"facts": facts, "values": found}, indent=2))
        return
    print(table(found, tools) + "\n")
    for name, value in facts.items():
        print(f"- {name}: {value}")
    print(f"- medians of {options.rounds} rounds, interleaved")


if __name__ == "__main__":
    main()
