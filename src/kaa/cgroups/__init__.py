"""Control groups: one small interface, a backend per version.

    layout = detect()
    cgroup = open_cgroup(layout, config_path, id, rootless=False)
    record(cgroup.record()); cgroup.create()
    cgroup.attach(pid); cgroup.apply(resources); cgroup.attach_last(pid)

`kaa.cgroups.base.Cgroup` is the interface; `v1` (also hybrid) and `v2` write to
the cgroup file systems; `systemd` has a scope made first, over D-Bus.
"""

from kaa.cgroups.layout import Hierarchy, Layout, detect, load, open_cgroup

__all__ = ["Hierarchy", "Layout", "detect", "load", "open_cgroup"]
