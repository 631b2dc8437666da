"""resolve: whatever the image contains and its processes do, the result is inside the root."""

import ctypes
import errno
import os
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from init.driver import Init, descriptors, fork

from kaa.program.program import Slot

O_PATH = os.O_PATH | os.O_CLOEXEC
EXISTING, DIRECTORY, FILE, NOFOLLOW = 0, 1, 2, 16


class Tree:
    """A root with a canary beside it, and a kaa-init that holds the root."""

    def __init__(self, init: Init, top: Path) -> None:
        self.init = init
        self.root = top / "root"
        self.canary = top / "canary"
        self.root.mkdir()
        self.canary.mkdir()
        (self.canary / "secret").write_text("host")
        program = init.program()
        self.slot: Slot = program.openat(-100, str(self.root), O_PATH, 0)
        init.ok(program)

    def resolve(self, path: str, kind: int = EXISTING, mode: int = 0o755) -> "str | int":
        """Where it leads, seen from the root; or the errno."""
        fd = self.open(path, kind, mode)
        if fd < 0:
            return -fd
        try:
            found = os.readlink(f"/proc/self/fd/{fd}")
        finally:
            os.close(fd)
        assert found == str(self.root) or found.startswith(f"{self.root}/"), found
        return found[len(str(self.root)) :] or "/"

    def open(self, path: str, kind: int = EXISTING, mode: int = 0o755) -> int:
        program = self.init.program()
        fd = program.resolve(self.slot, path, kind, mode)
        program.send_fd(fd)
        program.close(fd)
        reply = self.init.run(program)
        assert reply.err == 0 or reply.op == 0
        return -reply.err if reply.err else reply.fds[0]

    def untouched(self) -> None:
        """Nothing was made beside the root."""
        assert sorted(os.listdir(self.canary)) == ["secret"]
        assert sorted(os.listdir(self.root.parent)) == ["canary", "root"]


@pytest.fixture
def tree(init: Init, tmp_path: Path) -> Iterator[Tree]:
    made = Tree(init, tmp_path)
    yield made
    made.untouched()
    assert len(descriptors(init)) == 5  # the command socket's and the root's are the last two


def mode_of(path: Path) -> str:
    return oct(stat.S_IMODE(os.lstat(path).st_mode))


# -- what it makes ------------------------------------------------------------


@pytest.mark.parametrize("path", ["/a/b/c", "a/b/c", "//a///b/./c/", "/./a/b/c/.", "/../../a/b/c"])
def test_missing_directories_are_made_with_the_mode(tree: Tree, path: str) -> None:
    assert tree.resolve(path, DIRECTORY, 0o731) == "/a/b/c"
    assert tree.resolve(path, DIRECTORY, 0o700) == "/a/b/c"
    assert [mode_of(tree.root / p) for p in ("a", "a/b", "a/b/c")] == ["0o731"] * 3


def test_leading_dotdots_stay_at_the_root(tree: Tree) -> None:
    assert tree.resolve("/../../a/b", DIRECTORY) == "/a/b"
    assert tree.resolve("../..", DIRECTORY) == "/"


def test_an_empty_file_is_made_with_its_parents(tree: Tree) -> None:
    assert tree.resolve("/etc/x/file", FILE, 0o640) == "/etc/x/file"
    assert mode_of(tree.root / "etc") == "0o755"
    assert mode_of(tree.root / "etc/x") == "0o755"
    assert mode_of(tree.root / "etc/x/file") == "0o640"
    assert (tree.root / "etc/x/file").is_file()
    assert (tree.root / "etc/x/file").stat().st_size == 0


def test_the_umask_is_neither_applied_nor_changed(tree: Tree) -> None:
    program = tree.init.program()
    program.umask(0o077)
    tree.init.ok(program)
    assert tree.resolve("/wide", DIRECTORY, 0o777) == "/wide"
    assert tree.resolve("/wide2/file", FILE, 0o666) == "/wide2/file"
    assert mode_of(tree.root / "wide") == "0o777"
    assert mode_of(tree.root / "wide2/file") == "0o666"
    program = tree.init.program()
    program.emit_value(program.umask(0o022, keep=True))
    assert tree.init.ok(program).data[0] == 0o077


