"""home: what an image's passwd file says, whatever is in it."""

import errno
import os
from pathlib import Path

from init.driver import Init

O_RDONLY = os.O_RDONLY | os.O_CLOEXEC

USERS = """\
root:x:0:0:root:/root:/bin/sh
1000:x:0:0::/wrong:/bin/sh
broken line
:::::
neg:x:-1000:1000::/negative:/bin/sh
text:x:1000x:1000::/text:/bin/sh
empty:x::1000::/empty:/bin/sh
big:x:99999999999999999999:1::/big:/bin/sh
wrap:x:18446744073709552616:1::/wrap:/bin/sh
user:x:1000:1000:A User,,,:/home/user:/bin/sh
user2:x:1000:1000::/home/second:/bin/sh
nohome:x:1001:1001:::/bin/sh
nohome2:x:1001:1001::/late:/bin/sh
short:x:1002:1002:only
bare:x:1003:1003::/bare
last:x:1004:1004::/last:"""


def home(init: Init, path: "str | Path", uid: int, room_for: int = 64) -> "bytes | int":
    program = init.program()
    fd = program.openat(-100, str(path), O_RDONLY | os.O_NONBLOCK, 0)
    room = program.bytes(b"?" * room_for)
    program.home(fd, uid, room, room_for)
    program.emit(room, room_for)
    reply = init.run(program)
    return reply.err or reply.data.rstrip(b"?")


def test_home(init: Init, tmp_path: Path) -> None:
    path = tmp_path / "passwd"
    path.write_text(USERS)
    assert home(init, path, 0) == b"/root\0"
    assert home(init, path, 1000) == b"/home/user\0"
    assert home(init, path, 1001) == errno.ENOENT
    assert home(init, path, 1002) == errno.ENOENT
    assert home(init, path, 1003) == b"/bare\0"
    assert home(init, path, 1004) == b"/last\0"
    assert home(init, path, 1005) == errno.ENOENT
    assert home(init, path, 99999999999999999999 % (1 << 64)) == errno.ENOENT
    path.write_bytes(b"a:b:7:d:e:" + b"/" * 63 + b":\n")
    assert home(init, path, 7) == b"/" * 63 + b"\0"
    path.write_bytes(b"a:b:7:d:e:" + b"/" * 64 + b":\n")
    assert home(init, path, 7) == errno.ENAMETOOLONG
    path.write_bytes(b"")
    assert home(init, path, 0) == errno.ENOENT


def test_home_across_the_pieces_it_reads(init: Init, tmp_path: Path) -> None:
    path = tmp_path / "passwd"
    for before in range(4070, 4100):
        path.write_bytes(b"#" * before + b"\nuser:x:1000:1:gecos:/home/user:/bin/sh\n")
        assert home(init, path, 1000) == b"/home/user\0"
    path.write_bytes(
        b"a:b:c:" + b"x" * 10000 + b"\nu:x:5:5::" + b"/" * 9000 + b":\nu:x:6:6::/six:\n"
    )
    assert home(init, path, 5) == errno.ENAMETOOLONG
    assert home(init, path, 6) == b"/six\0"


def test_home_reads_no_more_than_a_mebibyte_of_a_regular_file(init: Init, tmp_path: Path) -> None:
    path = tmp_path / "passwd"
    path.write_bytes(b"\n" * (1 << 20) + b"u:x:5:5::/five:\n")
    assert home(init, path, 5) == errno.ENOENT
    os.truncate(path, 1 << 40)
    assert home(init, path, 5) == errno.ENOENT
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    assert home(init, fifo, 5) == errno.EINVAL
    assert home(init, "/dev/zero", 5) == errno.EINVAL
    program = init.program()
    program.home(program.openat(-100, "/etc/passwd", O_RDONLY, 0), 0, 4096, 64)
    assert init.run(program).err == errno.EFAULT
