"""The one table of commands and options.

The parser, the help, shell completion, the manual pages and docs/cli.md are
all made from it: a command or an option is written down here and nowhere else.
"""

FLAG, TEXT, LIST, NUMBER, DURATION = "flag", "text", "list", "number", "duration"

STATE_ROOT = "/run/kaa"

# What completes an operand, beside lists of words.
CONTAINER, SIGNAL, COMMAND = "<container>", "<signal>", "<command>"


class Option:
    """One option: `--name`, and `-short` if it has one.

    `value` is the word for what it takes ("FILE", "DIR", "SOCKET" complete as
    paths), `choices` what may be written there, where that is a fixed list.
    A `hidden` option is understood, but not shown.
    """

    __slots__ = ("choices", "default", "help", "hidden", "kind", "name", "short", "value")

    def __init__(
        self,
        name: str,
        kind: str,
        help: str,
        *,
        short: str = "",
        value: str = "",
        choices: tuple[str, ...] = (),
        default: str = "",
        hidden: bool = False,
    ) -> None:
        self.name = name
        self.kind = kind
        self.help = help
        self.short = short
        self.value = value
        self.choices = choices
        self.default = default
        self.hidden = hidden


class Command:
    """One command, or a group of them if it has `commands`.

    `operands` is shown after the options; `least` and `most` say how many
    there may be (`most` None: any number). What follows the `stop`-th operand
    is taken as it stands, so that `exec ID ls -l` does not read `-l` (0: options
    may come anywhere). `completes` has an entry for each operand that a shell
    can complete: CONTAINER, SIGNAL, COMMAND or words. An error of the command is
    reported behind `failure`, and ends kaa with `failure_code`.
    """

    __slots__ = (
        "alias",
        "commands",
        "completes",
        "description",
        "examples",
        "failure",
        "failure_code",
        "least",
        "most",
        "name",
        "operands",
        "options",
        "stop",
        "summary",
    )

    def __init__(
        self,
        name: str,
        summary: str,
        *,
        operands: str = "",
        least: int = 0,
        most: int | None = 0,
        options: tuple[Option, ...] = (),
        description: str = "",
        examples: tuple[tuple[str, str], ...] = (),
        stop: int = 0,
        completes: tuple[str, ...] = (),
        failure: str = "",
        failure_code: int = 1,
        alias: str = "",
        commands: "tuple[Command, ...]" = (),
    ) -> None:
        self.name = name
        self.summary = summary
        self.operands = operands
        self.least = least
        self.most = most
        self.options = options
        self.description = description
        self.examples = examples
        self.stop = stop
        self.completes = completes
        self.failure = failure
        self.failure_code = failure_code
        self.alias = alias
        self.commands = commands


HELP = Option("help", FLAG, "show help", short="h")

_ID = "<container-id>"
_BUNDLE = Option(
    "bundle",
    TEXT,
    "the bundle: a directory with config.json in it (default: the current directory)",
    short="b",
    value="DIR",
)
_CONSOLE_SOCKET = Option(
    "console-socket", TEXT, "UNIX socket that is sent the master of the terminal", value="SOCKET"
)
_PIDFD_SOCKET = Option(
    "pidfd-socket", TEXT, "UNIX socket that is sent a pidfd of the process", value="SOCKET"
)
_PID_FILE = Option("pid-file", TEXT, "write the process's pid to this file", value="FILE")
_DETACH = Option("detach", FLAG, "do not wait for the process", short="d")
_PRESERVE_FDS = Option(
    "preserve-fds",
    NUMBER,
    "leave this many descriptors open for the process, beside stdio and $LISTEN_FDS",
    value="N",
    default="0",
)
_NO_SUBREAPER_HIDDEN = Option("no-subreaper", FLAG, "no effect here", hidden=True)
_NO_PIVOT = Option("no-pivot", FLAG, "move the root file system instead of pivot_root(2)")
_NO_NEW_KEYRING = Option("no-new-keyring", FLAG, "keep the caller's session keyring")
_FORMAT = Option(
    "format", TEXT, "table or json", short="f", value="FORMAT", choices=("table", "json"),
    default="table",
)  # fmt: skip