def test_what_exists_is_opened_and_left_alone(tree: Tree) -> None:
    (tree.root / "dir").mkdir(mode=0o700)
    (tree.root / "file").write_text("content")
    for kind in (EXISTING, DIRECTORY, FILE):
        assert tree.resolve("/dir", kind) == "/dir"
        assert tree.resolve("/file", kind) == "/file"
        assert tree.resolve("/", kind) == "/"
    assert (tree.root / "file").read_text() == "content"
    assert mode_of(tree.root / "dir") == "0o700"


def test_existing_only(tree: Tree) -> None:
    assert tree.resolve("/missing") == errno.ENOENT
    assert tree.resolve("/missing/deeper") == errno.ENOENT
    assert os.listdir(tree.root) == []


def test_bad_paths(tree: Tree) -> None:
    assert tree.resolve("", DIRECTORY) == errno.ENOENT
    assert tree.resolve("/" + "a" * 256, DIRECTORY) == errno.ENAMETOOLONG
    assert tree.resolve("/x/" + "a" * 256, DIRECTORY) == errno.ENAMETOOLONG
    assert tree.resolve("/a" * 2048, DIRECTORY) == errno.ENAMETOOLONG
    (tree.root / "file").write_text("")
    for kind in (EXISTING, DIRECTORY, FILE):
        assert tree.resolve("/file/x", kind) == errno.ENOTDIR
    assert tree.resolve("/a/b", 3) == errno.EINVAL
    assert tree.resolve("/a/b", DIRECTORY, 0o17777) == errno.EINVAL
    program = tree.init.program()
    program.resolve(tree.slot, 4096, 0, 0)
    assert tree.init.run(program).err == errno.EFAULT


def test_deep_paths(tree: Tree) -> None:
    deep = "/d" * 1500
    assert tree.resolve(deep, DIRECTORY) == deep
    assert tree.resolve(deep) == deep
    subprocess.run(["rm", "-rf", tree.root / "d"], check=True)


# -- hostile links --------------------------------------------------------------

