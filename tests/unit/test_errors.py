import builtins
import inspect
import pickle
import re
import uuid
from datetime import timedelta

import pytest

from flowdsl import errors
from flowdsl.errors import (
    REFUSALS,
    ConfigError,
    CoreNotInstalled,
    CoreVersionMismatch,
    DatabaseError,
    DefinitionError,
    FlowError,
    InputError,
    LeaseLost,
    NonRetryable,
    OutputUnavailable,
    Problem,
    ProcessDied,
    ResultTimeout,
    RetryAfter,
    RunCancelled,
    RunFailed,
    RunNotRetryable,
    ValueProblem,
)

RUN = uuid.UUID("018f0000-0000-7000-8000-000000000001")

PROBLEM = Problem(
    code="PF-E102", flow_slug="invoice", step_slug="charge", location="billing.py:41", what="unknown.", fix="Fix it."
)

ERRORS: list[Exception] = [
    FlowError("bad", hint="mend it"),
    DefinitionError([PROBLEM, PROBLEM]),
    ConfigError("no module"),
    InputError("invoice", "charge", "output", [ValueProblem(location="pages.3.url", message="is missing")]),
    RunFailed(RUN, "invoice", "charge", 2, 3, "ValueError", "too low", "Traceback …"),
    RunFailed(RUN, "invoice"),
    RunCancelled(RUN, "invoice"),
    RunCancelled(RUN, "invoice", "no longer needed"),
    ResultTimeout(RUN, 2.5),
    OutputUnavailable(RUN, "charge", "skipped"),
    ProcessDied(4711, 3),
    ProcessDied(4711, -9),
    DatabaseError("refused", hint="ask again", sqlstate="XX000"),
    CoreNotInstalled(),
    CoreVersionMismatch(1, 2),
    RunNotRetryable("run 1 is still open"),
    LeaseLost("task 3 belongs to another worker"),
    NonRetryable("no use"),
    RetryAfter(7, "busy"),
]


def error_classes() -> dict[str, type[BaseException]]:
    return {name: cls for name, cls in vars(errors).items() if inspect.isclass(cls) and issubclass(cls, Exception)}


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_errors_survive_pickling_with_their_fields(error: Exception) -> None:
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    assert type(copy) is type(error)
    assert str(copy) == str(error)
    assert vars(copy) == vars(error)
    assert copy.args == error.args


def test_every_error_is_a_flow_error_but_for_the_two_that_handlers_raise() -> None:
    outside = {name for name, cls in error_classes().items() if not issubclass(cls, FlowError)}
    assert outside == {"NonRetryable", "RetryAfter"}


def test_the_drawn_tree_is_the_tree() -> None:
    drawn = re.findall(r"^[│├└─ ]*([A-Z][A-Za-z]+)\s{2,}", errors.__doc__ or "", flags=re.MULTILINE)
    assert sorted(drawn) == sorted(error_classes())
    codes = dict(re.findall(r"── ([A-Z][A-Za-z]+)\s+(PF\d+)", errors.__doc__ or ""))
    assert codes == {cls.__name__: code for code, cls in REFUSALS.items()}


def test_each_refusal_carries_its_sqlstate() -> None:
    for code, cls in REFUSALS.items():
        assert cls("no").sqlstate == code
    assert DatabaseError("no").sqlstate is None
    assert DatabaseError("no", sqlstate="57P01").sqlstate == "57P01"


def test_no_error_shadows_a_builtin() -> None:
    assert not [name for name in error_classes() if hasattr(builtins, name)]


def test_a_problem_reads_as_code_flow_step_place_what_and_fix() -> None:
    assert str(PROBLEM) == "PF-E102 flow 'invoice', step 'charge' (billing.py:41): unknown.\n        Fix it."
    bare = Problem(code="PF-E101", flow_slug="x y", what="cannot name a flow.", fix="One.\nTwo.")
    assert str(bare) == "PF-E101 flow 'x y': cannot name a flow.\n        One.\n        Two."


def test_a_hint_follows_the_message() -> None:
    assert str(FlowError("bad", hint="mend it")) == "bad\nmend it"
    assert str(FlowError("bad")) == "bad"


def test_an_input_error_names_flow_step_and_places() -> None:
    one = InputError("invoice", "charge", "output", [ValueProblem(location="url", message="is missing")])
    assert str(one) == "flow 'invoice', step 'charge': the output does not fit: url: is missing"
    two = InputError(
        "invoice",
        None,
        "input",
        [ValueProblem(location="", message="no list"), ValueProblem(location="a.0", message="no text")],
    )
    assert str(two) == "flow 'invoice': the input does not fit:\n  no list\n  a.0: no text"


def test_a_failed_run_says_where_and_why_as_far_as_it_is_known() -> None:
    full = RunFailed(RUN, "invoice", "charge", 2, 3, "ValueError", "too low", "Traceback …")
    assert str(full) == (
        f"run {RUN} of flow 'invoice' failed in step 'charge' (task 2, attempt 3): ValueError: too low"
    )
    assert str(RunFailed(RUN, "invoice")) == f"run {RUN} of flow 'invoice' failed"
    assert "None" not in str(RunFailed(RUN, "invoice", "charge"))
    assert str(RunFailed(RUN, "invoice", "charge", error_message="no")).endswith("in step 'charge': no")


def test_a_version_mismatch_names_both_versions_and_who_has_to_move() -> None:
    assert "version 1, this package needs version 2" in str(CoreVersionMismatch(1, 2))
    assert "alembic upgrade head" in str(CoreVersionMismatch(1, 2))
    assert "Upgrade this installation" in str(CoreVersionMismatch(3, 2))


@pytest.mark.parametrize(
    ("given", "seconds"), [(3, 3), (0, 0), (-5, 0), (1.2, 2), (timedelta(minutes=2), 120), (timedelta(seconds=0.1), 1)]
)
def test_retry_after_is_in_whole_seconds_rounded_up(given: float | timedelta, seconds: int) -> None:
    assert RetryAfter(given).seconds == seconds


def test_retry_after_without_a_message_says_how_long() -> None:
    assert str(RetryAfter(3)) == "retry after 3 s"
    assert str(RetryAfter(3, "busy")) == "busy"
