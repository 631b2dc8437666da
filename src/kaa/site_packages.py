"""Third-party packages, for the few commands that want one.

The `kaa` command runs without `site` (-S), because finding out about a full
site-packages costs more than running a container. Whoever imports jeepney,
pyroute2 or rich calls `enable()` first.
"""

import sys


def enable() -> None:
    """Make third-party packages importable. Does nothing where they are already.

    The directory that holds kaa is appended, where `site` has not found it:
    after `pip install --user` (-I leaves the user's packages out) or --target.
    It comes last, so that nothing in it hides a module of the standard library.
    """
    if sys.flags.no_site and "site" not in sys.modules:
        import site

        site.main()
    package = sys.modules["kaa"].__path__[0]
    directory = package[: package.rindex("/")] or "/"
    if directory not in sys.path:
        sys.path.append(directory)
