"""What a worker says of its settings when it starts."""

import logging

from flowdsl.runtime.advice import advice
from flowdsl.runtime.options import WorkerOptions


def test_a_queue_that_no_flow_uses_is_warned_of_with_those_there_are() -> None:
    ((level, text),) = advice(WorkerOptions(queues=("slwo", "fast")), {"slow", "fast"}, None)
    assert level == logging.WARNING
    assert "defined for queue 'slwo'" in text
    assert "Did you mean 'slow'? Queues of these flows: fast, slow" in text


def test_queues_that_are_used_are_nothing_to_speak_of() -> None:
    assert list(advice(WorkerOptions(queues=("fast",)), {"slow", "fast"}, None)) == []
    assert list(advice(WorkerOptions(), {"slow", "fast"}, None)) == []


def test_many_more_slots_than_children_are_mentioned() -> None:
    ((level, text),) = advice(WorkerOptions(concurrency=9, batch=9), (), 2)
    assert level == logging.INFO
    assert "run in 2 child processes, and up to 9 tasks" in text
    assert "concurrency and batch not far above 2" in text


def test_slots_that_children_can_keep_busy_are_nothing_to_speak_of() -> None:
    assert list(advice(WorkerOptions(concurrency=8, batch=8), (), 2)) == []
    assert list(advice(WorkerOptions(concurrency=200), (), None)) == []
