import doctest

import pytest

from flowdsl import suggest
from flowdsl.suggest import closest, did_you_mean


@pytest.mark.parametrize(
    ("name", "match"),
    [("timeuot", "timeout"), ("max_attempt", "max_attempts"), ("TIMEOUT", "timeout"), ("xyz", None), ("", None)],
)
def test_the_closest_name_is_found_or_none_is(name: str, match: str | None) -> None:
    assert closest(name, ["timeout", "max_attempts", "queue"]) == match


def test_an_exact_name_of_another_case_wins_over_a_near_one() -> None:
    assert closest("fetch", ["fetched", "Fetch"]) == "Fetch"


def test_nothing_is_suggested_from_nothing() -> None:
    assert closest("timeout", []) is None
    assert did_you_mean("timeout", []) == ""


def test_the_same_names_give_the_same_suggestion_in_any_order() -> None:
    names = ["step_b", "step_a", "step_c"]
    assert closest("step_x", names) == closest("step_x", reversed(names))


def test_examples_hold() -> None:
    assert doctest.testmod(suggest).failed == 0
