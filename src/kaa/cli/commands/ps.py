"""kaa ps"""

from kaa import codec
from kaa.errors import KaaError, UsageError, from_oserror

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kaa.cli.main import Session


def command(session: "Session") -> int:
    """Show the processes of a container: the lines of the host's ps, or a list of pids."""
    from kaa.container.ps import pids

    form = session.options.get("format", "table")
    if form not in ("table", "json"):
        raise UsageError("invalid format option")
    found = pids(session.runtime(), session.args[0])
    if form == "json":
        session.write(codec.dumps(found).decode() + "\n")
    else:
        session.write(pick(_host_ps(session), set(found)).encode("utf-8", "surrogateescape"))
    return 0


def _host_ps(session: "Session") -> str:
    import subprocess

    arguments = session.args[1:] or ["-ef"]
    try:
        done = subprocess.run(
            ["ps", *arguments],
            env=session.caller.environ,
            cwd=session.caller.cwd,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )
    except FileNotFoundError as error:
        raise KaaError("ps: executable file not found in $PATH", hint="install procps") from error
    except OSError as error:
        raise from_oserror(error, "run ps") from error
    output = done.stdout.decode("utf-8", "surrogateescape")
    if done.returncode != 0:
        complaint = done.stderr.decode("utf-8", "replace").strip().partition("\n")[0]
        raise KaaError(f"ps ended with {done.returncode}: {complaint or 'it said nothing'}")
    return output


def pick(output: str, pids: set[int]) -> str:
    """The header of what ps printed, and the lines of these processes. Raises KaaError."""
    header, _, body = output.partition("\n")
    columns = header.split()
    if "PID" not in columns:
        raise KaaError("couldn't find PID field in ps output", hint="ask ps for the column pid")
    at = columns.index("PID")
    kept = [header]
    for line in body.splitlines():
        fields = line.split()
        if len(fields) > at and fields[at].isdecimal() and int(fields[at]) in pids:
            kept.append(line)
    return "\n".join(kept) + "\n"