GLOBAL_OPTIONS: tuple[Option, ...] = (
    Option(
        "root",
        TEXT,
        "where the containers' state is kept (rootless: $XDG_RUNTIME_DIR/kaa)",
        value="DIR",
        default=STATE_ROOT,
    ),
    Option("log", TEXT, "append messages to this file (default: standard error)", value="FILE"),
    Option(
        "log-format", TEXT, "text or json", value="FORMAT", choices=("text", "json"),
        default="text",
    ),
    Option(
        "log-level", TEXT, "the least severe message to log", value="LEVEL",
        choices=("debug", "info", "warning", "error"), default="info",
    ),
    Option("debug", FLAG, "log debug messages, and where an internal error happened"),
    Option(
        "systemd-cgroup", FLAG,
        'let systemd make the cgroup; cgroupsPath is "slice:prefix:name"',
    ),
    Option(
        "cgroup-manager", TEXT, "who makes the cgroup; disabled: nobody", value="MANAGER",
        choices=("cgroupfs", "systemd", "disabled"), default="cgroupfs",
    ),
    Option(
        "rootless", TEXT, "go on without cgroups that may not be made: true, false or auto",
        value="WHEN", choices=("true", "false", "auto"), default="auto",
    ),
    Option("criu", TEXT, "ignored", value="FILE", hidden=True),
    HELP,
    Option("version", FLAG, "show the version", short="v"),
)  # fmt: skip

_CREATION: tuple[Option, ...] = (
    _BUNDLE,
    _CONSOLE_SOCKET,
    _PIDFD_SOCKET,
    _PID_FILE,
    _NO_PIVOT,
    _NO_NEW_KEYRING,
    _PRESERVE_FDS,
)


def _amount(name: str, what: str, hidden: bool = False) -> Option:
    return Option(name, TEXT, what, value="N", hidden=hidden)


_UPDATE: tuple[Option, ...] = (
    Option(
        "resources",
        TEXT,
        "read linux.resources as JSON from this file (-: stdin); other options are ignored",
        short="r",
        value="FILE",
    ),
    _amount("blkio-weight", "weight in sharing I/O, 10 to 1000"),
    _amount("cpu-period", "length of a CPU period in microseconds; 0: the system's default"),
    _amount("cpu-quota", "CPU time in a period in microseconds; -1: no limit"),
    _amount("cpu-burst", "CPU time that may be saved up for a burst, in microseconds"),
    _amount("cpu-share", "weight in sharing CPU time"),
    _amount("cpu-rt-period", "length of a real-time period in microseconds"),
    _amount("cpu-rt-runtime", "real-time CPU time in a period in microseconds"),
    Option("cpuset-cpus", TEXT, "CPUs to run on, such as 0-3,7", value="LIST"),
    Option("cpuset-mems", TEXT, "memory nodes to use, such as 0,1", value="LIST"),
    _amount("cpu-idle", "1: run only when nobody else wants the CPU; 0: as others"),
    _amount("memory", "memory in bytes or with a unit (512M); -1: no limit"),
    _amount("memory-reservation", "memory that is protected from reclaim, in bytes or with a unit"),
    _amount("memory-swap", "memory and swap together, in bytes or with a unit; -1: no limit"),
    _amount("kernel-memory", "ignored", hidden=True),
    _amount("kernel-memory-tcp", "ignored", hidden=True),
    _amount("pids-limit", "number of processes and threads; -1: no limit"),
    Option("l3-cache-schema", TEXT, "Intel RDT: the share of the L3 cache", value="SCHEMA"),
    Option("mem-bw-schema", TEXT, "Intel RDT: the share of memory bandwidth", value="SCHEMA"),
)

