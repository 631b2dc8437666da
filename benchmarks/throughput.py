"""How many containers a second: the library beside loops of `crun run` and `runc run`.

    python3 benchmarks/throughput.py [--count N] [--at-once N] [--rounds N] (as root)

Every container runs `true` in busybox, on the bundle of bench.py. The rounds are
interleaved, in a new random order each, and the numbers are medians. "One after
the other" is a shell's loop and Python's; "at once" is `xargs -P` and kaa.aio.
"""

import argparse
import asyncio
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from bench import INSIDE, enter_mount_namespace, machine
from runtimes import Tool, make_bundle

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

import kaa

Measurement = Callable[[], None]


def with_run(runtime: kaa.Runtime, bundle: Path, count: int) -> Measurement:
    """kaa.run, one after the other, in this process."""

    def measure() -> None:
        for _ in range(count):
            kaa.run(bundle=bundle, runtime=runtime).check_returncode()

    return measure


def with_aio(runtime: kaa.Runtime, bundle: Path, count: int, at_once: int) -> Measurement:
    """kaa.aio.run, some at once, in this process."""

    async def one(turn: asyncio.Semaphore) -> None:
        async with turn:
            (await kaa.aio.run(bundle=bundle, runtime=runtime)).check_returncode()

    async def all_of_them() -> None:
        turn = asyncio.Semaphore(at_once)
        await asyncio.gather(*(one(turn) for _ in range(count)))

    return lambda: asyncio.run(all_of_them())


def with_command(tool: Tool, bundle: Path, count: int, at_once: int) -> Measurement:
    """A runtime's `run`, started by xargs."""
    template = [*tool.command, "run", "--bundle", str(bundle), f"throughput-{tool.name}-@"]

    def measure() -> None:
        subprocess.run(
            ["xargs", "-P", str(at_once), "-I@", *template],
            input="\n".join(map(str, range(count))),
            text=True,
            check=True,
        )

    return measure


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Containers a second, beside runc and crun.")
    parser.add_argument("--count", type=int, default=100, help="containers in a round")
    parser.add_argument("--at-once", type=int, default=8, metavar="N", help="default: 8")
    parser.add_argument("--rounds", type=int, default=5, help="default: 5")
    parser.add_argument(INSIDE, action="store_true", dest="inside", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if os.geteuid():
        parser.error("containers need root")
    if not options.inside:
        enter_mount_namespace()
    count, at_once = options.count, options.at_once
    with tempfile.TemporaryDirectory(prefix="kaa-throughput-") as directory:
        work = Path(directory)
        bundle = make_bundle(work / "bundle") / "true"
        runtime = kaa.Runtime(work / "root-kaa")
        others = [path for name in ("runc", "crun") if (path := shutil.which(name))]
        tools = [Tool(path, work / f"root-{Path(path).name}") for path in others]
        todo: dict[str, Measurement] = {
            "kaa.run, one after the other": with_run(runtime, bundle, count),
            f"kaa.aio.run, {at_once} at once": with_aio(runtime, bundle, count, at_once),
        }
        for tool in tools:
            todo[f"{tool.name} run, one after the other"] = with_command(tool, bundle, count, 1)
            todo[f"{tool.name} run, {at_once} at once"] = with_command(tool, bundle, count, at_once)
        found: dict[str, list[float]] = {name: [] for name in todo}
        for _ in range(options.rounds):
            for name in random.sample(list(todo), len(todo)):
                begin = time.perf_counter()
                todo[name]()
                found[name].append(count / (time.perf_counter() - begin))
        facts = machine(tools)
    print("| | containers a second |\n| --- | --: |")
    for name, rates in found.items():
        print(f"| {name} | {median(rates):.0f} |")
    print()
    for fact, value in facts.items():
        print(f"- {fact}: {value}")
    print(f"- Python {sys.version.split()[0]}, medians of {options.rounds} rounds of {count}")


if __name__ == "__main__":
    main()
