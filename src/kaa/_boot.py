"""What the `kaa` command runs: `python -IS _boot.py ARGS...` (src/kaa/init/launcher.c).

Under -S the directory that holds kaa is not on `sys.path`, and it is not put
there: what else is installed in it could hide modules of the standard
library. The package is made from its own directory instead. Nothing keeps
the compiled form of a script, so the work is done in `kaa.__main__`. The
syntax here is one that older Pythons understand, for the sake of the message.
"""

import sys

if sys.version_info < (3, 11):  # noqa: UP036
    sys.exit(f"kaa: needs Python 3.11 or newer, and {sys.executable} is older")


def _make_package() -> None:
    from _frozen_importlib import module_from_spec, spec_from_loader
    from _frozen_importlib_external import SourceFileLoader

    directory = __file__[: __file__.rindex("/")]
    loader = SourceFileLoader("kaa", f"{directory}/__init__.py")
    spec = spec_from_loader("kaa", loader)
    assert spec is not None  # noqa: S101  (a source file always has one)
    kaa = sys.modules["kaa"] = module_from_spec(spec)
    loader.exec_module(kaa)


_make_package()

from kaa.__main__ import run  # noqa: E402

run()
