"""What a bind mount costs: `run true` with more and more of them, kaa beside runc.

    python3 benchmarks/mounts.py [--rounds N] [--kaa COMMAND] (as root)

The counts and the runtimes take turns in every round, in a new random order. The
numbers are medians; what a mount costs is the slope of the line through all of
them (least squares). Without --kaa the wheel of this checkout is measured.
"""

import argparse
import json
import os
import random
import shutil
import subprocess
import tempfile
from pathlib import Path
from statistics import linear_regression, median

from bench import install
from runtimes import Tool, make_bundle

COUNTS = (1, 10, 100, 300, 1000)
GOAL_MS = 0.15
Times = dict[tuple[str, int], list[float]]


def with_mounts(bundle: Path, count: int) -> Path:
    """A bundle for `true` that binds `count` directories, on mount points that exist."""
    directory = bundle / f"mounts-{count}"
    (directory / "true").mkdir(parents=True)
    source = bundle / "source"
    source.mkdir(exist_ok=True)
    document = json.loads((bundle / "true/config.json").read_text())
    document["root"]["path"] = str(bundle / "rootfs")
    for number in range(count):
        (bundle / f"rootfs/m/{number}").mkdir(parents=True, exist_ok=True)
        document["mounts"].append(
            {
                "destination": f"/m/{number}",
                "type": "bind",
                "source": str(source),
                "options": ["rbind", "rprivate", "ro", "nosuid"],
            }
        )
    (directory / "true/config.json").write_text(json.dumps(document))
    return directory


def measure(tools: list[Tool], bundle: Path, rounds: int) -> Times:
    """Milliseconds by runtime and number of mounts; the first round only warms up."""
    bundles = {count: with_mounts(bundle, count) for count in COUNTS}
    todo = [(tool, count) for tool in tools for count in COUNTS]
    found: Times = {(tool.name, count): [] for tool, count in todo}
    for number in range(rounds + 1):
        random.shuffle(todo)
        for tool, count in todo:
            took = tool.run_true(bundles[count])
            if number:
                found[tool.name, count].append(took)
    return found


def slope(times: Times, name: str) -> float:
    """Milliseconds for one more mount."""
    return linear_regression(COUNTS, [median(times[name, count]) for count in COUNTS]).slope


def table(times: Times, names: list[str]) -> str:
    """The medians, and what each mount costs, in Markdown."""
    ours, *others = names
    head = ["mounts", *(f"{name} (ms)" for name in names), *(f"{ours} / {o}" for o in others)]
    lines = [head, ["--:"] * len(head)]
    rows = [(str(count), {n: median(times[n, count]) for n in names}) for count in COUNTS]
    rows.append(("each", {name: slope(times, name) for name in names}))
    for label, values in rows:
        digits = 3 if label == "each" else 1
        cells = [f"{values[name]:.{digits}f}" for name in names]
        lines.append([label, *cells, *(f"{values[ours] / values[other]:.2f}" for other in others)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Measure what mounts cost.")
    parser.add_argument("--rounds", type=int, default=5, help="how many times (default: 5)")
    parser.add_argument("--kaa", metavar="COMMAND", help="the kaa to measure")
    options = parser.parse_args()
    if os.geteuid():
        parser.error("containers need root")
    with tempfile.TemporaryDirectory(prefix="kaa-bench-") as directory:
        work = Path(directory)
        (work / "kaa").mkdir()
        kaa = shutil.which(options.kaa) if options.kaa else install(work / "kaa")
        if kaa is None:
            parser.error(f"no such command: {options.kaa}")
        runc = shutil.which("runc")
        tools = [Tool(path, work / f"root-{Path(path).name}") for path in (kaa, runc) if path]
        try:
            times = measure(tools, make_bundle(work / "bundle"), options.rounds)
        except subprocess.CalledProcessError as error:
            raise SystemExit(f"mounts: {error}") from None
    names = [tool.name for tool in tools]
    print(table(times, names))
    each = slope(times, names[0])
    print(f"\nkaa: {each:.3f} ms for each mount; the goal is at most {GOAL_MS}")


if __name__ == "__main__":
    main()
