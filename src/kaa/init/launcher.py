"""Compiles the launcher, the program behind the command `kaa` (launcher.c).

    python3 src/kaa/init/launcher.py [--cc CC] [--boot FILE] [--python FILE] OUT

Used by the wheel's build hook, and by distributions that want to fix the
paths. Needs nothing but the standard library and a C compiler.
"""

import argparse
import os
import shlex
import subprocess
from pathlib import Path

HERE = Path(__file__).parent

# Ours come after the distribution's CFLAGS and LDFLAGS, and so win over them.
FLAGS = (
    "-std=gnu11 -Os -Wall -Wextra -Wno-unused-command-line-argument -ffreestanding"
    " -fno-stack-protector -fno-lto -fno-asynchronous-unwind-tables -ffunction-sections"
    " -fno-pie -no-pie -nostdlib -static"
    " -Wl,--gc-sections,--build-id=none,-z,noexecstack,-z,norelro,-z,noseparate-code"
)


def build(cc: str, out: Path, *, boot: str = "", python: str = "") -> Path:
    """Compile with the compiler command `cc` to the file `out`, and return that.

    `boot` and `python` are the paths of kaa's _boot.py and of the interpreter;
    where one is empty the launcher looks for it each time it is started.
    Raises subprocess.CalledProcessError; the compiler has said why by then.
    """
    environ = os.environ
    command = f"{cc} {environ.get('CFLAGS', '')} {environ.get('LDFLAGS', '')} {FLAGS}"
    macros = [f'-D{name}="{path}"' for name, path in (("KAA_BOOT", boot), ("KAA_PYTHON", python))]
    sources = [str(HERE / "launcher.c"), str(HERE / "memory.c")]
    subprocess.run([*shlex.split(command), *macros, "-o", str(out), *sources], check=True)
    return out


def main() -> None:
    """The command line above."""
    parser = argparse.ArgumentParser(description="Compile the launcher of the command kaa.")
    parser.add_argument("--cc", default=os.environ.get("CC", "cc"), help="the C compiler")
    parser.add_argument("--boot", default="", metavar="FILE", help="fix the path of _boot.py")
    parser.add_argument("--python", default="", metavar="FILE", help="fix the interpreter")
    parser.add_argument("out", type=Path, metavar="OUT", help="the program to write")
    arguments = parser.parse_args()
    build(arguments.cc, arguments.out, boot=arguments.boot, python=arguments.python)


if __name__ == "__main__":
    main()