# (links of the image, path, kind, expected): a path below the root, or an errno
LAYOUTS: "list[tuple[dict[str, str], str, int, str | int]]" = [
    ({"a": "/etc"}, "/a", EXISTING, errno.ENOENT),
    ({"a": "/etc"}, "/a", DIRECTORY, "/etc"),
    ({"a": "CANARY"}, "/a/x", DIRECTORY, "CANARY/x"),
    ({"a": "CANARY/secret"}, "/a", FILE, "CANARY/secret"),
    ({"a": "../../../../../CANARY"}, "/a/x", DIRECTORY, "CANARY/x"),
    ({"a": "../canary"}, "/a/x", FILE, "/canary/x"),
    ({"d/": "", "d/up": ".."}, "/d/up/up/up/x", DIRECTORY, "/up/up/x"),
    ({"d/": "", "d/up": "../.."}, "/d/up/x", DIRECTORY, "/x"),
    ({"a": "b", "b": "c", "c": "/d/e"}, "/a/f", DIRECTORY, "/d/e/f"),
    ({"a": "/b/", "b": "d//e/."}, "/a/f", FILE, "/d/e/f"),
    ({"a": "a"}, "/a", EXISTING, errno.ELOOP),
    ({"a": "a"}, "/a/b", DIRECTORY, errno.ELOOP),
    ({"a": "b/x", "b": "a/y"}, "/a", DIRECTORY, errno.ELOOP),
    ({"a": "missing/../../canary"}, "/a", DIRECTORY, errno.ENOENT),
    ({}, "/missing/../../canary", DIRECTORY, errno.ENOENT),
    ({}, "/missing/..", DIRECTORY, errno.ENOENT),
    ({"m": "missing"}, "/m/../x", DIRECTORY, errno.ENOENT),
    ({"d/": "", "d/e/": ""}, "/d/e/../../../x", DIRECTORY, "/x"),
    ({"d/": "", "d/e/": ""}, "/d/e/../f/g", DIRECTORY, "/d/f/g"),
    ({"d/": "", "a": "d/../d/../new"}, "/a/x", DIRECTORY, "/new/x"),
    ({"a": "/"}, "/a/a/a/x", DIRECTORY, "/x"),
    ({"a": "."}, "/a/a/a/x", FILE, "/x"),
    ({"a": ""}, "/a", EXISTING, errno.ENOENT),
    ({"a": "/new/file"}, "/a", FILE, "/new/file"),
    ({"a": "/new"}, "/a", NOFOLLOW, errno.ELOOP),
    ({"a": "/new"}, "/a", NOFOLLOW | DIRECTORY, errno.ELOOP),
    ({"a": "/new"}, "/a/", NOFOLLOW | DIRECTORY, errno.ELOOP),
    ({"a": "/new"}, "/a", NOFOLLOW | FILE, errno.ELOOP),
    ({"a": "/new"}, "/a/b", NOFOLLOW | FILE, "/new/b"),
    ({"d/": "", "a": "/d"}, "/a", NOFOLLOW, errno.ELOOP),
    ({"d/": "", "a": "/d"}, "/a/", NOFOLLOW, errno.ELOOP),
    ({"d/": "", "a": "/d"}, "/a/b", NOFOLLOW | DIRECTORY, "/d/b"),
    ({"d/": "", "d/a": "/x"}, "/new/../d/a", NOFOLLOW | FILE, errno.ENOENT),
    ({"a": "x" * 255}, "/a", DIRECTORY, "/" + "x" * 255),
    ({"a": "x" * 256}, "/a", DIRECTORY, errno.ENAMETOOLONG),
    ({"a": "/b" * 2000}, "/a" + "/c" * 200, DIRECTORY, errno.ENAMETOOLONG),
]


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: f"{layout[1][:30]}-{layout[2]}")
def test_hostile_layouts(tree: Tree, layout: "tuple[dict[str, str], str, int, str | int]") -> None:
    links, path, kind, expected = layout
    for name, target in links.items():
        if name.endswith("/"):
            (tree.root / name).mkdir()
        elif target:
            (tree.root / name).symlink_to(target.replace("CANARY", str(tree.canary)))
    if isinstance(expected, str):
        expected = expected.replace("CANARY", str(tree.canary))
    assert tree.resolve(path, kind, 0o755) == expected


@pytest.mark.parametrize(("links", "works"), [(40, True), (41, False)])
def test_at_most_40_links(tree: Tree, links: int, works: bool) -> None:
    for i in range(links):
        (tree.root / f"l{i}").symlink_to(f"l{i + 1}" if i + 1 < links else "end")
    assert tree.resolve("/l0", DIRECTORY) == ("/end" if works else errno.ELOOP)


def test_links_to_the_root_of_the_host_through_proc(tree: Tree) -> None:
    """A real procfs in the root: its magic links lead out, and are not followed."""
    program = tree.init.program()
    program.unshare(0x00020000)
    program.mount(None, "/", None, 0x44000, None)
    tree.init.ok(program)
    (tree.root / "proc").mkdir()
    program = tree.init.program()
    program.mount("proc", str(tree.root / "proc"), "proc", 0, None)
    program.call("close", tree.slot)
    program.openat(-100, str(tree.root), O_PATH, 0, into=tree.slot)
    tree.init.ok(program)
    pid = os.getpid()
    for path in (f"/proc/{pid}/root", f"/proc/{pid}/cwd", f"/proc/{pid}/exe", f"/proc/{pid}/fd/0"):
        for kind in (EXISTING, DIRECTORY, FILE, NOFOLLOW, NOFOLLOW | DIRECTORY):
            assert tree.resolve(path, kind) == errno.ELOOP
            assert tree.resolve(f"{path}/tmp", kind) in (errno.ELOOP, errno.ENOTDIR)
    (tree.root / "a").symlink_to(f"/proc/{pid}/root/tmp")
    assert tree.resolve("/a/b/c", DIRECTORY) == errno.ELOOP
    assert tree.resolve("/a", NOFOLLOW) == errno.ELOOP


