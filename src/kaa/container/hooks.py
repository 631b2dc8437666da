"""Hooks that run in the runtime's namespaces, and the words for hooks that fail.

The state goes to their stdin; the working directory is the bundle. A kaa-init
on the host side runs them: it has the timeout, the process group and the pipes.
"""

from errno import ECANCELED, ETIMEDOUT

from kaa import codec
from kaa.errors import HookError, KaaError, strerror
from kaa.program.op import Op
from kaa.program.progress import Stopped, syscall_error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kaa.compile.inputs import Json
    from kaa.container.runtime import Runtime


def run(runtime: "Runtime", config: "Json", kinds: tuple[str, ...], state: "Json") -> None:
    """Run the hooks of these kinds, in order; HookError at the first that fails."""
    hooks = config.get("hooks") or {}
    if not any(hooks.get(kind) for kind in kinds):
        return
    from kaa.compile.hooks import run_hooks
    from kaa.program.init import Failure, Init
    from kaa.program.program import Program

    init = Init.spawn(runtime.caller)
    try:
        program = Program(init.slots)
        program.at("", "enter the bundle")
        program.chdir(state["bundle"])
        for kind in kinds:
            run_hooks(program, kind, hooks.get(kind) or [], codec.dumps(state), None)
        init.send(program)
        init.receive(program)
    except Failure as failure:
        raise explain(failure.op, failure.errno, failure.reply.data) or init.explain(
            failure
        ) from None
    finally:
        init.end()


def explain(op: Op, errno: int, said: bytes) -> HookError | None:
    """The error of a hook that failed at `op`; None if the failure was not a hook's.

    `said` is what the program emitted: per hook a length, the end of its output, its status.
    """
    if not op.pointer.startswith("/hooks/"):
        return None
    if errno == ETIMEDOUT:
        reason = "hook ran past specified timeout"
        if len(op.args) == 6:
            reason += f" of {op.args[5] / 1000}s"
    elif errno == ECANCELED:
        reason = _outcome(said)
    else:
        reason = strerror(errno)
    return HookError(f"{op.phrase}: {reason}", pointer=op.pointer)


def start_error(stopped: Stopped) -> KaaError:
    """The error of the step behind the gate that failed."""
    found = explain(stopped.op, stopped.errno, stopped.said)
    return found or syscall_error(stopped.op, None, stopped.errno, "")


def _outcome(emitted: bytes) -> str:
    """How the last hook ended, and the end of what it said."""
    from kaa.program.init import Reply

    reply = Reply(emitted, [])
    said, status = b"", 0
    while reply.left:
        said = reply.take(int.from_bytes(reply.take(4), "little"))
        status = reply.value()
    how = f"signal: {status & 0x7F}" if status & 0x7F else f"exit status {status >> 8 & 0xFF}"
    text = said.decode("utf-8", "replace").strip()
    return f"{how}, output: {text}" if text else how
