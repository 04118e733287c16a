"""Each claim of the torture is judged wrong by records in which it is: a check that cannot fail proves nothing."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from flowdsl.torture.checks import Key, Records, Run, Start, Step, Task, Wanted, judge
from flowdsl.torture.flows import Job, expected
from flowdsl.types import RunStatus

RUN = uuid4()
NOW = datetime(2026, 1, 1, tzinfo=UTC)
JOB = Job(seed=3)
CHAIN = {"first": [], "second": ["first"], "third": ["first", "second"]}
TOKENS = {slug: uuid4() for slug in CHAIN}


def mark(slug: str) -> dict[str, Any]:
    value = expected("torture_chain", JOB)[slug]
    return {"value": value, "token": str(TOKENS[slug]), "saw": [str(TOKENS[dep]) for dep in CHAIN[slug]]}


def key(slug: str) -> Key:
    return Key(RUN, slug, 0)


def sound() -> Records:
    """Records of one run in which all is as it should be."""
    starts: dict[UUID, Start] = {}
    tasks: dict[Key, Task] = {}
    steps: dict[tuple[UUID, str], Step] = {}
    for slug in CHAIN:
        steps[RUN, slug] = Step(
            run_id=RUN, step_slug=slug, status="completed", remaining_tasks=0, initial_tasks=1, remaining_deps=0,
            output=mark(slug), is_map=False,
        )  # fmt: skip
        tasks[key(slug)] = Task(
            run_id=RUN, step_slug=slug, task_index=0, status="completed", attempts_count=1, limit=3, output=mark(slug),
            completed_at=NOW, worker="a",
        )  # fmt: skip
        starts[TOKENS[slug]] = Start(
            token=TOKENS[slug], run_id=RUN, step_slug=slug, task_index=0, attempt=1, max_attempts=3, worker="a",
            started_at=NOW - timedelta(seconds=1),
        )  # fmt: skip
    run = Run(run_id=RUN, flow_slug="torture_chain", status="completed", remaining_steps=0, why=None)
    return Records(runs={RUN: run}, steps=steps, tasks=tasks, starts=starts, losses={}, failures={}, violations=[])


def wanted(**changes: Any) -> dict[UUID, Wanted]:
    plan = Wanted(flow_slug="torture_chain", given=JOB, status=RunStatus.COMPLETED)
    return {RUN: replace(plan, **changes)}


def broken(records: Records, plans: dict[UUID, Wanted] | None = None) -> list[str]:
    return [claim.claim for claim in judge(records, wanted() if plans is None else plans) if not claim.held]


def started_again(records: Records, worker: str = "b") -> Records:
    token = uuid4()
    records.starts[token] = replace(
        records.starts[TOKENS["first"]], token=token, worker=worker, started_at=NOW + timedelta(seconds=1)
    )
    return records


def no_run(records: Records) -> None:
    records.runs.clear()


def a_run_of_nobody(records: Records) -> None:
    other = uuid4()
    records.runs[other] = replace(records.runs[RUN], run_id=other)


def another_end(records: Records) -> None:
    records.runs[RUN] = replace(records.runs[RUN], status="failed", why="second[0] ValueError")


def a_stuck_run(records: Records) -> None:
    records.runs[RUN] = replace(records.runs[RUN], status="started")


def another_value(records: Records) -> None:
    records.steps[RUN, "third"] = replace(records.steps[RUN, "third"], output=mark("third") | {"value": -1})


def a_skipped_step(records: Records) -> None:
    records.steps[RUN, "third"] = replace(records.steps[RUN, "third"], status="skipped", output=None)


def run_twice(records: Records) -> None:
    started_again(records)


def another_worker(records: Records) -> None:
    records.tasks[key("first")] = replace(records.tasks[key("first")], worker="b")


def an_output_of_nobody(records: Records) -> None:
    del records.starts[TOKENS["first"]]


def a_replaced_output(records: Records) -> None:
    records.steps[RUN, "second"] = replace(
        records.steps[RUN, "second"], output=mark("second") | {"saw": [str(uuid4())]}
    )


def too_many_attempts(records: Records) -> None:
    token = TOKENS["first"]
    records.tasks[key("first")] = replace(records.tasks[key("first")], attempts_count=4)
    records.starts[token] = replace(records.starts[token], attempt=4)


def too_many_failures(records: Records) -> None:
    records.failures[key("first")] = 4


def an_open_task(records: Records) -> None:
    records.tasks[key("third")] = replace(records.tasks[key("third")], status="queued", completed_at=None, output=None)


def a_wrong_counter(records: Records) -> None:
    records.runs[RUN] = replace(records.runs[RUN], remaining_steps=1)


def a_missing_task(records: Records) -> None:
    del records.tasks[key("third")]


def a_violation(records: Records) -> None:
    records.violations.append("something is wrong")


def test_sound_records_hold_in_every_claim() -> None:
    assert broken(sound()) == []
    assert [claim.checked for claim in judge(sound(), wanted())] == [1, 1, 1, 3, 3, 3, 3, 3, 1]


@pytest.mark.parametrize(
    ("harm", "claim"),
    [
        (no_run, "no run was lost or started twice"),
        (a_run_of_nobody, "no run was lost or started twice"),
        (another_end, "every run ended as it should, none is stuck"),
        (a_stuck_run, "every run ended as it should, none is stuck"),
        (another_value, "every output is right"),
        (a_skipped_step, "every output is right"),
        (run_twice, "no step ran again after it had completed"),
        (another_worker, "only the current claim's result was taken"),
        (an_output_of_nobody, "only the current claim's result was taken"),
        (a_replaced_output, "every step saw what its dependencies kept"),
        (too_many_attempts, "no task used more attempts than it may"),
        (too_many_failures, "no task used more attempts than it may"),
        (an_open_task, "nothing is left running, and every counter agrees"),
        (a_wrong_counter, "nothing is left running, and every counter agrees"),
        (a_missing_task, "nothing is left running, and every counter agrees"),
        (a_violation, "check_invariants() finds nothing"),
    ],
)
def test_a_claim_does_not_hold_where_records_speak_against_it(harm: Callable[[Records], None], claim: str) -> None:
    records = sound()
    harm(records)
    assert claim in broken(records)


def test_a_start_after_completion_is_excused_where_the_worker_had_lost_its_lease_and_counted() -> None:
    records = started_again(sound())
    records.losses[key("first")] = [("b", NOW)]
    assert broken(records) == []
    assert records.late_starts == 1


def test_a_start_after_completion_is_not_excused_by_the_loss_of_another_worker() -> None:
    records = started_again(sound())
    records.losses[key("first")] = [("c", NOW), ("b", NOW + timedelta(seconds=2))]
    assert broken(records) == ["no step ran again after it had completed"]


def test_a_start_after_completion_in_a_run_that_was_retried_is_excused_for_former_workers_only() -> None:
    assert broken(started_again(sound()), wanted(retried=True)) == []
    assert broken(started_again(sound(), worker="a"), wanted(retried=True)) != []


def test_a_cancelled_run_has_to_be_cancelled() -> None:
    assert broken(sound(), wanted(status=RunStatus.CANCELLED)) == ["every run ended as it should, none is stuck"]


def test_long_evidence_is_cut() -> None:
    records = sound()
    records.violations = [f"violation {number}" for number in range(8)]
    (claim,) = [claim for claim in judge(records, wanted()) if not claim.held]
    assert len(claim.evidence) == 6
    assert claim.evidence[-1] == "… and 3 more"
