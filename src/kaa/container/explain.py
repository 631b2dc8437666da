"""`explain`: the programs that a bundle compiles to, as text; nothing is run."""

from kaa.caller import normpath
from kaa.compile import container as compiler
from kaa.compile import stage as stage_compiler
from kaa.compile.id_maps import mappings
from kaa.compile.process import Capabilities
from kaa.container import facts
from kaa.program.describe import explain as text_of
from kaa.program.program import Program
from kaa.spec.load import load

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kaa.container.runtime import Runtime


def explain(runtime: "Runtime", bundle: str, id: str = "example") -> str:
    """What kaa would do with the bundle: the stage's calls, then the init's, with reasons."""
    bundle = normpath(runtime.caller.path(bundle))
    config = load(bundle)
    inputs = facts.gather(
        runtime.caller, config, id=id, bundle=bundle, staging=f"{runtime.root}/{id}/staging"
    )
    inputs.user_namespaces = dict.fromkeys(mappings(inputs), "/proc/HOLDER/ns/user")
    caps = Capabilities(config["process"].get("capabilities"), inputs.last_cap)
    first = Program()
    listener = stage_compiler.start_socket(first, f"{runtime.root}/{id}", bundle)
    stage = stage_compiler.stage(first, inputs)
    parts = ["# == the stage, in the host's namespaces", text_of(first)]
    second = first
    if inputs.in_user_namespace:
        second = Program(first.slots)
        parts.append("\n# == the stage, once its id maps are written")
    stage_compiler.stage_rest(second, inputs, stage)
    if second is not first:
        parts.append(text_of(second))
    else:
        parts[1] = text_of(first)
    init = Program(first.slots)
    compiler.finish(
        init,
        inputs,
        caps,
        compiler.furnish(init, inputs, stage),
        listener=listener,
        uid=runtime.caller.euid,
        filter=None,
        state_creating=b"",
        state_created=b"",
    )
    parts += ["\n# == the container's init, forked, in its cgroup", text_of(init)]
    return "\n".join(parts) + "\n"
