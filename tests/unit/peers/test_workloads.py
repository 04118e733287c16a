"""What the workloads decide by themselves: when to wait on, when to give up, what to leave out."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any, ClassVar, cast

import pytest

from bench.peers import workloads
from bench.peers.common import MeasurementFailed, Options, Result, Role
from bench.peers.database import Server
from bench.peers.peer import Peer, Session


class Recorded(Session):
    """A client that only writes down what it is asked."""

    def __init__(self) -> None:
        self.batches: list[range] = []
        self.plain: list[range] = []
        self.asked: list[tuple[str, int]] = []

    def start(self, number: int) -> None: ...

    def start_batch(self, numbers: range) -> None:
        self.batches.append(numbers)

    def start_plain(self, numbers: range) -> None:
        self.plain.append(numbers)

    def round_trip(self, number: int) -> None: ...

    def fan_outs(self) -> dict[str, Callable[[int], None]]:
        return {way: partial(self._fan_out, way) for way in ("children", "steps")}

    def _fan_out(self, way: str, elements: int) -> None:
        self.asked.append((way, elements))


class Stand(Peer):
    """A peer without a server."""

    name = "stand"
    package = "pydantic"
    settings: ClassVar[dict[str, str]] = {}
    runs = 10
    batch = 4
    finished_runs = completed_steps = work_seconds = "select 1"

    def __init__(self) -> None:
        self.client = Recorded()

    def install(self, url: str) -> None: ...

    def serve(self, url: str, role: Role) -> None: ...

    @contextmanager
    def session(self, url: str) -> Iterator[Session]:
        yield self.client


class NoServer:
    """Stands in for a server where nothing is stored."""

    @contextmanager
    def database(self) -> Iterator[str]:
        yield "postgresql://@/nowhere"


def chosen(**changed: Any) -> Options:
    """Return options of a small measurement."""
    defaults: dict[str, Any] = {
        "url": "", "workload": "W1", "runs": 10, "elements": (10,), "processes": (1,), "samples": 4, "queued": (10,),
    }  # fmt: skip
    return Options(**(defaults | changed))


@contextmanager
def no_workers(*_: object) -> Iterator[None]:
    yield


def test_runs_are_started_in_batches_and_the_last_one_is_smaller() -> None:
    stand = Stand()
    workloads.fill(stand, stand.client, 10)
    assert stand.client.batches == [range(4), range(4, 8), range(8, 10)]


def test_plain_jobs_are_started_in_batches_too() -> None:
    stand = Stand()
    workloads.fill(stand, stand.client, 5, stand.client.start_plain)
    assert stand.client.plain == [range(4), range(4, 5)]


def test_fan_out_takes_the_faster_way_and_drops_a_slow_one(monkeypatch: pytest.MonkeyPatch) -> None:
    stand, result = Stand(), Result()
    monkeypatch.setattr(workloads, "workers", no_workers)
    seconds = iter([61.0, 2.0, 3.0])

    def measured(action: Any) -> float:
        action()
        return next(seconds)

    monkeypatch.setattr(workloads, "timed", measured)
    workloads.fan_out(stand, cast("Server", NoServer()), chosen(elements=(10_000, 1_000)), result)
    assert stand.client.asked == [("children", 1_000), ("steps", 1_000), ("steps", 10_000)]
    assert result.metrics == {
        "seconds_1000_children": 61.0,
        "seconds_1000_steps": 2.0,
        "seconds_1000": 2.0,
        "seconds_10000_steps": 3.0,
        "seconds_10000": 3.0,
    }
    assert result.not_measured == {"seconds_10000_children": "fewer elements took 61 s already"}


def test_fan_out_without_a_way_left_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    result = Result()
    monkeypatch.setattr(workloads, "workers", no_workers)
    monkeypatch.setattr(workloads, "timed", lambda _: 61.0)
    workloads.fan_out(Stand(), cast("Server", NoServer()), chosen(elements=(10, 20)), result)
    assert "seconds_20" not in result.metrics
    assert result.not_measured["seconds_20"] == "no way was fast enough with fewer elements"


@pytest.mark.parametrize(("seconds", "samples"), [(0.01, 8), (0.3, 2)])
def test_slow_round_trips_are_sampled_less(monkeypatch: pytest.MonkeyPatch, seconds: float, samples: int) -> None:
    result = Result()
    monkeypatch.setattr(workloads, "workers", no_workers)
    monkeypatch.setattr(workloads, "timed", lambda _: seconds)
    workloads.latency(Stand(), cast("Server", NoServer()), chosen(samples=8), result)
    assert result.metrics == {"p50_ms": 1000 * seconds, "p99_ms": 1000 * seconds, "samples": samples}


def test_waiting_ends_with_a_sentence_when_nothing_moves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workloads, "STALLED_SECONDS", 0.0)
    monkeypatch.setattr(workloads, "number", lambda *_: 3.0)
    with pytest.raises(MeasurementFailed, match="at 3 of 10"):
        workloads.until(cast("Any", None), "select 3", 10, pause=0.001)


def test_waiting_goes_on_while_something_moves(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = iter([0.0, 1.0, 2.0, 3.0])
    monkeypatch.setattr(workloads, "STALLED_SECONDS", 0.0)
    monkeypatch.setattr(workloads, "number", lambda *_: next(seen))
    workloads.until(cast("Any", None), "select …", 3, pause=0.0)
    assert list(seen) == []


def test_watching_ends_with_the_steps_that_were_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = iter([1.0, 1.0, 3.0, 8.0, 20.0])
    monkeypatch.setattr(workloads, "WATCH_PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(workloads, "number", lambda *_: next(seen))
    assert workloads.watched_rate(cast("Any", None), "select …", 8) > 0
    assert list(seen) == [20.0]


def test_watching_a_worker_that_does_nothing_more_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workloads, "WATCHED_SECONDS", 0.0)
    monkeypatch.setattr(workloads, "number", lambda *_: 1.0)
    with pytest.raises(MeasurementFailed, match="No step was completed"):
        workloads.watched_rate(cast("Any", None), "select 1", 8)


@pytest.mark.parametrize(("queued", "role"), [(9_999, Role.FLOW), (10_000, Role.BACKLOG)])
def test_worker_is_told_of_a_large_backlog(monkeypatch: pytest.MonkeyPatch, queued: int, role: Role) -> None:
    told: list[object] = []

    @contextmanager
    def workers(*arguments: object) -> Iterator[None]:
        told.append(arguments[-1])
        yield

    monkeypatch.setattr(workloads, "workers", workers)
    monkeypatch.setattr(workloads, "watched_rate", lambda *_: 7.0)
    monkeypatch.setattr("bench.peers.workloads.psycopg.connect", lambda *_, **__: nullcontext())
    result = Result()
    workloads.backlog(Stand(), cast("Server", NoServer()), chosen(queued=(queued,)), result)
    assert told == [role]
    assert result.metrics == {f"steps_per_second_queued_{queued}": 7.0}


def test_peer_without_plain_jobs_says_so() -> None:
    with pytest.raises(MeasurementFailed, match="no plain jobs"):
        Session.start_plain(Recorded(), range(1))
