"""The workloads, the same for every peer: what is started, what is waited for, and what is divided by what."""

import time
from collections.abc import Callable
from functools import partial

import psycopg

from bench.peers.common import STEPS, MeasurementFailed, Options, Result, Role, percentile, say, timed
from bench.peers.database import Server, number
from bench.peers.peer import Peer, Session
from bench.peers.processes import workers
from bench.peers.relay import relayed

# Nothing here takes that long; who waits longer waits for something that will not happen.
STALLED_SECONDS = 120.0
# One by one, a thousand starts are enough for a mean.
MAX_SINGLE_STARTS = 1_000
# A fan-out of the next size takes at least ten times as long.
MAX_FAN_OUT_SECONDS = 60.0
WARM_UPS = 5
# W3: where one round trip takes longer than this, a quarter of the samples has to do.
SLOW_ROUND_TRIP_SECONDS = 0.2
# W5: from so many runs on, settings are those for a backlog, and so much is watched of what would take minutes.
LARGE_BACKLOG = 10_000
WATCHED_SECONDS = 20.0
WATCHED_STEPS = 6_000
WATCH_PAUSE_SECONDS = 0.2
WAL_POSITION = "select pg_current_wal_insert_lsn() - '0/0'::pg_lsn"


def fill(peer: Peer, session: Session, runs: int, start: Callable[[range], None] | None = None) -> float:
    """Start runs in batches; returns the seconds it took."""
    start = start or session.start_batch
    begin = time.perf_counter()
    for first in range(0, runs, peer.batch):
        start(range(first, min(first + peer.batch, runs)))
    return time.perf_counter() - begin


def until(conn: "psycopg.Connection[tuple[object, ...]]", query: str, target: int, pause: float = 0.25) -> None:
    """Wait until the query returns the target, asking seldom enough not to disturb; no progress at all is a failure."""
    seen, moved = -1.0, time.monotonic()
    while (now := number(conn, query)) < target:
        if now != seen:
            seen, moved = now, time.monotonic()
        elif time.monotonic() - moved > STALLED_SECONDS:
            raise MeasurementFailed(f"Nothing moved for {STALLED_SECONDS:.0f} s at {now:.0f} of {target}.")
        time.sleep(pause)


def work_off(peer: Peer, url: str, queued: int, processes: int, steps: int) -> float:
    """Work off what is queued with worker processes; returns steps per second, from the first claim to the last end."""
    with psycopg.connect(url, autocommit=True) as conn, workers(peer.name, url, processes):
        until(conn, peer.finished_runs, queued)
        return steps / number(conn, peer.work_seconds)


def linear(peer: Peer, server: Server, options: Options, result: Result) -> None:
    """W1: start rates, and steps per second of a 3-step flow with all runs queued first."""
    singles = min(options.runs, MAX_SINGLE_STARTS)
    with server.database() as url, peer.session(url) as session:
        session.start(0)  # connects, prepares
        seconds = timed(lambda: [session.start(number) for number in range(singles)])
        result.metrics["starts_per_second"] = singles / seconds
    for processes in options.processes:
        with server.database() as url:
            with peer.session(url) as session:
                session.start_batch(range(1))
                seconds = fill(peer, session, options.runs)
            result.metrics["batch_starts_per_second"] = options.runs / seconds
            queued = options.runs + 1
            rate = work_off(peer, url, queued, processes, STEPS * queued)
            result.metrics[f"steps_per_second_{processes}"] = rate
        say(f"{peer.name}: {rate:,.0f} steps/s with {processes} worker process(es)")
        if peer.plain_jobs:
            with server.database() as url:
                jobs = STEPS * options.runs
                with peer.session(url) as session:
                    fill(peer, session, jobs, session.start_plain)
                result.metrics[f"jobs_per_second_{processes}"] = work_off(peer, url, jobs, processes, jobs)


def fan_out(peer: Peer, server: Server, options: Options, result: Result) -> None:
    """W2: a map over many elements and an aggregate, from the start to the result, in each way that the peer has.

    The peer's figure is that of its fastest way.
    """
    slowest: dict[str, float] = {}
    for elements in sorted(options.elements):
        with server.database() as url, workers(peer.name, url, 1, Role.FAN_OUT), peer.session(url) as session:
            session.round_trip(0)  # the worker is up
            taken = {}
            for way, call in session.fan_outs().items():
                name = f"seconds_{elements}_{way}"
                if slowest.get(way, 0.0) > MAX_FAN_OUT_SECONDS:
                    result.not_measured[name] = f"fewer elements took {slowest[way]:.0f} s already"
                    continue
                slowest[way] = taken[way] = result.metrics[name] = timed(partial(call, elements))
                say(f"{peer.name}: {elements:,} elements ({way}) in {taken[way]:.2f} s")
        if taken:
            result.metrics[f"seconds_{elements}"] = min(taken.values())
        else:
            result.not_measured[f"seconds_{elements}"] = "no way was fast enough with fewer elements"


