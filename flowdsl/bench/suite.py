"""All workloads, and how some of them are run: round after round, each workload's result as soon as it is there."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from flowdsl.bench import backlog, costs, diamond, fan_out, large_values, latency, linear, old_snapshot, soak
from flowdsl.bench.environment import environment
from flowdsl.bench.report import Result
from flowdsl.bench.stage import stage
from flowdsl.bench.workload import Bench, Scale, Workload
from flowdsl.errors import ConfigError
from flowdsl.gateway.errors import translated
from flowdsl.suggest import did_you_mean

WORKLOADS: dict[str, Workload] = {
    module.WORKLOAD.key: module.WORKLOAD
    for module in (linear, fan_out, latency, costs, backlog, old_snapshot, soak, diamond, large_values)
}
ROUNDS = {Scale.TINY: 1, Scale.QUICK: 1, Scale.FULL: 3}

Say = Callable[[str], None]
Beside = Callable[[Workload, int], None]


def _nothing(workload: Workload, number: int) -> None:
    del workload, number


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to measure, on which server. `rounds` None: as many as the scale asks for. `keep` drops no database."""

    url: str
    workloads: Sequence[Workload]
    scale: Scale = Scale.FULL
    rounds: int | None = None
    keep: bool = False
    soak_seconds: float | None = None


def chosen(only: Sequence[str] = (), skip: Sequence[str] = ()) -> list[Workload]:
    """Return the workloads of these names (all if there is none), without those to skip.

    Raises:
        ConfigError: there is no workload of that name, or none is left.
    """
    for name in (*only, *skip):
        if name.upper() not in WORKLOADS:
            raise ConfigError(
                f"There is no workload '{name}'.",
                hint=f"{did_you_mean(name.upper(), WORKLOADS)} Workloads: {', '.join(WORKLOADS)}.".strip(),
            )
    wanted, unwanted = {name.upper() for name in only}, {name.upper() for name in skip}
    left = [found for key, found in WORKLOADS.items() if (not wanted or key in wanted) and key not in unwanted]
    if not left:
        raise ConfigError("No workload is left to measure.", hint=f"Workloads: {', '.join(WORKLOADS)}.")
    return left


def run(plan: Plan, say: Say, beside: Beside = _nothing) -> Iterator[Result]:
    """Measure, and yield each workload's result as soon as it is there. `beside` is called after each of its rounds.

    Raises:
        DatabaseUnavailable, MayNotCreateError: the server cannot be used.
        BenchError: a process died, or nothing moves any more.
    """
    with stage(plan.url, keep=plan.keep) as made:
        say(f"measuring in databases {made.name}*, {'which are kept' if plan.keep else 'dropped afterwards'}")
        with translated(), made.connect() as conn:
            found = environment(conn)
        for workload in plan.workloads:
            wanted = plan.rounds or ROUNDS[plan.scale]
            rounds = 1 if workload.once else wanted
            bench = Bench(stage=made, scale=plan.scale, rounds=wanted, soak_seconds=plan.soak_seconds)
            date, seconds = datetime.now(UTC).isoformat(timespec="seconds"), 0.0
            for number in range(rounds):
                bench.round = number
                bench.say = _prefixed(say, f"{workload.key}, round {number + 1} of {rounds}")
                began = time.monotonic()
                with translated():
                    workload.measure(bench)
                seconds += time.monotonic() - began
                beside(workload, number)
            yield Result(
                key=workload.key,
                title=workload.title,
                description=workload.description,
                date=date,
                scale=plan.scale,
                rounds=rounds,
                seconds=seconds,
                environment=found,
                figures=tuple(bench.samples),
                tables=bench.samples.tables,
                notes=tuple(bench.samples.notes),
            )


def _prefixed(say: Say, prefix: str) -> Say:
    return lambda text: say(f"{prefix}: {text}")
