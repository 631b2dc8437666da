"""`kaa.run` and `kaa.Popen`: a command in a container of its own, which goes when it ends."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Unpack

from kaa.api.errors import ContainerFailed, TimeoutExpired
from kaa.api.launching import bring_up
from kaa.api.options import ContainerOptions, Plan
from kaa.api.process import Process, Text
from kaa.api.stdio import DEVNULL, PIPE, Stdio, Stream
from kaa.container.kill import kill
from kaa.container.run import remove
from kaa.container.state import cgroup_of
from kaa.errors import ContainerNotFound, KaaError, NotRunning


@dataclass(frozen=True)
class CompletedProcess:
    """A process of a container that has ended; like `subprocess.CompletedProcess`.

    `returncode` is -N for the death by signal N. `stdout` and `stderr` are
    bytes, text if that was asked for, or None if they were not captured.
    """

    args: list[str]
    returncode: int
    stdout: Any = None
    stderr: Any = None

    def check_returncode(self) -> None:
        """Raise ContainerFailed unless the exit status is 0."""
        if self.returncode:
            raise ContainerFailed(self.args, self.returncode, self.stdout, self.stderr, self._oom)

    @property
    def _oom(self) -> bool:
        return False


@dataclass(frozen=True)
class CompletedContainer(CompletedProcess):
    """A container that has ended, and is gone.

    `oom_killed` says that the kernel killed something in it for its memory limit.
    """

    id: str = ""
    oom_killed: bool = False

    @property
    def _oom(self) -> bool:
        return self.oom_killed


class Popen(Process):
    """A command in a container of its own, running; the controls are `Process`'s.

    The container is removed when its end is noticed: by `poll`, `wait`,
    `communicate`, or the end of a `with` block. `oom_killed` is known then.

    `stdin`, `stdout` and `stderr` are descriptors, files, PIPE, DEVNULL,
    STDOUT (for stderr), or None for our own; stdin is empty unless it is given.
    `text`, `encoding` and `errors` are those of `subprocess`. `max_output` is
    how many bytes `communicate` takes before it kills the container. The rest
    is in `ContainerOptions`. `args` may be None with a bundle or a config that
    says what to run.

    Raises ConfigError, ContainerExists, SyscallError ...: nothing is left then.
    """

    def __init__(
        self,
        args: Sequence[str] | None = None,
        *,
        stdin: Stream = DEVNULL,
        stdout: Stream = None,
        stderr: Stream = None,
        text: bool = False,
        encoding: str | None = None,
        errors: str | None = None,
        max_output: int | None = None,
        **options: Unpack[ContainerOptions],
    ) -> None:
        plan = Plan(args, options)
        stdio = Stdio(stdin, stdout, stderr)
        try:
            launched = bring_up(
                plan.runtime.inner(stdio.theirs),
                plan.id,
                plan.document,
                bundle=plan.bundle,
                lower=plan.lower,
                gate=False,
            )
        except BaseException:
            stdio.close()
            raise
        stdio.close_theirs()
        self.id = plan.id
        self._inner = plan.runtime.inner()  # what is still to be done has not the streams
        self.oom_killed = False
        self._launch = launched.launch
        super().__init__(
            plan.args,
            launched.child,
            stdio,
            text=Text(text, encoding, errors),
            max_output=max_output,
            on_end=self._remove,
            on_signal=self._signal,
        )

    def _signal(self, number: int) -> None:
        try:
            kill(self._inner, self.id, str(number))
        except (NotRunning, ContainerNotFound):
            pass

    def _remove(self) -> None:
        cgroup = cgroup_of(self._launch.record)
        if cgroup is not None:
            try:
                self.oom_killed = cgroup.oom_kills() > 0
            except (KaaError, OSError):
                pass  # somebody has removed it
        remove(self._inner, self._launch)


def run(
    args: Sequence[str] | None = None,
    *,
    input: bytes | str | None = None,
    capture_output: bool = False,
    stdin: Stream = DEVNULL,
    stdout: Stream = None,
    stderr: Stream = None,
    timeout: float | None = None,
    check: bool = False,
    text: bool = False,
    encoding: str | None = None,
    errors: str | None = None,
    max_output: int | None = None,
    **options: Unpack[ContainerOptions],
) -> CompletedContainer:
    """Run a command in a container of its own, wait for its end, and remove it.

    In the manner of `subprocess.run`: `input` is fed to it; `capture_output`
    takes both outputs; `timeout` (seconds) kills the container and raises
    TimeoutExpired; `check` raises ContainerFailed unless the exit status is 0.
    See `Popen` for the streams and `ContainerOptions` for what the container is.
    """
    if capture_output:
        if stdout is not None or stderr is not None:
            raise ValueError("capture_output says already where stdout and stderr go")
        stdout = stderr = PIPE
    if input is not None:
        stdin = PIPE
        text = text or isinstance(input, str)
    with Popen(
        args,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        text=text,
        encoding=encoding,
        errors=errors,
        max_output=max_output,
        **options,
    ) as process:
        out, err = converse(process, input, timeout)
        returncode = process.wait()
    done = CompletedContainer(process.args, returncode, out, err, process.id, process.oom_killed)
    if check:
        done.check_returncode()
    return done


def converse(process: Process, input: bytes | str | None, timeout: float | None) -> tuple[Any, Any]:
    """`communicate`; what does not end in time is killed, and the error has all that it wrote."""
    try:
        return process.communicate(input, timeout)
    except TimeoutExpired:
        output = process.kill_and_drain()
    raise TimeoutExpired(process.args, timeout or 0.0, *output)
