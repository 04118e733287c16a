# ruff: noqa: N818 - an error is named after what happened (`LeaseLost`), as in the SQLSTATE table
"""Every error flowdsl raises, sorted by who has to act.

FlowError                        something about flows went wrong; catch this to catch all of them
├── DefinitionError              the author of a flow: its definition holds mistakes (all of them at once)
├── CompileError                 the author or operator of migrations
├── ConfigError                  the operator: a module, URL, setting or option that cannot be used
├── ClusterError                 the operator: a cluster cannot be reached, lost a call, or does not know a handler
├── InputError                   a value does not fit the type the flow declares for it
├── RunFailed                    the run ended in failure; carries step, attempt, error and traceback
├── RunCancelled                 the run was cancelled
├── ResultTimeout                the run did not end in the time the caller gave it
├── OutputUnavailable            the step has no output (skipped, failed, or not done yet)
├── ProcessDied                  a child process ended while it ran a handler; its attempt failed
└── DatabaseError                the database refused, or could not be asked
    ├── DatabaseUnavailable      no connection
    ├── CoreNotInstalled         the SQL core is missing
    ├── CoreVersionMismatch      the SQL core belongs to another version of this package
    ├── InvalidArgument          PF400
    ├── FlowNotFound             PF404
    ├── RunNotFound              PF405
    ├── WorkerNotFound           PF406
    ├── StepNotFound             PF407
    ├── DefinitionConflict       PF409
    ├── RunConflict              PF410
    ├── FlowInUse                PF411
    ├── WorkerStopped            PF412
    ├── LeaseLost                PF413
    ├── FlowNotCompiled          PF414
    ├── RunNotRetryable          PF415
    ├── FlowRetired              PF416
    └── InvalidInput             PF422

Two more are raised by handlers, never by us, so they stand outside of the tree:
NonRetryable                     fail the task now, whatever attempts are left
RetryAfter                       fail this attempt and wait that many seconds before the next one

Every error builds its sentence from typed fields and survives `pickle`, so it can cross a process pool.
"""

import math
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from types import MappingProxyType
from typing import Any, ClassVar, Final, Literal
from uuid import UUID


def _restore(cls: "type[FlowError]", args: tuple[Any, ...], fields: dict[str, Any]) -> "FlowError":
    error = cls.__new__(cls, *args)
    error.__dict__.update(fields)
    return error


class FlowError(Exception):
    """The root of all flowdsl errors: `message` says what and where, `hint` (if any) says how to mend it."""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message: str = message
        self.hint: str | None = hint

    def __str__(self) -> str:
        return f"{self.message}\n{self.hint}" if self.hint else self.message

    # Subclasses take typed fields, not the message, so pickle's default of calling the class with `args` cannot work.
    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (type(self), self.args, self.__dict__.copy())


# ---- definition -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One mistake in a flow's definition: a stable code, where it is, what it is, why it is one, and the fix.

    `mended` is the call, or the first line of the handler, as it would be right, where that can be known. A warning
    (`severity`) is about a flow that works. What concerns a whole module has no `flow_slug`.
    """

    code: str
    flow_slug: str | None
    step_slug: str | None = None
    location: str | None = None
    what: str
    fix: str
    why: str = ""
    mended: str | None = None
    severity: Literal["error", "warning"] = "error"

    @property
    def is_warning(self) -> bool:
        """Whether the flow works in spite of it."""
        return self.severity == "warning"

    @property
    def file(self) -> str | None:
        """The file it is in, or the module."""
        return self.location if self.line is None or self.location is None else self.location.rpartition(":")[0]

    @property
    def line(self) -> int | None:
        """The line of that file."""
        number = "" if self.location is None else self.location.rpartition(":")[2]
        return int(number) if number.isdecimal() else None

    def __str__(self) -> str:
        flow = "" if self.flow_slug is None else f" flow '{self.flow_slug}'"
        step = "" if self.step_slug is None else f", step '{self.step_slug}'"
        location = "" if self.location is None else f" ({self.location})"
        indent = " " * (len(self.code) + 1)
        fix = "".join(f"\n{indent}{line}" for line in self.fix.splitlines())
        return f"{self.code}{flow}{step}{location}: {self.what}{fix}"


class DefinitionError(FlowError):
    """A flow's definition is wrong; `problems` holds every mistake found, in the order of the definition."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems: tuple[Problem, ...] = tuple(problems)
        lines = "\n".join(str(problem) for problem in self.problems)
        super().__init__(lines if len(self.problems) < 2 else f"{len(self.problems)} problems\n{lines}")


class CompileError(FlowError):
    """A migration could not be made from a flow."""


class ConfigError(FlowError):
    """A module, database URL, setting or option cannot be used as it is."""


