"""The options of flows and steps: their defaults, their bounds, and what is said when a value is out of bounds.

Durations are whole seconds everywhere behind this module; `timedelta` exists only in what users write.
"""

import builtins
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, fields, replace
from datetime import timedelta
from typing import Any, Final, Literal, TypeAlias, get_args

from flowdsl.suggest import closest, did_you_mean

Duration: TypeAlias = int | timedelta
"""Seconds, or a `timedelta` of whole seconds."""

RetryOn: TypeAlias = Collection[type[Exception]]

ExecutorName: TypeAlias = Literal["async", "thread", "process"]
EXECUTORS: Final[tuple[ExecutorName, ...]] = get_args(ExecutorName)
ExecutorChoice: TypeAlias = ExecutorName | Executor
"""Where a handler runs: in the worker's event loop, in a thread, in a child process, or wherever an Executor takes it."""

NOT_STORED: Final = frozenset({"executor"})
"""Options that are the program's alone: no part of a shape, and not in the database."""

MAX_INT: Final = 2**31 - 1
MIN_PRIORITY: Final = -(2**15)
MAX_PRIORITY: Final = 2**15 - 1
MAX_QUEUE_LENGTH: Final = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowOptions:
    """The options of a flow, which hold for each of its steps that does not say otherwise.

    `queue` None stands for a queue named like the flow; tasks of a higher `priority` are claimed first. `deadline` is no
    default of the steps: it bounds the whole run, and None leaves it unbounded. `executor` None leaves the choice to the
    worker.
    """

    max_attempts: int = 3
    base_delay: int = 5
    max_delay: int = 3600
    timeout: int = 60
    queue: str | None = None
    priority: int = 0
    deadline: int | None = None
    executor: ExecutorChoice | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StepOptions:
    """The options of a step; None stands for the flow's.

    `start_delay` is the wait between the moment a step is ready and its first attempt. `retry_on` None retries on
    every exception.
    """

    max_attempts: int | None = None
    base_delay: int | None = None
    max_delay: int | None = None
    timeout: int | None = None
    start_delay: int = 0
    retry_on: tuple[type[Exception], ...] | None = None
    queue: str | None = None
    priority: int | None = None
    executor: ExecutorChoice | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BadOption:
    """An option nobody can honour: which, why, and what would be right.

    `right_name` is the option that was meant, `mended` the source text of the value that was; `{}` stands in it for what
    the user wrote.
    """

    name: str
    what: str
    fix: str
    right_name: str | None = None
    mended: str | None = None


def error_name(cls: type[BaseException]) -> str:
    """Return the name under which an error class is stored: bare for a builtin, else with its module.

    >>> error_name(ValueError)
    'ValueError'
    >>> import json
    >>> error_name(json.JSONDecodeError)
    'json.decoder.JSONDecodeError'
    """
    return cls.__qualname__ if cls.__module__ == builtins.__name__ else f"{cls.__module__}.{cls.__qualname__}"


def flow_options(given: Mapping[str, Any]) -> tuple[FlowOptions, tuple[BadOption, ...]]:
    """Check the options of a flow; a bad one is reported and left at its default."""
    good, bad = _checked(given, {field.name for field in fields(FlowOptions)})
    options = FlowOptions(**good)
    of_steps = {field.name for field in fields(StepOptions)}
    bad = tuple(_of_a_step(option) if option.name in of_steps - set(good) else option for option in bad)
    return options, (*bad, *_crossed(options.base_delay, options.max_delay, given))


def _of_a_step(option: BadOption) -> BadOption:
    if not option.what.startswith("unknown"):
        return option
    return replace(option, fix=f"Give it to a step: .step(handler, {option.name}=…).", right_name=None)


