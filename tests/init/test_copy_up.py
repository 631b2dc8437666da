"""copy_up: what a fresh tmpfs covers, with everything that belongs to it."""

import errno
import os
import socket
import stat
from pathlib import Path

import pytest
from init.driver import Init, descriptors, fork

O_PATH = os.O_PATH | os.O_CLOEXEC
O_DIRECTORY = os.O_DIRECTORY | os.O_CLOEXEC


class Copy:
    """A source, and a tmpfs that only kaa-init's mount namespace has."""

    def __init__(self, init: Init, top: Path) -> None:
        self.init = init
        self.source = top / "source"
        self.mounted = top / "target"
        self.source.mkdir()
        self.mounted.mkdir()
        self.target = Path(f"/proc/{init.pid}/root{self.mounted}")
        self.mount(None, "/", None, 0x44000, None)
        self.mount("tmpfs", self.mounted, "tmpfs", 0, "size=8m")

    def mount(self, source: "str | None", target: "str | Path", *rest: "str | int | None") -> None:
        program = self.init.program()
        program.mount(source, str(target), *rest)
        self.init.ok(program)

    def run(self) -> int:
        """Copy; the errno."""
        program = self.init.program()
        source = program.openat(-100, str(self.source), O_PATH, 0)
        target = program.openat(-100, str(self.mounted), O_DIRECTORY, 0)
        program.copy_up(source, target)
        reply = self.init.run(program)
        program = self.init.program()
        program.close(source)
        program.close(target)
        self.init.ok(program)
        assert len(descriptors(self.init)) == 4
        return reply.err

    def same(self, name: str) -> os.stat_result:
        """The entry is the source's in type, mode, owner, times, links, xattrs."""
        a, b = os.lstat(self.source / name), os.lstat(self.target / name)
        assert b.st_mode == a.st_mode, name
        assert (b.st_uid, b.st_gid) == (a.st_uid, a.st_gid), name
        assert b.st_mtime_ns == a.st_mtime_ns, name
        assert b.st_rdev == a.st_rdev, name
        if stat.S_ISLNK(a.st_mode):
            assert os.readlink(self.target / name) == os.readlink(self.source / name)
        elif stat.S_ISREG(a.st_mode):
            assert (self.target / name).read_bytes() == (self.source / name).read_bytes()
        return b


@pytest.fixture
def copy(init: Init, tmp_path: Path) -> Copy:
    os.close(fork(init, 0x00020000))
    return Copy(init, tmp_path)


def times(path: Path, seconds: int) -> None:
    os.utime(path, ns=(seconds * 10**9 + 1, seconds * 10**9 + 123456789), follow_symlinks=False)


def test_an_empty_directory(copy: Copy) -> None:
    assert copy.run() == 0
    assert os.listdir(copy.target) == []


def test_everything_an_image_may_hold(copy: Copy) -> None:
    source = copy.source
    (source / "dir/sub/deep").mkdir(parents=True)
    (source / "dir/sub/file").write_bytes(os.urandom(300_000))
    (source / "empty").write_bytes(b"")
    (source / ".hidden").write_text("x")
    (source / "link").symlink_to("/etc/passwd")
    (source / "dir/dangling").symlink_to("../../nowhere")
    (source / ("n" * 255)).write_text("long")
    (source / "new\nline \udcff").write_text("odd")
    os.mkfifo(source / "fifo")
    os.mknod(source / "null", 0o600 | stat.S_IFCHR, os.makedev(1, 3))
    os.mknod(source / "block", 0o640 | stat.S_IFBLK, os.makedev(259, 1048575))
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(source / "socket"))
    modes = {
        "dir": 0o1777, "dir/sub": 0o2750, "dir/sub/deep": 0, "dir/sub/file": 0o4711, "empty": 0,
        ".hidden": 0o6755, "fifo": 0o622, "null": 0o666, "block": 0o060, "socket": 0o777,
    }  # fmt: skip
    names = [os.path.relpath(os.path.join(top, name), source)
             for top, dirs, files in os.walk(source) for name in dirs + files]  # fmt: skip
    for i, name in enumerate(names):
        os.lchown(source / name, 1000 + i, 2000 + i)
    for name, mode in modes.items():
        os.chmod(source / name, mode)
    for i, name in enumerate(sorted(names, reverse=True)):
        times(source / name, 1_000_000 + i)
    assert copy.run() == 0
    assert len(names) == 14
    for name in names:
        copy.same(name)
    found = [name for _, dirs, files in os.walk(copy.target) for name in dirs + files]
    assert len(found) == len(names)