class ClusterError(FlowError):
    """A cluster that runs handlers cannot be reached, lost a call, or cannot load a handler."""


# ---- values ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class ValueProblem:
    """One place in a value that does not fit: where (`pages.3.url`, empty for the whole value), and why."""

    location: str
    message: str

    def __str__(self) -> str:
        return f"{self.location}: {self.message}" if self.location else self.message


class InputError(FlowError):
    """A value does not fit the type its flow declares: a run's input, what a step is given, or what it returned.

    `subject` names the value ("input", "output", "input 'sentiment'"), `step_slug` is None for the run's own values.
    """

    def __init__(
        self,
        flow_slug: str,
        step_slug: str | None,
        subject: str,
        problems: Sequence[ValueProblem],
        *,
        hint: str | None = None,
    ) -> None:
        self.flow_slug: str = flow_slug
        self.step_slug: str | None = step_slug
        self.subject: str = subject
        self.problems: tuple[ValueProblem, ...] = tuple(problems)
        where = f"flow '{flow_slug}'" if step_slug is None else f"flow '{flow_slug}', step '{step_slug}'"
        separator = " " if len(self.problems) == 1 else "\n  "
        lines = "".join(f"{separator}{problem}" for problem in self.problems)
        self.one_line: str = f"{where}: the {subject} does not fit: {'; '.join(map(str, self.problems))}"
        super().__init__(f"{where}: the {subject} does not fit:{lines}", hint=hint)


# ---- runs -----------------------------------------------------------------------------------------------------------


class RunFailed(FlowError):
    """The run ended in failure; the fields say which attempt of which task brought it down, and how."""

    def __init__(
        self,
        run_id: UUID,
        flow_slug: str,
        step_slug: str | None = None,
        task_index: int | None = None,
        attempt: int | None = None,
        error_class: str | None = None,
        error_message: str | None = None,
        traceback: str | None = None,
    ) -> None:
        self.run_id: UUID = run_id
        self.flow_slug: str = flow_slug
        self.step_slug: str | None = step_slug
        self.task_index: int | None = task_index
        self.attempt: int | None = attempt
        self.error_class: str | None = error_class
        self.error_message: str | None = error_message
        self.traceback: str | None = traceback
        super().__init__(f"run {run_id} of flow '{flow_slug}' failed{self._where()}{self._why()}")

    def _where(self) -> str:
        if self.step_slug is None:
            return ""
        details = [
            f"{name} {value}"
            for name, value in (("task", self.task_index), ("attempt", self.attempt))
            if value is not None
        ]
        return f" in step '{self.step_slug}'" + (f" ({', '.join(details)})" if details else "")

    def _why(self) -> str:
        parts = [part for part in (self.error_class, self.error_message) if part]
        return f": {': '.join(parts)}" if parts else ""


class RunCancelled(FlowError):
    """The run was cancelled before it could complete; `reason` is what the one who did it gave as the reason."""

    def __init__(self, run_id: UUID, flow_slug: str, reason: str | None = None) -> None:
        self.run_id: UUID = run_id
        self.flow_slug: str = flow_slug
        self.reason: str | None = reason
        super().__init__(f"run {run_id} of flow '{flow_slug}' was cancelled{f': {reason}' if reason else ''}")


class ResultTimeout(FlowError):
    """The run did not end within the caller's patience; it goes on regardless."""

    def __init__(self, run_id: UUID, seconds: float) -> None:
        self.run_id: UUID = run_id
        self.seconds: float = seconds
        super().__init__(
            f"run {run_id} did not end within {seconds:g} s",
            hint=f"The run goes on. See where it is with: pgflow show {run_id}",
        )


class OutputUnavailable(FlowError):
    """The step has no output to give: it is not done yet, or it failed, was skipped or cancelled."""

    def __init__(self, run_id: UUID, step_slug: str, status: str) -> None:
        self.run_id: UUID = run_id
        self.step_slug: str = step_slug
        self.status: str = status
        super().__init__(f"step '{step_slug}' of run {run_id} has no output: it is {status}")


# ---- worker ---------------------------------------------------------------------------------------------------------


class ProcessDied(FlowError):
    """A child process ended in the middle of its work; `exit_code` is negative when it was killed by a signal."""

    def __init__(self, pid: int, exit_code: int | None, *, did: str = "ran the handler") -> None:
        self.pid: int = pid
        self.exit_code: int | None = exit_code
        super().__init__(f"the process that {did} {self._how()}")

    def _how(self) -> str:
        if self.exit_code is None:
            return "cannot be reached any more"
        if self.exit_code >= 0:
            return f"ended with exit code {self.exit_code}"
        try:
            name = f" ({signal.Signals(-self.exit_code).name})"
        except ValueError:
            name = ""
        reason = ", as happens when memory runs out" if -self.exit_code == signal.SIGKILL else ""
        return f"was killed by signal {-self.exit_code}{name}{reason}"


