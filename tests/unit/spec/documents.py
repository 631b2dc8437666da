"""A valid configuration that has every property of the schema for Linux."""

from typing import Any

Json = dict[str, Any]


def mapping() -> Json:
    return {"containerID": 0, "hostID": 100000, "size": 65536}


def throttle() -> Json:
    return {"major": 8, "minor": 0, "rate": 600}


def hook() -> Json:
    return {"path": "/bin/hook", "args": ["hook", "a"], "env": ["A=b"], "timeout": 5}


def full() -> Json:
    """A new copy of it."""
    return {
        "ociVersion": "1.3.0",
        "root": {"path": "rootfs", "readonly": True},
        "hostname": "box",
        "domainname": "example.org",
        "annotations": {"org.example.key": "value"},
        "mounts": [
            {
                "destination": "/proc",
                "type": "proc",
                "source": "proc",
                "options": ["nosuid"],
                "uidMappings": [mapping()],
                "gidMappings": [mapping()],
            }
        ],
        "hooks": {
            name: [hook()]
            for name in (
                "prestart",
                "createRuntime",
                "createContainer",
                "startContainer",
                "poststart",
                "poststop",
            )
        },
        "process": {
            "terminal": True,
            "consoleSize": {"height": 25, "width": 80},
            "user": {
                "uid": 1,
                "gid": 1,
                "umask": 18,
                "additionalGids": [5, 6],
                "username": "somebody",
            },
            "args": ["sh", "-c", ""],
            "commandLine": "for Windows",
            "env": ["PATH=/bin", "EMPTY="],
            "cwd": "/",
            "capabilities": {
                name: ["CAP_KILL"]
                for name in ("bounding", "permitted", "effective", "inheritable", "ambient")
            },
            "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 1024, "hard": 2**64 - 1}],
            "apparmorProfile": "docker-default",
            "oomScoreAdj": 100,
            "selinuxLabel": "system_u:system_r:svirt_lxc_net_t:s0:c124,c675",
            "ioPriority": {"class": "IOPRIO_CLASS_IDLE", "priority": 4},
            "noNewPrivileges": True,
            "scheduler": {
                "policy": "SCHED_DEADLINE",
                "nice": 0,
                "priority": 0,
                "flags": ["SCHED_FLAG_RESET_ON_FORK"],
                "runtime": 1,
                "deadline": 2,
                "period": 3,
            },
            "execCPUAffinity": {"initial": "7", "final": "0-3,7"},
        },
        "linux": {
            "devices": [
                {
                    "type": "c",
                    "path": "/dev/fuse",
                    "major": 10,
                    "minor": 229,
                    "fileMode": 438,
                    "uid": 0,
                    "gid": 0,
                }
            ],
            "netDevices": {"eth0": {"name": "container_eth0"}},
            "uidMappings": [mapping()],
            "gidMappings": [mapping()],
            "namespaces": [
                {"type": "pid", "path": "/proc/1234/ns/pid"},
                {"type": "network"},
                {"type": "ipc"},
                {"type": "uts"},
                {"type": "mount"},
                {"type": "user"},
                {"type": "cgroup"},
                {"type": "time"},
            ],
            "resources": {
                "unified": {"memory.high": "1000000"},
                "devices": [
                    {"allow": True, "type": "c", "major": 10, "minor": 229, "access": "rw"}
                ],
                "pids": {"limit": 32771},
                "blockIO": {
                    "weight": 10,
                    "leafWeight": 10,
                    "throttleReadBpsDevice": [throttle()],
                    "throttleWriteBpsDevice": [throttle()],
                    "throttleReadIOPSDevice": [throttle()],
                    "throttleWriteIOPSDevice": [throttle()],
                    "weightDevice": [{"major": 8, "minor": 0, "weight": 500, "leafWeight": 300}],
                },
                "cpu": {
                    "cpus": "2-3",
                    "mems": "0-7",
                    "period": 500000,
                    "quota": 1000000,
                    "burst": 1000,
                    "realtimePeriod": 1000000,
                    "realtimeRuntime": 950000,
                    "shares": 1024,
                    "idle": 0,
                },
                "hugepageLimits": [{"pageSize": "2MB", "limit": 9223372036854772000}],
                "memory": {
                    "kernel": -1,
                    "kernelTCP": -1,
                    "limit": 536870912,
                    "reservation": 536870912,
                    "swap": 536870912,
                    "swappiness": 0,
                    "disableOOMKiller": False,
                    "useHierarchy": False,
                    "checkBeforeUpdate": True,
                },
                "network": {
                    "classID": 1048577,
                    "priorities": [{"name": "eth0", "priority": 500}],
                },
                "rdma": {"mlx5_1": {"hcaHandles": 3, "hcaObjects": 10000}},
            },
            "cgroupsPath": "/myRuntime/myContainer",
            "rootfsPropagation": "slave",
            "seccomp": {
                "defaultAction": "SCMP_ACT_ERRNO",
                "defaultErrnoRet": 38,
                "flags": ["SECCOMP_FILTER_FLAG_LOG"],
                "listenerPath": "/run/seccomp.sock",
                "listenerMetadata": "foo",
                "architectures": ["SCMP_ARCH_X86"],
                "syscalls": [
                    {
                        "names": ["getcwd", "chmod"],
                        "action": "SCMP_ACT_ERRNO",
                        "errnoRet": 1,
                        "args": [
                            {"index": 0, "value": 1, "valueTwo": 2, "op": "SCMP_CMP_MASKED_EQ"}
                        ],
                    }
                ],
            },
            "sysctl": {"net.core.somaxconn": "256"},
            "maskedPaths": ["/proc/kcore"],
            "readonlyPaths": ["/proc/sys"],
            "mountLabel": "system_u:object_r:svirt_sandbox_file_t:s0:c715,c811",
            "intelRdt": {
                "closID": "guaranteed_group",
                "schemata": ["L3:0=7f0;1=1f"],
                "l3CacheSchema": "L3:0=7f0;1=1f",
                "memBwSchema": "MB:0=20;1=70",
                "enableMonitoring": True,
            },
            "memoryPolicy": {
                "mode": "MPOL_INTERLEAVE",
                "nodes": "0-3",
                "flags": ["MPOL_F_STATIC_NODES"],
            },
            "personality": {"domain": "LINUX", "flags": ["ADDR_NO_RANDOMIZE"]},
            "timeOffsets": {
                "boottime": {"secs": 86400, "nanosecs": 1},
                "monotonic": {"secs": -86400, "nanosecs": 0},
            },
        },
    }


def smallest() -> Json:
    """As little as there can be."""
    return {
        "ociVersion": "1.0.0",
        "process": {"cwd": "/", "args": ["true"]},
        "root": {"path": "rootfs"},
    }