_EXEC: tuple[Option, ...] = (
    Option("process", TEXT, "read the process as JSON from this file", short="p", value="FILE"),
    Option("cwd", TEXT, "working directory in the container", value="PATH"),
    Option("env", LIST, "set an environment variable (repeatable)", short="e", value="NAME=VALUE"),
    Option("user", TEXT, "user and group to run as, in numbers", short="u", value="UID[:GID]"),
    Option("additional-gids", LIST, "another group (repeatable)", short="g", value="GID"),
    Option("tty", FLAG, "give the process a terminal", short="t"),
    Option("cap", LIST, "add a capability (repeatable)", short="c", value="NAME"),
    Option("no-new-privs", FLAG, "set no_new_privs, so that execve gains no privilege"),
    Option("apparmor", TEXT, "AppArmor profile of the process", value="PROFILE"),
    Option("process-label", TEXT, "SELinux label of the process", value="LABEL"),
    Option(
        "cgroup",
        LIST,
        "run in this existing cgroup below the container's (repeatable on cgroup v1)",
        value="[CONTROLLER:]PATH",
    ),
    Option("ignore-paused", FLAG, "start the process in a paused container too"),
    _DETACH,
    _PID_FILE,
    _CONSOLE_SOCKET,
    _PIDFD_SOCKET,
    _PRESERVE_FDS,
    _NO_SUBREAPER_HIDDEN,
)

_JSON = Option("json", FLAG, "print JSON")

_NS: tuple[Command, ...] = (
    Command(
        "list",
        "list the namespaces of the machine",
        options=(
            _JSON,
            Option("type", TEXT, "only those of this type", short="t", value="TYPE",
                   choices=("cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts")),
            Option("pid", TEXT, "only those of this process", short="p", value="PID"),
        ),
        description="Beside those that processes are in, those that are bound to a path, and "
        "the owners and parents of others. OWNER is the user namespace it belongs to, UID "
        "the maker of that (of a user namespace: its own maker). HELD BY says what keeps it alive: "
        "a process, a process whose children only will be in it, a mount, or a child namespace; "
        "that something has it open is not seen.",
        examples=(("List the network namespaces:", "kaa ns list --type net"),),
    ),
    Command(
        "show",
        "show the namespaces of a process",
        operands="<pid>",
        least=1,
        most=1,
        options=(
            _JSON,
            Option("diff", TEXT, "compare with this process", value="PID"),
        ),
        description="Also its pid at every level, its uid and gid maps in words, and how its "
        "mounts propagate.",
        examples=(("Compare process 4711 with the init of the machine:",
                   "kaa ns show 4711 --diff 1"),),
    ),
    Command(
        "pids",
        "print the pid of a process in every pid namespace",
        operands="<pid>",
        least=1,
        most=1,
        options=(_JSON,),
        description="Begins with the pid namespace of /proc and ends with the process's own.",
        examples=(("See what process 4711 thinks its pid is:", "kaa ns pids 4711"),),
    ),
    Command(
        "tree",
        "draw the hierarchies of user and pid namespaces",
        options=(_JSON,),
        description="A user or pid namespace is drawn below its parent.",
        examples=(("Draw them:", "kaa ns tree"),),
    ),
)  # fmt: skip

