"""hatchling's build hook: compiles kaa's two C programs with $CC (default: cc).

    wheel      kaa-init goes into the package, the launcher becomes the command
               `kaa`; the tag names the machine that $CC compiles for
    editable   kaa-init is compiled in place, and the launcher knows the checkout

Both bring the manual pages and the shells' completion scripts, made from the
command line's own table.
"""

import os
import runpy
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

ROOT = Path(__file__).parent
INIT = ROOT / "src" / "kaa" / "init"

compile_init = runpy.run_path(str(INIT / "build.py"))["build"]
compile_launcher = runpy.run_path(str(INIT / "launcher.py"))["build"]


def machine(cc: str) -> str:
    """The machine that `cc` compiles for, as wheel tags call it."""
    command = [*shlex.split(cc), "-dumpmachine"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return done.stdout.split("-")[0]


def write_share(directory: Path) -> None:
    """Write the manual pages and completion scripts, with the kaa that is being built."""
    environ = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "kaa.cli.documents", "share", str(directory)]
    subprocess.run(command, env=environ, check=True, stdout=subprocess.DEVNULL)


class BuildHook(BuildHookInterface[Any]):
    """Adds the compiled programs to wheels and editable installs."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile; `version` is "standard" or "editable"."""
        if self.target_name != "wheel":
            return
        cc = os.environ.get("CC", "cc")
        self.scratch = tempfile.TemporaryDirectory(prefix="kaa-build-")
        scratch = Path(self.scratch.name)
        launcher = scratch / "kaa"
        build_data["shared_scripts"][str(launcher)] = "kaa"
        write_share(scratch / "share")
        build_data["shared_data"][str(scratch / "share")] = "share"
        if version == "editable":
            compile_init(cc, INIT)
            compile_launcher(cc, launcher, boot=f"{ROOT}/src/kaa/_boot.py")
        else:
            program = compile_init(cc, scratch)
            build_data["force_include"][str(program)] = "kaa/init/kaa-init"
            build_data["tag"] = f"py3-none-linux_{machine(cc)}"
            build_data["pure_python"] = False
            compile_launcher(cc, launcher)

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove what was compiled; it is in the wheel now."""
        if self.target_name == "wheel":
            self.scratch.cleanup()
