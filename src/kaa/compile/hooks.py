"""Hooks that run in the container's namespaces: `createContainer` and `startContainer`.

The others run in the runtime's namespaces and are Python's: kaa.container.hooks.
"""

from errno import ECANCELED

from kaa.program.program import Program

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kaa.compile.inputs import Json


def run_hooks(
    p: Program, kind: str, hooks: "list[Json]", state: bytes, environment: "list[str] | None"
) -> None:
    """Run each hook of the list with the state on its stdin; the first that fails stops all.

    A hook without an environment of its own gets `environment` (none: an empty one).
    """
    for index, hook in enumerate(hooks):
        p.at(f"/hooks/{kind}/{index}", f"error running {kind} hook #{index}")
        env = hook.get("env")
        status = p.spawn(
            hook["path"],
            list(hook.get("args") or [hook["path"]]),
            list(env if env is not None else environment or []),
            state,
            len(state),
            int((hook.get("timeout") or 0) * 1000),
        )
        p.emit_value(status)
        outcome = p.buffer(8)
        p.poke(outcome, 8, status)
        p.check(outcome, 8, -1, 0, ECANCELED)
        p.slots.give_back(status)