def test_the_umask_does_not_matter(copy: Copy) -> None:
    (copy.source / "dir").mkdir()
    (copy.source / "dir").chmod(0o777)
    (copy.source / "file").touch()
    (copy.source / "file").chmod(0o666)
    os.mkfifo(copy.source / "fifo")
    (copy.source / "fifo").chmod(0o666)
    program = copy.init.program()
    program.umask(0o077)
    copy.init.ok(program)
    assert copy.run() == 0
    for name in ("dir", "file", "fifo"):
        copy.same(name)
    program = copy.init.program()
    program.emit_value(program.umask(0, keep=True))
    assert copy.init.ok(program).data[0] == 0o077


def test_xattrs(copy: Copy) -> None:
    capability = bytes.fromhex("0100000200200000000000000000000000000000")
    acl = bytes.fromhex("02000000" + "01000700ffffffff" + "02000600e8030000" + "04000500ffffffff"
                        "10000700ffffffff" + "20000400ffffffff")  # fmt: skip
    (copy.source / "file").write_text("x")
    (copy.source / "dir").mkdir()
    os.chown(copy.source / "file", 5, 5)
    os.chmod(copy.source / "file", 0o755)
    os.setxattr(copy.source / "file", "security.capability", capability)
    os.setxattr(copy.source / "file", "trusted.note", b"value")
    os.setxattr(copy.source / "file", "trusted.empty", b"")
    os.setxattr(copy.source / "file", "trusted.big", b"b" * 2000)
    os.setxattr(copy.source / "dir", "trusted.dir", b"d")
    with_acl = True
    try:
        os.setxattr(copy.source / "dir", "system.posix_acl_default", acl)
        os.setxattr(copy.source / "file", "system.posix_acl_access", acl)
    except OSError:
        with_acl = False  # /tmp is mounted without them
    (copy.source / "dir/inner").write_text("before the default ACL mattered")
    (copy.source / "dir/inner").chmod(0o600)
    assert copy.run() == 0
    for name in ("file", "dir", "dir/inner"):
        copy.same(name)
        wanted = {n: os.getxattr(copy.source / name, n) for n in os.listxattr(copy.source / name)}
        found = {n: os.getxattr(copy.target / name, n) for n in os.listxattr(copy.target / name)}
        assert found == wanted
    assert os.getxattr(copy.target / "file", "security.capability") == capability
    assert with_acl == ("system.posix_acl_default" in os.listxattr(copy.target / "dir"))


def test_holes_stay_holes(copy: Copy) -> None:
    with open(copy.source / "sparse", "wb") as file:
        file.write(b"begin")
        file.seek(1 << 34)
        file.write(b"middle")
        file.truncate(1 << 36)
    (copy.source / "all hole").touch()
    os.truncate(copy.source / "all hole", 1 << 33)
    assert copy.run() == 0
    found = os.stat(copy.target / "sparse")
    assert found.st_size == 1 << 36
    assert found.st_blocks * 512 < 1 << 20
    with open(copy.target / "sparse", "rb") as file:
        assert file.read(8) == b"begin\0\0\0"
        file.seek((1 << 34) - 2)
        assert file.read(10) == b"\0\0middle\0\0"
    assert os.stat(copy.target / "all hole").st_size == 1 << 33
    assert os.stat(copy.target / "all hole").st_blocks == 0


def test_mounts_are_not_crossed(copy: Copy) -> None:
    for name in ("mounted", "dir/mounted"):
        (copy.source / name).mkdir(parents=True)
        copy.mount("tmpfs", copy.source / name, "tmpfs", 0, "mode=0700")
    (copy.source / "file").write_text("x")
    copy.mount("/etc/passwd", copy.source / "file", None, 0x1000, None)
    inside = Path(f"/proc/{copy.init.pid}/root{copy.source}")
    (inside / "mounted/secret").write_text("x")
    assert copy.run() == 0
    assert sorted(os.listdir(copy.target)) == ["dir", "mounted"]
    assert os.listdir(copy.target / "mounted") == []
    assert os.listdir(copy.target / "dir/mounted") == []