def latency(peer: Peer, server: Server, options: Options, result: Result) -> None:
    """W3: from the start to the result of a 3-step flow while nothing else runs; client and worker are two processes."""
    with server.database() as url, workers(peer.name, url, 1), peer.session(url) as session:
        taken = sampled(session.round_trip, options.samples)
    result.metrics |= {
        "p50_ms": 1000 * percentile(taken, 0.50),
        "p99_ms": 1000 * percentile(taken, 0.99),
        "samples": len(taken),
    }
    with server.database() as url:
        if (local := peer.in_process(url)) is None:
            return
        with local as call:
            taken = sampled(call, options.samples)
    result.metrics["p50_ms_in_process"] = 1000 * percentile(taken, 0.50)
    result.metrics["p99_ms_in_process"] = 1000 * percentile(taken, 0.99)


def sampled(call: Callable[[int], object], samples: int) -> list[float]:
    """Return the seconds of each call, after a few that warm up; fewer calls where one takes long."""
    warm = [timed(partial(call, number)) for number in range(WARM_UPS)]
    count = samples if min(warm) < SLOW_ROUND_TRIP_SECONDS else max(samples // 4, 1)
    return [timed(partial(call, number)) for number in range(count)]


def cost(peer: Peer, server: Server, options: Options, result: Result) -> None:
    """W4: WAL and client statements per step, with and without the start, after a warm-up of the same size."""
    with server.database() as url, relayed(url) as relay, psycopg.connect(url, autocommit=True) as conn:

        def state() -> tuple[float, int, int]:
            return number(conn, WAL_POSITION), relay.statements(), relay.round_trips()

        # The first pass pays for the full-page writes of new tables and for what connecting and preparing sends.
        with workers(peer.name, relay.url, 1), peer.session(relay.url) as session:
            fill(peer, session, options.runs)
            until(conn, peer.finished_runs, options.runs)
            before = state()
            fill(peer, session, options.runs)
            until(conn, peer.finished_runs, 2 * options.runs)
            after = state()
        steps = STEPS * options.runs
        result.metrics |= {
            f"{name}_with_start": (b - a) / steps for name, a, b in zip(COSTS, before, after, strict=True)
        }
        # Without the start: all runs are queued before a worker comes.
        with peer.session(relay.url) as session:
            fill(peer, session, options.runs)
        before = state()
        with workers(peer.name, relay.url, 1):
            until(conn, peer.finished_runs, 3 * options.runs)
            after = state()
        result.metrics |= {name: (b - a) / steps for name, a, b in zip(COSTS, before, after, strict=True)}
    result.settings["statements"] = "messages Query and Execute of all clients and workers, counted by a relay"


COSTS = ("wal_bytes_per_step", "statements_per_step", "round_trips_per_step")


def backlog(peer: Peer, server: Server, options: Options, result: Result) -> None:
    """W5: steps per second while many runs are queued."""
    for queued in options.queued:
        name = f"steps_per_second_queued_{queued}"
        with server.database() as url:
            with peer.session(url) as session:
                seconds = fill(peer, session, queued)
            say(f"{peer.name}: queued {queued:,} runs in {seconds:.0f} s")
            role = Role.BACKLOG if queued >= LARGE_BACKLOG else Role.FLOW
            with psycopg.connect(url, autocommit=True) as conn, workers(peer.name, url, 1, role):
                result.metrics[name] = watched_rate(conn, peer.completed_steps, min(WATCHED_STEPS, STEPS * queued))
        say(f"{peer.name}: {result.metrics[name]:,.0f} steps/s with {queued:,} runs queued")


def watched_rate(conn: "psycopg.Connection[tuple[object, ...]]", query: str, steps: int) -> float:
    """Return steps per second from the first completed step on, for so many steps or so many seconds."""
    until(conn, query, 1, pause=0.02)
    begin, first = time.monotonic(), number(conn, query)
    now, last = begin, first
    while last < steps and now - begin < WATCHED_SECONDS:
        time.sleep(WATCH_PAUSE_SECONDS)
        last, now = number(conn, query), time.monotonic()
    if last == first:
        raise MeasurementFailed(f"No step was completed within {WATCHED_SECONDS:.0f} s, or all {steps} at once.")
    return (last - first) / (now - begin)


WORKLOADS = {"W1": linear, "W2": fan_out, "W3": latency, "W4": cost, "W5": backlog}
