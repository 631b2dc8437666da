"""The second half of demo.sh: makes a bundle in DIRECTORY, and runs it.

To be called in a mount namespace of its own:

    demo.py KAA DIRECTORY [COMMAND...]
"""

import json
import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

HOST_NAME = "kaa-demo"
TRACE = Path("/kaa-demo-was-here")

# Run by the host's Python on both sides. /proc/self/mountinfo is in proc(5).
PROBE = """
import json, os, pathlib, pwd, sys
mounts = [line.split() for line in open("/proc/self/mountinfo")]
root = next(m for m in reversed(mounts) if m[4] == "/")
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
if sys.argv[1:]:
    pathlib.Path(sys.argv[1]).write_text("The container was here.")
print(json.dumps({
    "process number": str(os.getpid()),
    "processes it sees": str(sum(name.isdigit() for name in os.listdir("/proc"))),
    "user": f"{pwd.getpwuid(os.getuid()).pw_name} ({os.getuid()})",
    "capabilities": str(int(status["CapEff"], 16).bit_count()),
    "host name": os.uname().nodename,
    "network interfaces": " ".join(sorted(os.listdir("/sys/class/net"))),
    "root file system": root[root.index("-") + 1],
    "mounts": [m[4] for m in mounts],
}))
"""


def mount(kind: str, target: Path, options: str) -> None:
    """Mount a file system that has no device, mount(8)."""
    target.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", kind, "-o", options, "kaa-demo", target], check=True)


def make_root(place: Path) -> Path:
    """The host's file system, writable in memory only."""
    mount("tmpfs", place, "mode=0755")
    upper, work, root = place / "upper", place / "work", place / "root"
    upper.mkdir()
    work.mkdir()
    mount("overlay", root, f"lowerdir=/,upperdir={upper},workdir={work}")
    return root


def make_bundle(kaa: str, place: Path, root: Path, command: list[str], terminal: bool) -> Path:
    """A directory with config.json: what `kaa spec` writes, but for what is asked for here."""
    bundle = place / "bundle"
    bundle.mkdir()
    subprocess.run([kaa, "spec", "--bundle", bundle], check=True)
    path = bundle / "config.json"
    config = json.loads(path.read_text())
    config["root"] = {"path": str(root), "readonly": False}
    config["hostname"] = HOST_NAME
    config["process"]["args"] = command
    config["process"]["terminal"] = terminal
    path.write_text(json.dumps(config))
    return bundle


def show(host: dict[str, Any], container: dict[str, Any], milliseconds: float) -> None:
    """What the probe found, side by side."""
    rows = [("", "on the host", "in the container")]
    for name, value in host.items():
        if name == "mounts":
            rows.append((name, str(len(value)), str(len(container[name]))))
        else:
            rows.append((name, value, container[name]))
    widths = [min(40, max(len(row[i]) for row in rows)) + 3 for i in range(2)]
    print()
    for left, middle, right in rows:
        print(f"  {left:{widths[0]}}{middle:{widths[1]}}{right}")
    mounts = "Its mounts: " + " ".join(container["mounts"])
    print("\n" + textwrap.fill(mounts, 88, initial_indent="  ", subsequent_indent="    "))
    there = "is here too: that should not be" if TRACE.exists() else "is not here"
    print(f"\n  It wrote {TRACE} in its root; the host's file system was its lowest layer,")
    print(f"  and the file {there}. From the command to its end: {milliseconds:.0f} ms.")
    print("\n  To look around in one:  sh scripts/demo.sh bash\n")


def main() -> int:
    """Returns the exit status of the container."""
    kaa, place, command = sys.argv[1], Path(sys.argv[2]), sys.argv[3:]
    probe = [sys.executable, "-I", "-c", PROBE]
    terminal = bool(command) and os.isatty(0)
    host = subprocess.run(probe, check=True, stdout=subprocess.PIPE)
    bundle = make_bundle(kaa, place, make_root(place), command or [*probe, str(TRACE)], terminal)
    run = [kaa, "--root", str(place / "state"), "run", "--bundle", str(bundle)]
    run.append(f"kaa-demo-{os.getpid()}")
    if command:
        return subprocess.run(run, check=False).returncode
    print("demo: $ " + " ".join(run), file=sys.stderr)
    begin = time.monotonic()
    done = subprocess.run(run, check=False, stdout=subprocess.PIPE)
    milliseconds = 1000 * (time.monotonic() - begin)
    if done.returncode:
        print(f"demo: the container ended with status {done.returncode}", file=sys.stderr)
        return done.returncode
    show(json.loads(host.stdout), json.loads(done.stdout), milliseconds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