def test_a_mount_below_the_root_is_entered(init: Init, tmp_path: Path) -> None:
    os.close(fork(init, 0x00020000))
    tree = Tree(init, tmp_path)
    (tree.root / "dev").mkdir()
    program = init.program()
    program.mount(None, "/", None, 0x44000, None)
    program.mount("tmpfs", str(tree.root / "dev"), "tmpfs", 0, "size=4k")
    program.close(tree.slot)
    tree.slot = program.openat(-100, str(tree.root), O_PATH, 0)
    init.ok(program)
    fd = tree.open("/dev/pts/x", DIRECTORY)
    assert fd >= 0
    assert os.listdir(f"/proc/self/fd/{fd}") == []
    os.close(fd)
    assert os.listdir(tree.root / "dev") == []  # it was made on the tmpfs


# -- an attacker at work ----------------------------------------------------------

SWAPPER = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
root, first, second = (part.encode() for part in sys.argv[1:])
os.chdir(root)
print("on", flush=True)
while True:
    libc.renameat2(-100, first, -100, second, 2)
    libc.renameat2(-100, b"a/p/q/r", -100, b"shallow", 2)
"""


@pytest.fixture
def swapper(tree: Tree) -> Iterator[Tree]:
    """`a/b` below the root is now a directory, now a link to the canary on the host; and
    `a/p/q/r` is now what it seems, now two levels nearer to the root."""
    if ctypes.CDLL(None).renameat2 is None:
        pytest.skip("libc has no renameat2")
    (tree.root / "a/b/sub").mkdir(parents=True)
    (tree.root / "a/evil").symlink_to(tree.canary)
    (tree.root / "a/up").mkdir()
    (tree.root / "a/p/q/r").mkdir(parents=True)
    (tree.root / "shallow").mkdir()
    with subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", SWAPPER, tree.root, "a/b", "a/evil"],
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"on\n"
        yield tree
        process.kill()


ATTACKED = [
    ("/a/b/x{n}/y", DIRECTORY),
    ("/a/b/f{n}", FILE),
    ("/a/b/sub/../x{n}", DIRECTORY),
    ("/a/up/../b/../b/../b/sub/n{n}", DIRECTORY),
    ("/a/p/q/r/../../canary/n{n}", DIRECTORY),
    ("/a/p/q/r/../../../canary/f{n}", FILE),
    ("/a/b/secret", EXISTING),
    ("/a/b/secret", FILE),
    ("/a/b", NOFOLLOW),
    ("/a/b/n{n}", NOFOLLOW | FILE),
]


def test_a_swapper_never_gets_a_result_outside(swapper: Tree) -> None:
    """Tree.resolve asserts that every single result is inside; the fixture, that the canary
    is untouched. Both outcomes of the race must have been seen, or it was none."""
    inside = str(swapper.canary)
    seen_link = seen_directory = rounds = 0
    end = time.monotonic() + 6
    while time.monotonic() < end or rounds < 200:
        for path, kind in ATTACKED:
            found = swapper.resolve(path.format(n=rounds % 50), kind)
            if isinstance(found, str):
                seen_link += found.startswith(inside)
                seen_directory += found.startswith("/a/")
            else:
                assert found in (
                    errno.ENOENT, errno.EAGAIN, errno.ELOOP, errno.EXDEV, errno.ENOTDIR,
                ), os.strerror(found)  # fmt: skip
        rounds += 1
    assert rounds * len(ATTACKED) >= 1600
    assert seen_link
    assert seen_directory
