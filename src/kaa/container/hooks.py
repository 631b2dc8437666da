"""Hooks that run in the runtime's namespaces, and the words for hooks that fail.

The state goes to their stdin; the working directory is the bundle. A kaa-init
on the host side runs them: it has the timeout, the process group and the pipes.
"""

from errno import ECANCELED, ETIMEDOUT

from kaa import codec
from kaa.compile.hooks import run_hooks
from kaa.errors import HookError, strerror
from kaa.program.init import Failure, Init, Reply
from kaa.program.program import Program

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kaa.compile.inputs import Json
    from kaa.container.runtime import Runtime


def run(runtime: "Runtime", config: "Json", kinds: tuple[str, ...], state: "Json") -> None:
    """Run the hooks of these kinds, in order; HookError at the first that fails."""
    hooks = config.get("hooks") or {}
    if not any(hooks.get(kind) for kind in kinds):
        return
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
        raise explain(failure) or init.explain(failure) from None
    finally:
        init.end()


def explain(failure: Failure) -> HookError | None:
    """The error of a hook that failed; None if the failure was not a hook's."""
    op = failure.op
    if not op.pointer.startswith("/hooks/"):
        return None
    if op.call == "spawn":
        if failure.errno == ETIMEDOUT:
            seconds = int(op.args[5]) / 1000
            reason = f"hook ran past specified timeout of {seconds}s"
        else:
            reason = strerror(failure.errno)
    elif failure.errno == ECANCELED:
        reason = _outcome(failure.reply)
    else:
        return None
    return HookError(f"{op.phrase}: {reason}", pointer=op.pointer)


def _outcome(reply: Reply) -> str:
    """How the last hook of the reply ended, and the end of what it said."""
    said, status = b"", 0
    while reply.left:
        said = reply.take(int.from_bytes(reply.take(4), "little"))
        status = reply.value()
    how = f"signal: {status & 0x7F}" if status & 0x7F else f"exit status {status >> 8 & 0xFF}"
    text = said.decode("utf-8", "replace").strip()
    return f"{how}, output: {text}" if text else how