COMMANDS: tuple[Command, ...] = (
    Command(
        "create",
        "create a container",
        operands=_ID,
        least=1,
        most=1,
        options=(*_CREATION, _NO_SUBREAPER_HIDDEN),
        description="Makes everything that the bundle's config.json asks for and stops right "
        "before the user's program: `kaa start` runs it. The id is yours to choose, of letters, "
        'digits and "_+-.", and must be free.',
        examples=(
            ("Create a container of the bundle in /srv/web and write down its pid:",
             "kaa create --bundle /srv/web --pid-file /run/web.pid web"),
        ),
        failure="kaa create failed: ",
    ),
    Command(
        "start",
        "run the program of a created container",
        operands=_ID,
        least=1,
        most=1,
        completes=(CONTAINER,),
        description="Returns when the user's program has been executed.",
        examples=(("Start the container web:", "kaa start web"),),
    ),
    Command(
        "run",
        "create a container, start it and wait for its end",
        operands=_ID,
        least=1,
        most=1,
        options=(
            *_CREATION,
            _DETACH,
            Option("keep", FLAG, "do not delete the container when its process has ended"),
            Option("no-subreaper", FLAG, "no effect: kaa never adopts orphaned processes"),
        ),
        description="Ends with the exit code of the container's process, or 128 plus the number of "
        "the signal that killed it. Signals are passed on to the process.",
        examples=(
            ("Run the bundle in the current directory:", "kaa run box"),
            ("Run it in the background:", "kaa run --detach box"),
        ),
        failure="kaa run failed: ",
    ),
    Command(
        "state",
        "print the state of a container as JSON",
        operands=_ID,
        least=1,
        most=1,
        completes=(CONTAINER,),
        description="The document is the state of the OCI runtime specification; the status is "
        "creating, created, running, paused or stopped.",
        examples=(("Print the state of web:", "kaa state web"),),
    ),
    Command(
        "kill",
        "send a signal to a container",
        operands=f"{_ID} [signal]",
        least=1,
        most=2,
        options=(
            Option("all", FLAG, "a container that has stopped is no error", short="a"),
        ),
        completes=(CONTAINER, SIGNAL),
        description="The signal is a name, with or without SIG, or a number; without one it is "
        "TERM. It goes to the container's first process; KILL also to all others, where they share "
        "a pid namespace with the host and would not end with the first.",
        examples=(
            ("End the container web at once:", "kaa kill web KILL"),
            ("Send it the real-time signal that systemd takes for a halt:",
             "kaa kill web RTMIN+3"),
        ),
    ),
    Command(
        "delete",
        "delete a container",
        operands=_ID,
        least=1,
        most=1,
        options=(
            Option(
                "force", FLAG, "kill the container if it runs; a missing one is no error",
                short="f",
            ),
        ),
        completes=(CONTAINER,),
        description="Removes the cgroup and the state of a container that is created or stopped.",
        examples=(("Delete web, whatever it is doing:", "kaa delete --force web"),),
    ),
    Command(
        "list",
        "list the containers",
        options=(_FORMAT, Option("quiet", FLAG, "print the ids only", short="q")),
        description="Lists the containers whose state is kept below the global option --root.",
        examples=(
            ("List the containers as JSON:", "kaa list --format json"),
            ("List those of containerd's Kubernetes namespace:",
             "kaa --root /run/containerd/runc/k8s.io list"),
        ),
    ),
    Command(
        "exec",
        "run another process in a container",
        operands=f"{_ID} <command> [argument ...]",
        least=1,
        most=None,
        options=_EXEC,
        completes=(CONTAINER,),
        description="The command is looked up in the container. Options end where the command "
        "begins. With --process the whole process comes from a file, and no command is given. "
        "Ends with the exit code of the process, or 255 if it could not be started.",
        examples=(
            ("A shell in web, on a terminal:", "kaa exec --tty web sh"),
            ("A command as another user:", "kaa exec --user 1000:1000 --cwd /tmp web id -a"),
        ),
        stop=2,
        failure="exec failed: ",
        failure_code=255,
    ),
    Command(
        "ps",
        "show the processes of a container",
        operands=f"{_ID} [ps option ...]",
        least=1,
        most=None,
        options=(_FORMAT,),
        completes=(CONTAINER,),
        description="Runs the host's ps (with -ef, unless other options are given) and shows the "
        "lines whose PID is of the container. As JSON it is a list of pids.",
        examples=(
            ("Show the processes of web:", "kaa ps web"),
            ("Show other columns:", "kaa ps web -eo pid,rss,comm"),
        ),
        stop=1,
    ),
    Command(
        "pause",
        "freeze the processes of a container",
        operands=_ID,
        least=1,
        most=1,
        completes=(CONTAINER,),
        description="Returns when all of them stand still. `kaa resume` lets them go on.",
        examples=(("Freeze web:", "kaa pause web"),),
    ),
    Command(
        "resume",
        "let a paused container go on",
        operands=_ID,
        least=1,
        most=1,
        completes=(CONTAINER,),
        description="The container must be paused.",
        examples=(("Let web go on:", "kaa resume web"),),
    ),
    Command(
        "update",
        "change the resource limits of a container",
        operands=_ID,
        least=1,
        most=1,
        options=_UPDATE,
        completes=(CONTAINER,),
        description="What is not given stays as it is. A unit is k, m, g, t or p (of 1024), "
        "followed by b or ib or not. Device rules are never changed.",
        examples=(
            ("Give web at most 512 MiB and half a CPU:",
             "kaa update --memory 512M --cpu-period 100000 --cpu-quota 50000 web"),
            ("Take the limits from standard input:",
             """echo '{"pids": {"limit": 64}}' | kaa update --resources - web"""),
        ),
    ),
    Command(
        "events",
        "follow the resource use and the out-of-memory events of a container",
        operands=_ID,
        least=1,
        most=1,
        options=(
            Option("interval", DURATION, "time between two statistics", value="TIME",
                   default="5s"),
            Option("stats", FLAG, "print the statistics once and end"),
        ),
        completes=(CONTAINER,),
        description="Prints one JSON object a line until the container ends. A time is a number "
        "with a unit: ns, us, ms, s, m or h, as in 1m30s.",
        examples=(
            ("Print the statistics of web:", "kaa events --stats web"),
            ("Print them ten times a second:", "kaa events --interval 100ms web"),
        ),
    ),
    Command(
        "top",
        "show what all containers use",
        options=(
            Option("interval", DURATION, "time between two looks", value="TIME", default="2s"),
            Option("json", FLAG, "print a list of objects at each look, one a line"),
            Option("once", FLAG, "look once and end"),
        ),
        description="A live table of CPU, memory, processes, I/O, and pressure: the share of the "
        "last ten seconds in which some process of the container had to wait for the CPU, for "
        "memory or for I/O. Ctrl-C ends it. On anything but a terminal the table is printed once.",
        examples=(
            ("Watch the containers:", "kaa top"),
            ("Ask which containers use more than a processor:",
             "kaa top --once --json | jq '.[] | select(.cpu > 100).id'"),
        ),
    ),
    Command(
        "spec",
        "write a config.json to start from",
        options=(
            Option("bundle", TEXT, "the directory to write to (default: the current directory)",
                   short="b", value="DIR"),
            Option("rootless", FLAG, "for a container that is run by an ordinary user"),
        ),
        description="The container it describes runs sh, in namespaces of its own, on a read-only "
        "root file system in the directory rootfs. An existing config.json is not overwritten.",
        examples=(
            ("Make a bundle from an image of a container engine:",
             "mkdir -p box/rootfs; podman export ID | tar -C box/rootfs -x; kaa spec -b box"),
        ),
    ),
    Command(
        "features",
        "print what this runtime can do as JSON",
        description="The document is the features structure of the OCI runtime specification. It "
        "describes kaa, not the machine it runs on.",
        examples=(("Print the mount options that are known:",
                   "kaa features | jq .mountOptions"),),
    ),
    Command(
        "explain",
        "print the system calls that a bundle would become",
        operands="[container-id]",
        most=1,
        options=(_BUNDLE,),
        description="Compiles config.json as `kaa create` does and prints the program instead of "
        "running it: each call with the property of config.json that it is for.",
        examples=(("See how the bundle in /srv/web would be made:",
                   "kaa explain --bundle /srv/web"),),
    ),
    Command(
        "ns",
        "look at namespaces",
        commands=_NS,
        description="Shows the namespaces of the whole machine, not of containers only.",
        examples=(("List them:", "kaa ns list"),),
    ),
    Command(
        "completion",
        "print the completion script for a shell",
        operands="<bash|zsh|fish>",
        least=1,
        most=1,
        completes=("bash zsh fish",),
        description="The script completes commands, options, file names and container ids.",
        examples=(("Complete in the bash that is running:",
                   'eval "$(kaa completion bash)"'),),
    ),
    Command(
        "help",
        "show help",
        operands="[command ...]",
        most=None,
        alias="h",
        completes=(COMMAND,),
        description="Without a command it lists them all.",
        examples=(("Explain the command exec:", "kaa help exec"),),
    ),
)  # fmt: skip

KAA = Command(
    "kaa",
    "an OCI container runtime",
    options=GLOBAL_OPTIONS,
    commands=COMMANDS,
    description="Runs containers from bundles: a bundle is a directory with a config.json, as the "
    "OCI runtime specification describes it, and a root file system. The options and the output "
    "are those of runc, so that kaa can stand wherever runc does. Global options come before the "
    "command.",
    examples=(
        ("Run the bundle in /srv/web as the container web:", "kaa run --bundle /srv/web web"),
        ("See what is running:", "kaa list"),
    ),
)


def find(commands: tuple[Command, ...], name: str) -> Command | None:
    """The command of this name or alias."""
    for command in commands:
        if name == command.name or (command.alias and name == command.alias):
            return command
    return None
