"""The heartbeat's thread against a database that answers, fails and comes back."""

import threading
from collections.abc import Iterator, Sequence
from typing import Any
from uuid import UUID, uuid4

import pytest

from flowdsl.errors import DatabaseError, DatabaseUnavailable, WorkerNotFound
from flowdsl.gateway.rows import Heartbeat as Answer
from flowdsl.gateway.rows import Refusal, TaskRef
from flowdsl.runtime.heartbeat import Heartbeat
from flowdsl.types import RunId, StepSlug


class FakeConnection:
    closed = False

    def close(self) -> None:
        self.closed = True


class FakeDatabase:
    """Plays a script of answers and errors, then goes on answering; `played` is set when the script is over."""

    def __init__(self, script: list[Answer | Exception]) -> None:
        self._script: Iterator[Answer | Exception] = iter(script)
        self.connections: list[FakeConnection] = []
        self.beats: list[UUID] = []
        self.asked: list[Sequence[TaskRef]] = []
        self.played = threading.Event()

    def connect(self, _: str) -> Any:
        self.connections.append(FakeConnection())
        return self.connections[-1]

    def beat(self, conn: Any, worker_id: UUID, running: Sequence[TaskRef]) -> Answer:
        assert not conn.closed
        self.beats.append(worker_id)
        self.asked.append(running)
        try:
            step = next(self._script)
        except StopIteration:
            self.played.set()
            return Answer(deprecated=False)
        if isinstance(step, Exception):
            raise step
        return step


class Identity:
    def __init__(self) -> None:
        self.worker_id = uuid4()
        self.lost: list[UUID] = []

    def lose(self, worker_id: UUID) -> None:
        self.lost.append(worker_id)


ALIVE = Answer(deprecated=False)
RUNNING = [TaskRef(RunId(UUID(int=1)), StepSlug("step"), index, 7) for index in range(2)]


def play(script: list[Answer | Exception]) -> tuple[FakeDatabase, Identity, list[str]]:
    database, identity, said = FakeDatabase(script), Identity(), list[str]()
    heartbeat = Heartbeat(
        "",
        identity,
        lease_seconds=0.003,  # type: ignore[arg-type] # short for the test
        running=lambda: RUNNING,
        on_revoked=lambda lost: said.append(f"revoked {lost}"),
        on_deprecated=lambda: said.append("deprecated"),
        on_lost=lambda: said.append("lost"),
        beat=database.beat,
        connect=database.connect,
    )
    with heartbeat:
        assert database.played.wait(10)
    return database, identity, said


def test_one_connection_serves_all_beats() -> None:
    database, identity, said = play([ALIVE, ALIVE, ALIVE])
    assert len(database.connections) == 1
    assert database.connections[0].closed
    assert set(database.beats) == {identity.worker_id}
    assert said == []


def test_the_thread_survives_every_error_and_connects_again(caplog: pytest.LogCaptureFixture) -> None:
    errors = [DatabaseUnavailable("gone"), DatabaseUnavailable("gone"), DatabaseError("odd"), RuntimeError("a defect")]
    with caplog.at_level("INFO", logger="flowdsl"):
        database, _, _ = play([ALIVE, *errors, ALIVE])
    assert len(database.connections) == 5
    assert all(connection.closed for connection in database.connections)
    assert [r.getMessage() for r in caplog.records if "do not reach" in r.getMessage()] == [
        "heartbeats do not reach the database: gone"
    ]
    assert [r.getMessage() for r in caplog.records if "again" in r.getMessage()] == [
        "heartbeats reach the database again"
    ]


def test_an_unknown_worker_is_reported_with_the_id_that_was_refused() -> None:
    _, identity, said = play([WorkerNotFound("who?")])
    assert identity.lost == [identity.worker_id]
    assert said == ["lost"]


def test_a_deprecated_worker_is_told_so() -> None:
    assert play([Answer(deprecated=True)])[2] == ["deprecated"]


def test_each_beat_names_what_runs_and_hears_what_of_it_is_lost() -> None:
    lost = (Refusal(RUNNING[1], "run_ended"),)
    database, _, said = play([ALIVE, Answer(deprecated=True, lost=lost)])
    assert database.asked[:3] == [RUNNING, RUNNING, RUNNING]
    assert said == [f"revoked {lost}", "deprecated"]
