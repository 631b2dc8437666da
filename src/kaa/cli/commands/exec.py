"""kaa exec"""

from kaa.cli.parse import decimal
from kaa.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from kaa.cli.main import Session

_LARGEST_ID = 2**32 - 2  # 2**32 - 1 is (uid_t) -1, which means "leave it" to the kernel


def command(session: "Session") -> int:
    """Run another process in a container; the exit code is the process's."""
    from kaa.container.exec import exec

    given = session.options.get
    process = None
    if "process" in session.options:
        from kaa.spec.load import parse_process

        process = parse_process(session.read(session.options["process"]))
    elif len(session.args) < 2:
        raise UsageError("process args cannot be empty")
    return exec(
        session.runtime(),
        session.args[0],
        process,
        args=session.args[1:],
        overrides=overrides(session.options),
        pid_file=session.path("pid-file"),
        console_socket=session.path("console-socket"),
        pidfd_socket=session.path("pidfd-socket"),
        detach=given("detach", False),
        preserve_fds=given("preserve-fds", 0),
        cgroups=given("cgroup", []),
        ignore_paused=given("ignore-paused", False),
    )


def overrides(options: "dict[str, Any]") -> "dict[str, Any]":
    """What the options change about the process; None (or an empty list): not given."""
    given = options.get
    return {
        "cwd": given("cwd"),
        "env": [variable(text) for text in given("env", [])],
        "tty": given("tty"),
        "user": user(options["user"]) if "user" in options else None,
        "additional_gids": [group(text) for text in given("additional-gids", [])],
        "caps": given("cap", []),
        "no_new_privs": given("no-new-privs"),
        "process_label": given("process-label"),
        "apparmor": given("apparmor"),
    }


def user(text: str) -> tuple[int, int | None]:
    """UID[:GID], in decimal numbers and nothing else. Raises UsageError.

    A reading that guesses here runs the process as somebody else (CVE-2026-30892).
    """
    uid_text, colon, gid_text = text.partition(":")
    uid = decimal(uid_text, _LARGEST_ID)
    gid = decimal(gid_text, _LARGEST_ID) if colon else None
    if uid is None or (colon and gid is None):
        raise UsageError(
            f'invalid --user "{text}": must be UID or UID:GID, in numbers up to {_LARGEST_ID}'
        )
    return uid, gid


def variable(text: str) -> str:
    """NAME=VALUE. Raises UsageError."""
    if "=" not in text[1:]:
        raise UsageError(f'invalid --env "{text}": must be NAME=VALUE')
    return text


def group(text: str) -> int:
    """A group id in decimal. Raises UsageError."""
    gid = decimal(text, _LARGEST_ID)
    if gid is None:
        raise UsageError(
            f'invalid --additional-gids "{text}": must be a number up to {_LARGEST_ID}'
        )
    return gid