def step_options(
    given: Mapping[str, Any], flow: FlowOptions, others: Collection[str] = ()
) -> tuple[StepOptions, tuple[BadOption, ...]]:
    """Check the options of a step against their bounds and the flow's options; None means not given.

    `others` are the names of what else can be given to a step, to be named beside them.
    """
    known = {field.name for field in fields(StepOptions)}
    good, bad = _checked({name: value for name, value in given.items() if value is not None}, known, others)
    options = StepOptions(**good)
    if options.base_delay is None and options.max_delay is None:
        return options, bad
    base_delay = flow.base_delay if options.base_delay is None else options.base_delay
    max_delay = flow.max_delay if options.max_delay is None else options.max_delay
    return options, (*bad, *_crossed(base_delay, max_delay, given))


# What other libraries call it.
_COUNTS_THE_FIRST: Final = "Did you mean 'max_attempts'? It counts the first attempt, too."
_ELSEWHERE: Final[Mapping[str, str]] = {
    **dict.fromkeys(("retries", "max_retries", "retry", "tries"), _COUNTS_THE_FIRST),
    **dict.fromkeys(("delay", "retry_delay", "backoff"), "Did you mean 'base_delay'?"),
    **dict.fromkeys(("pool", "run_in", "runs_in", "where"), "Did you mean 'executor'?"),
    **dict.fromkeys(("name", "id", "key"), "Did you mean 'slug'?"),
    **dict.fromkeys(("condition", "only_if", "if_"), "Did you mean 'when'?"),
    **dict.fromkeys(("over", "deps", "depends_on"), "Dependencies have no names: they follow the handler."),
}


def _checked(
    given: Mapping[str, Any], known: Collection[str], others: Collection[str] = ()
) -> tuple[dict[str, Any], tuple[BadOption, ...]]:
    good: dict[str, Any] = {}
    bad: list[BadOption] = []
    for name, value in given.items():
        if name not in known:
            all_known = {*known, *others}
            fix = did_you_mean(name, all_known) or _ELSEWHERE.get(name) or f"Options: {', '.join(sorted(all_known))}."
            right = closest(name, all_known)
            bad.append(BadOption(name=name, what=f"unknown option '{name}'", fix=fix, right_name=right))
            continue
        try:
            good[name] = _CHECKS[name](value)
        except _OutOfBoundsError as error:
            bad.append(BadOption(name=name, what=f"{name}={value!r} {error.what}", fix=error.fix, mended=error.mended))
    return good, tuple(bad)


def _crossed(base_delay: int, max_delay: int, given: Mapping[str, Any]) -> Iterator[BadOption]:
    if max_delay < base_delay:
        name = "max_delay" if given.get("max_delay") is not None else "base_delay"
        yield BadOption(
            name=name,
            what=f"max_delay ({max_delay} s) is less than base_delay ({base_delay} s)",
            fix=f"The delay between attempts grows from base_delay up to max_delay: give max_delay={base_delay} or more.",
            mended=str(base_delay) if name == "max_delay" else None,
        )


