"""Watches trees of the host that a hostile container would like to change."""

import hashlib
import os
from pathlib import Path


class HostCanary:
    """A directory with known contents, outside every root file system.

    `intact()` fails if anything in it was made, removed, written, or changed in
    mode, owner or time, or if something was mounted on it.
    """

    def __init__(self, directory: Path) -> None:
        self.path = directory
        directory.mkdir(parents=True)
        directory.chmod(0o755)
        (directory / "secret").write_text("a secret of the host\n")
        (directory / "ptmx").write_text("not a device\n")
        (directory / "sub").mkdir()
        (directory / "sub/file").write_text("below\n")
        self._before = snapshot([directory])

    @property
    def file(self) -> Path:
        return self.path / "secret"

    def intact(self) -> None:
        after = snapshot([self.path])
        changed = [
            f"{path}: {self._before.get(path)} -> {after.get(path)}"
            for path in sorted(self._before.keys() | after.keys())
            if self._before.get(path) != after.get(path)
        ]
        assert not changed, "the host was changed:\n" + "\n".join(changed)
        mounted = [
            line
            for line in Path("/proc/self/mountinfo").read_text().splitlines()
            if str(self.path) in line.split(" ")[4]
        ]
        assert not mounted, f"mounted on the host: {mounted}"


def snapshot(trees: list[Path]) -> dict[str, tuple[object, ...]]:
    """Path → inode, mode, owner, mtime, and content of everything in the trees."""
    found: dict[str, tuple[object, ...]] = {}
    for tree in trees:
        paths = [tree, *tree.rglob("*")] if tree.is_dir() else [tree]
        for path in paths:
            stat = path.lstat()
            if path.is_symlink():
                content = os.readlink(path)
            elif path.is_file():
                content = hashlib.sha256(path.read_bytes()).hexdigest()
            else:
                content = ""
            found[str(path)] = (
                stat.st_ino,
                oct(stat.st_mode),
                stat.st_uid,
                stat.st_gid,
                stat.st_mtime_ns,
                content,
            )
    return found
