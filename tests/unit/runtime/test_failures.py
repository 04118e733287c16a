"""What is kept of an error, whatever the error is."""

import sys
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowdsl.errors import DatabaseError, NonRetryable, RetryAfter
from flowdsl.runtime import failures
from flowdsl.runtime.failures import clean, failure_of, message_of, rejection, stack_text, timeout_failure


class OutageError(ConnectionError):
    pass


class UnprintableError(Exception):
    def __str__(self) -> str:
        raise ValueError("never")


def raised(error: BaseException) -> BaseException:
    try:
        raise error
    except BaseException as caught:
        return caught


def test_an_error_is_kept_with_its_bases_by_the_names_retry_on_uses() -> None:
    failure = failure_of(raised(OutageError("down")))
    here = __name__
    assert failure.error_class == f"{here}.OutageError"
    assert failure.error_classes == (f"{here}.OutageError", "ConnectionError", "OSError", "Exception", "BaseException")
    assert failure.message == "down"
    assert failure.retryable
    assert failure.retry_after is None


def test_non_retryable_and_retry_after_steer_also_from_inside_of_a_group() -> None:
    assert not failure_of(NonRetryable("no")).retryable
    assert failure_of(RetryAfter(timedelta(seconds=7))).retry_after == 7
    group = ExceptionGroup("several", [RetryAfter(3), ExceptionGroup("inner", [RetryAfter(9), NonRetryable("no")])])
    failure = failure_of(group)
    assert (failure.retryable, failure.retry_after) == (False, 9)


def test_causes_contexts_and_members_of_groups_are_in_the_traceback() -> None:
    def boom() -> None:
        try:
            raise KeyError("the cause")
        except KeyError as error:
            raise ExceptionGroup("both", [ValueError("first"), OutageError("second")]) from error

    with pytest.raises(ExceptionGroup) as caught:
        boom()
    text = failure_of(caught.value).traceback
    for part in ("the cause", "direct cause", "ValueError: first", "OutageError: second", "in boom"):
        assert part in text


def test_an_error_that_cannot_be_printed_is_still_recorded() -> None:
    failure = failure_of(raised(UnprintableError()))
    assert failure.message == "<str() of this UnprintableError raised ValueError>"
    assert "UnprintableError" in failure.traceback


def test_an_error_whose_text_exits_is_still_recorded() -> None:
    class ExitingError(Exception):
        def __str__(self) -> str:
            raise SystemExit(1)

    failure = failure_of(raised(ExitingError()))
    assert failure.message == "<str() of this " + ExitingError.__qualname__ + " raised SystemExit>"
    assert "Traceback" in failure.traceback or "cannot be shown" in failure.traceback


def test_a_hostile_class_cannot_break_the_record(monkeypatch: pytest.MonkeyPatch) -> None:
    class HostileError(Exception):
        def __getattribute__(self, name: str) -> object:
            if name == "__suppress_context__":
                raise RuntimeError("no")
            return super().__getattribute__(name)

    assert "cannot be shown" in failure_of(raised(HostileError("x"))).traceback


def test_endless_recursion_gives_a_short_traceback() -> None:
    def recurse() -> None:
        recurse()

    with pytest.raises(RecursionError) as caught:
        recurse()
    assert len(failure_of(caught.value).traceback) < failures.TRACEBACK_MAX


def test_a_message_of_a_megabyte_is_cut_in_the_middle() -> None:
    message = message_of(ValueError("a" * 500_000 + "b" * 500_000))
    assert len(message) < failures.MESSAGE_MAX + 40
    assert message.startswith("aaa")
    assert message.endswith("bbb")


@given(st.text(st.characters(codec=None, exclude_categories=())), st.integers(30, 200))
def test_clean_text_can_always_be_stored(text: str, limit: int) -> None:
    cleaned = clean(text, limit)
    assert "\x00" not in cleaned
    cleaned.encode("utf-8")
    assert len(cleaned) <= limit + 20


def test_a_timeout_is_a_timeout_error_that_names_the_limit() -> None:
    failure = timeout_failure("fetch", 30, "somewhere")
    assert failure.error_class == "TimeoutError"
    assert "OSError" in failure.error_classes
    assert failure.message == "step 'fetch' exceeded its timeout of 30 s"
    assert failure.traceback == "somewhere"
    assert failure.retryable


def test_a_rejected_result_is_not_tried_again() -> None:
    failure = rejection(DatabaseError("too deep", sqlstate="54001"), "the database cannot store the output")
    assert failure.message == "the database cannot store the output: too deep"
    assert not failure.retryable


def test_a_stack_shows_where_a_frame_stands() -> None:
    assert "test_a_stack_shows_where_a_frame_stands" in stack_text(sys._getframe())
    assert stack_text(None) == ""
