from .rig import *


def test_a(rig):
    r = rig.run("cat /proc/self/mountinfo; ls -la /dev; echo; stat -f /proc; ls /", [PROC,DEV,PTS,SYS, bind("/etc","/mnt/etc","rbind","ro"), tmpfs("/tmp")], maskedPaths=["/proc/kcore","/proc/acpi","/proc/scsi","/nonexistent"], readonlyPaths=["/proc/sys"], read_only=True)
    print(r.out, r.ops)
    assert 0
