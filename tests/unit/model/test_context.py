"""What a handler sees of its own attempt."""

import pickle
from dataclasses import asdict
from typing import Any
from uuid import UUID

from flowdsl.model.context import Cancellation, Context

FIELDS: dict[str, Any] = {
    "run_id": UUID(int=1),
    "flow_slug": "flow",
    "flow_version": 1,
    "step_slug": "step",
    "task_index": 0,
    "attempt": 1,
    "max_attempts": 3,
}


def test_a_hand_made_context_is_not_cancelled() -> None:
    assert not Context(**FIELDS).cancelled


def test_a_context_shows_that_the_attempt_was_given_up_meanwhile() -> None:
    cancellation = Cancellation()
    context = Context(**FIELDS, cancellation=cancellation)
    assert not context.cancelled
    cancellation.requested = True
    assert context.cancelled


def test_a_context_is_a_value_whatever_became_of_its_attempt() -> None:
    context = Context(**FIELDS)
    assert context == Context(**FIELDS, cancellation=Cancellation(requested=True))
    assert hash(context) == hash(Context(**FIELDS))
    assert pickle.loads(pickle.dumps(context)) == context  # noqa: S301 - our own bytes
    assert "cancellation" not in repr(context)
    assert asdict(context)["cancellation"] == {"requested": False}