class _OutOfBoundsError(Exception):
    def __init__(self, what: str, fix: str, mended: str | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.fix = fix
        self.mended = mended


class _Whole:
    """A whole number between two bounds."""

    def __init__(self, least: int, most: int = MAX_INT) -> None:
        self.least = least
        self.most = most

    def __call__(self, value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise _OutOfBoundsError("is no whole number", f"Give {self._range()}.", self._meant(value))
        if not self.least <= value <= self.most:
            nearest = str(min(max(value, self.least), self.most))
            raise _OutOfBoundsError("is out of bounds", f"Give {self._range()}.", nearest)
        return int(value)

    def _meant(self, value: object) -> str | None:
        """Return the number that was written as text or with a fraction of nothing."""
        text = value.strip() if isinstance(value, str) else f"{value:g}" if isinstance(value, float) else ""
        is_number = text.isascii() and text.removeprefix("-").isdigit() and self.least <= int(text) <= self.most
        return text if is_number else None

    def _range(self) -> str:
        return f"a whole number from {self.least} to {self.most}"


class _Seconds(_Whole):
    """A duration between two bounds, in whole seconds."""

    def __call__(self, value: object) -> int:
        if isinstance(value, timedelta):
            if value.microseconds:
                raise _OutOfBoundsError("is no number of whole seconds", f"Give {self._range()}.")
            value = value // timedelta(seconds=1)
        return super().__call__(value)

    def _range(self) -> str:
        return f"whole seconds (int or timedelta) from {self.least} to {self.most}"


def _deadline(value: object) -> int | None:
    return None if value is None else _Seconds(1)(value)


def _queue(value: object) -> str | None:
    if value is None:
        return None
    fix = f"Give a name of 1 to {MAX_QUEUE_LENGTH} characters that are not all blank."
    if not isinstance(value, str):
        raise _OutOfBoundsError("is no text", fix)
    if not value.strip() or len(value) > MAX_QUEUE_LENGTH or "\0" in value:
        raise _OutOfBoundsError("is no name for a queue", fix)
    return value


def executor_choice(value: object) -> ExecutorChoice | None:
    """Return where handlers are to run; None leaves it open.

    Raises:
        ValueError: in words that follow the value, with what to give instead in `args[1]`.
    """
    if value is None or isinstance(value, Executor) or value in EXECUTORS:
        return value
    cluster = _cluster_meant(value)
    if cluster is not None:
        module = "dask" if cluster.startswith("Dask") else "ray"
        fix = f"Give {cluster}, from flowdsl.clusters.{module}. The short form is for: pgflow worker --executor"
        raise ValueError("is no executor", fix)
    names = ", ".join(f'"{name}"' for name in EXECUTORS)
    guess = did_you_mean(value, EXECUTORS) if isinstance(value, str) else ""
    is_class = isinstance(value, type) and issubclass(value, Executor)
    what = "is a class, not an executor" if is_class else "is no executor"
    raise ValueError(what, f"{guess} Give {names}, or a concurrent.futures.Executor.".lstrip())


def _cluster_meant(value: object) -> str | None:
    """Return the source text of the executor for a text that names a cluster, as the option of `pgflow worker` does."""
    if not isinstance(value, str) or '"' in value or "\\" in value:
        return None
    kind, _, address = value.partition(":")
    if kind == "dask":
        return f'DaskExecutor("{address or "tcp://HOST:8786"}")'
    if kind == "ray":
        return f'RayExecutor("{value if address.startswith("//") else address or "HOST:6379"}")'
    return f'DaskExecutor("{value}")' if kind in {"tcp", "tls"} and address.startswith("//") else None


def _executor(value: object) -> ExecutorChoice | None:
    try:
        return executor_choice(value)
    except ValueError as error:
        what, fix = error.args
        match = closest(value, EXECUTORS) if isinstance(value, str) else None
        mended = None if match is None else f'"{match}"'
        raise _OutOfBoundsError(what, fix, _cluster_meant(value) or mended) from None


def _retry_on(value: object) -> tuple[type[Exception], ...]:
    fix = "Give a list of exception classes, as in retry_on=[TimeoutError, ConnectionError]."
    if isinstance(value, str) or not isinstance(value, Collection):
        is_one = isinstance(value, type) and issubclass(value, Exception)
        raise _OutOfBoundsError("is no collection of exception classes", fix, "[{}]" if is_one else None)
    if not value:
        raise _OutOfBoundsError("is empty", "To never retry give max_attempts=1.")
    classes = tuple(value)
    if any(not isinstance(cls, type) or not issubclass(cls, Exception) for cls in classes):
        raise _OutOfBoundsError("holds something that is no subclass of Exception", fix)
    return classes


_CHECKS: Final[Mapping[str, Any]] = {
    "max_attempts": _Whole(1),
    "base_delay": _Seconds(0),
    "max_delay": _Seconds(0),
    "timeout": _Seconds(1),
    "start_delay": _Seconds(0),
    "deadline": _deadline,
    "retry_on": _retry_on,
    "queue": _queue,
    "executor": _executor,
    "priority": _Whole(MIN_PRIORITY, MAX_PRIORITY),
}
