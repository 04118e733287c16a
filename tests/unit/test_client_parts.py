"""The client's parts that need no database."""

import asyncio
import pickle
from uuid import uuid4

import pytest

from flowdsl.client import Client
from flowdsl.client.client import START_BYTES, START_MAX, _chunks
from flowdsl.client.detail import run_detail
from flowdsl.client.run import run_failed
from flowdsl.client.watcher import Watcher
from flowdsl.errors import ConfigError
from flowdsl.gateway.connections import conninfo
from flowdsl.gateway.rows import RunFailure, RunOutcome
from flowdsl.types import FlowSlug, RunId, RunStatus, StepSlug, StepStatus, StepType, TaskStatus
from tests.conftest import Run


def test_chunks_are_bounded_by_number_and_by_bytes() -> None:
    starts = [(RunId(uuid4()), b"1") for _ in range(START_MAX * 2 + 1)]
    assert [len(chunk) for chunk in _chunks(starts)] == [START_MAX, START_MAX, 1]
    assert [start for chunk in _chunks(starts) for start in chunk] == starts
    large = [(RunId(uuid4()), b"x" * (START_BYTES // 2 + 1)) for _ in range(3)]
    assert [len(chunk) for chunk in _chunks(large)] == [1, 1, 1]


@pytest.mark.parametrize("sizes", [(-1, 5), (3, 2), (0, 0)])
def test_pool_sizes_that_make_no_sense_are_refused(sizes: tuple[int, int]) -> None:
    with pytest.raises(ConfigError, match="min_size"):
        Client("postgresql://host/db", min_size=sizes[0], max_size=sizes[1])


def test_a_client_that_is_not_used_opens_nothing(run: Run) -> None:
    async def scenario() -> None:
        async with Client("postgresql://nowhere.invalid/none"):
            pass

    run(scenario(), 10)


def test_our_defaults_yield_to_the_urls_own_words() -> None:
    info = conninfo("postgresql://me@host/db?connect_timeout=3&application_name=mine", "flowdsl client")
    assert "connect_timeout=3" in info
    assert "application_name=mine" in info
    assert "keepalives_idle=15" in info


def test_urls_written_for_sqlalchemy_are_understood() -> None:
    assert conninfo("postgresql+psycopg://host/db", "x") == conninfo("postgresql://host/db", "x")


def test_waiting_events_are_woken_by_their_own_run_only(run: Run) -> None:
    async def scenario() -> None:
        watcher, one, other = Watcher(""), uuid4(), uuid4()
        with watcher.waiting_for(one) as first, watcher.waiting_for(one) as second, watcher.waiting_for(other) as third:
            watcher._wake(str(one))
            assert (first.is_set(), second.is_set(), third.is_set()) == (True, True, False)
        watcher._wake(str(one))
        assert not watcher._waiting

    asyncio.run(scenario())


def test_a_failed_run_becomes_an_error_with_every_field() -> None:
    run_id = uuid4()
    failure = RunFailure(
        step_slug=StepSlug("charge"),
        task_index=2,
        attempt=3,
        error_class="ValueError",
        error_message="no",
        traceback="Trace",
    )
    outcome = RunOutcome(status=RunStatus.FAILED, flow_slug=FlowSlug("shop"), output=None, failure=failure)
    error = pickle.loads(pickle.dumps(run_failed(run_id, outcome)))  # noqa: S301 - our own bytes
    assert (error.run_id, error.flow_slug, error.step_slug, error.task_index) == (run_id, "shop", "charge", 2)
    assert (error.attempt, error.error_class, error.error_message, error.traceback) == (3, "ValueError", "no", "Trace")
    assert str(error) == f"run {run_id} of flow 'shop' failed in step 'charge' (task 2, attempt 3): ValueError: no"


def test_a_run_that_exceeded_its_deadline_failed_in_no_step() -> None:
    run_id = uuid4()
    failure = RunFailure(
        step_slug=None,
        task_index=None,
        attempt=None,
        error_class="DeadlineExceeded",
        error_message="deadline of 5 s exceeded",
        traceback=None,
    )
    outcome = RunOutcome(status=RunStatus.FAILED, flow_slug=FlowSlug("shop"), output=None, failure=failure)
    assert str(run_failed(run_id, outcome)) == (
        f"run {run_id} of flow 'shop' failed: DeadlineExceeded: deadline of 5 s exceeded"
    )


def test_a_described_run_is_read_into_frozen_values() -> None:
    run_id = uuid4()
    detail = run_detail(
        {
            "run": {
                "run_id": str(run_id),
                "flow_slug": "shop",
                "flow_version": 2,
                "status": "started",
                "started_at": "2024-05-06T07:08:09.123456+00:00",
                "ended_at": None,
                "end_reason": None,
                "deadline_at": "2024-05-06T08:08:09+00:00",
                "retried_count": 1,
            },
            "steps": [
                {
                    "step_slug": "charge",
                    "step_type": "map",
                    "status": "started",
                    "tasks": {"queued": 1, "completed": 4, "retrying": 1},
                    "error_message": None,
                    "skip_reason": None,
                    "started_at": "2024-05-06T07:08:10+00:00",
                    "ended_at": None,
                }
            ],
        }
    )
    assert (detail.run_id, detail.flow_version, detail.status) == (run_id, 2, RunStatus.STARTED)
    step = detail.step("charge")
    assert (step.step_type, step.status) == (StepType.MAP, StepStatus.STARTED)
    assert (step.tasks[TaskStatus.COMPLETED], step.tasks[TaskStatus.FAILED]) == (4, 0)
    assert detail.started_at.microsecond == 123456
    assert detail.deadline_at is not None
    assert (detail.deadline_at.hour, detail.retried_count, detail.end_reason) == (8, 1, None)