# ---- database -------------------------------------------------------------------------------------------------------


class DatabaseError(FlowError):
    """The database refused a request or kept us from making it; `sqlstate` is its code, if there was an answer."""

    SQLSTATE: ClassVar[str | None] = None

    def __init__(self, message: str, *, hint: str | None = None, sqlstate: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.sqlstate: str | None = sqlstate or self.SQLSTATE


class DatabaseUnavailable(DatabaseError):
    """There is no connection to the database, or it broke."""


class CoreNotInstalled(DatabaseError):
    """The database has no pgflow schema yet, or only a part of it."""

    def __init__(
        self,
        message: str = "the pgflow SQL core is not installed in this database",
        *,
        hint: str | None = "Install it with: alembic upgrade head   (in a new project run `pgflow init` first)",
        sqlstate: str | None = None,
    ) -> None:
        super().__init__(message, hint=hint, sqlstate=sqlstate)


class CoreVersionMismatch(DatabaseError):
    """The installed SQL core and this package do not belong together."""

    def __init__(self, installed: int, packaged: int) -> None:
        self.installed: int = installed
        self.packaged: int = packaged
        hint = (
            "Bring the database up: pgflow core upgrade, then alembic upgrade head"
            if installed < packaged
            else "Upgrade this installation of flowdsl: the database is newer"
        )
        super().__init__(
            f"the pgflow SQL core in the database has version {installed}, this package needs version {packaged}",
            hint=hint,
        )


class InvalidArgument(DatabaseError):
    """A function of the SQL core was given an argument it cannot use."""

    SQLSTATE = "PF400"


class FlowNotFound(DatabaseError):
    """The database knows no flow of that name."""

    SQLSTATE = "PF404"


class RunNotFound(DatabaseError):
    """The database knows no run of that id."""

    SQLSTATE = "PF405"


class WorkerNotFound(DatabaseError):
    """The database knows no worker of that id."""

    SQLSTATE = "PF406"


class StepNotFound(DatabaseError):
    """The flow (or the run's version of it) has no step of that name."""

    SQLSTATE = "PF407"


class DefinitionConflict(DatabaseError):
    """The flow or step exists already with another shape."""

    SQLSTATE = "PF409"


class RunConflict(DatabaseError):
    """A run of that id exists already with another flow or input."""

    SQLSTATE = "PF410"


class FlowInUse(DatabaseError):
    """The flow has open runs and cannot be taken away."""

    SQLSTATE = "PF411"


class WorkerStopped(DatabaseError):
    """The worker is marked as stopped and may not claim tasks."""

    SQLSTATE = "PF412"


class LeaseLost(DatabaseError):
    """The task's lease ran out and someone else may have it now."""

    SQLSTATE = "PF413"


class FlowNotCompiled(DatabaseError):
    """The database lacks the flow, or has it in another shape than this program."""

    SQLSTATE = "PF414"


class RunNotRetryable(DatabaseError):
    """The run is still open, or it has completed and no step was named to run again from."""

    SQLSTATE = "PF415"


class FlowRetired(DatabaseError):
    """The flow is retired: it starts no new runs."""

    SQLSTATE = "PF416"


class InvalidInput(DatabaseError):
    """The database refused a run's input or a step's output for its shape."""

    SQLSTATE = "PF422"


REFUSALS: Final[Mapping[str, type[DatabaseError]]] = MappingProxyType(
    {
        cls.SQLSTATE: cls
        for cls in (
            InvalidArgument,
            FlowNotFound,
            RunNotFound,
            WorkerNotFound,
            StepNotFound,
            DefinitionConflict,
            RunConflict,
            FlowInUse,
            WorkerStopped,
            LeaseLost,
            FlowNotCompiled,
            RunNotRetryable,
            FlowRetired,
            InvalidInput,
        )
    }
)
"""The class of each SQLSTATE of the core (class PF)."""


# ---- raised by handlers ---------------------------------------------------------------------------------------------


class NonRetryable(Exception):
    """Raised by a handler: trying again cannot help, so the task fails now, whatever attempts are left."""


class RetryAfter(Exception):
    """Raised by a handler: this attempt failed, and the next one shall wait that long.

    `seconds` may be a fraction (rounded up) or a `timedelta`; a negative wait is no wait. It uses up an attempt, and
    when none is left the task fails like with any other error.
    """

    def __init__(self, seconds: float | timedelta, message: str = "") -> None:
        wait = seconds.total_seconds() if isinstance(seconds, timedelta) else seconds
        self.seconds: int = max(0, math.ceil(wait))
        self.message: str = message
        super().__init__(self.seconds, message)

    def __str__(self) -> str:
        return self.message or f"retry after {self.seconds} s"