def test_a_covered_source_is_what_is_copied(init: Init, tmp_path: Path) -> None:
    """As in real use: opened first, then the tmpfs is mounted on the very same directory."""
    os.close(fork(init, 0x00020000))
    (tmp_path / "file").write_text("covered")
    program = init.program()
    program.mount(None, "/", None, 0x44000, None)
    source = program.openat(-100, str(tmp_path), O_PATH, 0)
    program.mount("tmpfs", str(tmp_path), "tmpfs", 0, None)
    target = program.openat(-100, str(tmp_path), O_DIRECTORY, 0)
    program.copy_up(source, target)
    init.ok(program)
    copied = Path(f"/proc/{init.pid}/root{tmp_path}/file")
    assert copied.read_text() == "covered"
    assert copied.stat().st_dev != (tmp_path / "file").stat().st_dev


def test_links_are_copied_not_followed(copy: Copy, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("host")
    (copy.source / "dir").symlink_to(outside)
    (copy.source / "file").symlink_to(outside / "secret")
    (copy.source / "root").symlink_to("/")
    before = os.stat(outside / "secret")
    assert copy.run() == 0
    for name in ("dir", "file", "root"):
        assert os.path.islink(copy.target / name)
        copy.same(name)
    after = os.stat(outside / "secret")
    assert (after.st_mtime_ns, after.st_ctime_ns) == (before.st_mtime_ns, before.st_ctime_ns)


def test_many_entries_and_many_levels(copy: Copy) -> None:
    for i in range(700):
        (copy.source / f"file with a rather long name, number {i:05}").write_text(str(i))
    (copy.source / ("d/" * 200)).mkdir(parents=True)
    assert copy.run() == 0
    assert len(os.listdir(copy.target)) == 701
    assert (copy.target / ("d/" * 200)).is_dir()
    for i in range(0, 700, 99):
        copy.same(f"file with a rather long name, number {i:05}")


def test_too_deep_is_an_error(copy: Copy) -> None:
    (copy.source / ("d/" * 300)).mkdir(parents=True)
    assert copy.run() == errno.ENAMETOOLONG


def test_no_space_is_an_error(copy: Copy) -> None:
    (copy.source / "big").write_bytes(bytes(9 << 20))
    assert copy.run() == errno.ENOSPC


def test_what_is_there_already_is_an_error(copy: Copy) -> None:
    (copy.source / "file").write_text("new")
    (copy.target / "file").symlink_to("/etc/passwd")
    assert copy.run() == errno.EEXIST
    assert os.path.islink(copy.target / "file")


def test_not_a_directory(init: Init) -> None:
    for source, target, error in (
        (-1, 0, errno.EBADF),
        ("/etc/passwd", 0, errno.ENOTDIR),
        ("/etc", "/etc/passwd", errno.ENOTDIR),
    ):
        program = init.program()
        fds = [
            program.openat(-100, path, O_PATH, 0) if isinstance(path, str) else path
            for path in (source, target)
        ]
        program.copy_up(*fds)
        assert init.run(program).err == error


def test_owners_without_a_number_in_the_user_namespace(init: Init, tmp_path: Path) -> None:
    """Such a file becomes the container root's, and loses its set-id bits on the way."""
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    target.mkdir()
    for name, uid in (("mapped", 0), ("foreign", 4242)):
        (source / name).write_text(name)
        os.chown(source / name, uid, uid)
        (source / name).chmod(0o6755)
    program = init.program()
    program.prctl(4, 1, 0, 0, 0)
    program.unshare(0x10000000)
    init.ok(program)
    Path(f"/proc/{init.pid}/setgroups").write_text("deny")
    Path(f"/proc/{init.pid}/gid_map").write_text("0 0 1")
    Path(f"/proc/{init.pid}/uid_map").write_text("0 0 1")
    program = init.program()
    program.unshare(0x00020000)
    program.mount("tmpfs", str(target), "tmpfs", 0, None)
    fds = [program.openat(-100, str(path), O_DIRECTORY, 0) for path in (source, target)]
    program.copy_up(*fds)
    init.ok(program)
    copied = Path(f"/proc/{init.pid}/root{target}")
    assert oct(os.stat(copied / "mapped").st_mode)[-4:] == "6755"
    foreign = os.stat(copied / "foreign")
    assert (foreign.st_uid, foreign.st_gid, oct(foreign.st_mode)[-4:]) == (0, 0, "0755")
    assert (copied / "foreign").read_text() == "foreign"
