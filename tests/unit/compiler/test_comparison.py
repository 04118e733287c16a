"""The diff a reviewer wants: every change once, in words and as data."""

from typing import Any

from flowdsl.compiler.comparison import Mark, Topic, compare
from flowdsl.model.conditions import Predicate
from flowdsl.model.shape import FlowShape

from .shapes import INTEGER, NUMBER, PLAIN, STRING, flow, listed, objects, step


def texts(old: FlowShape, new: FlowShape) -> list[str]:
    return [f"{detail.topic}: {detail.mark} {detail.text}" for detail in compare(old, new)]


def test_equal_shapes_have_no_details() -> None:
    assert compare(PLAIN, PLAIN) == ()


def test_added_and_removed_steps_are_told_with_what_they_take() -> None:
    old = flow("f", step("a"), step("b", "a"))
    new = flow("f", step("a"), step("c", over="a", run=True, unless={"run": {"quiet": True}}))
    assert texts(old, new) == [
        'steps: + c: a map over a, takes run, runs unless {"run": {"quiet": true}}',
        "steps: - b: takes a",
    ]


def test_rewired_steps_tell_what_is_and_what_was() -> None:
    old = flow("f", step("a"), step("b"), step("c", "a"))
    assert texts(old, flow("f", step("b"), step("a"), step("c", "a", "b", run=True))) == [
        "steps: ~ c: takes run, a, b; was a",
        "steps: ~ order: b, a, c; was a, b, c",
    ]
    assert texts(old, flow("f", step("a"), step("b"), step("c", over="a"))) == [
        "steps: ~ c: is a map over a; was one task",
        "steps: ~ c: takes nothing; was a",
    ]


def test_conditions_are_told_in_plain_words() -> None:
    old = flow("f", step("judge"), step("escalate", "judge"), step("tell", "judge", unless={"judge": {"quiet": True}}))
    new = flow(
        "f",
        step("judge"),
        step("escalate", "judge", when={"judge": {"label": "bad"}}, when_unmet="fail"),
        step("tell", "judge", when_exhausted="skip-cascade"),
    )
    assert texts(old, new) == [
        'conditions: ~ escalate: runs when {"judge": {"label": "bad"}}; was always',
        "conditions: ~ escalate: when its condition is unmet: fail the run; was: skip it",
        'conditions: ~ tell: runs always; was unless {"judge": {"quiet": true}}',
        "conditions: ~ tell: when no attempts are left: skip it and all that depend on it; was: fail the run",
    ]


def test_predicates_are_told_in_their_words_and_by_their_jsonpath_where_those_are_equal() -> None:
    one, two = Predicate("$.score < 0", "score < 0"), Predicate("$.score < -1", "score < -1")
    assert texts(flow("f", step("a", predicate=one)), flow("f", step("a", predicate=two))) == [
        "conditions: ~ a: runs when score < -1; was when score < 0"
    ]
    same_words = Predicate("$.score < -1", "score < 0")
    assert texts(flow("f", step("a", predicate=one)), flow("f", step("a", predicate=same_words))) == [
        "conditions: ~ a: runs $.score < -1; was $.score < 0"
    ]


def test_options_are_told_from_old_to_new() -> None:
    old = flow("f", step("a"), step("b", retry_on=("ValueError",)))
    new = flow("f", step("a", queue="loud"), step("b", timeout=7), priority=1)
    assert texts(old, new) == [
        "options: ~ priority 0 -> 1",
        "options: ~ a: queue default -> 'loud'",
        "options: ~ b: retry_on [ValueError] -> default",
        "options: ~ b: timeout default -> 7",
    ]


def test_what_a_run_returns() -> None:
    assert texts(PLAIN, flow("hello", *PLAIN.steps)) == ["returns: ~ the leaf steps; was shout"]


def item(price: dict[str, Any]) -> dict[str, Any]:
    return listed(objects(price=price))


def priced(price: dict[str, Any], run: dict[str, Any] = STRING) -> FlowShape:
    return flow(
        "f",
        step("find", takes={"run": run}, gives=item(price)),
        step("total", "find", takes={"find": item(price)}, gives=NUMBER),
        returns="total",
        takes=run,
        gives=NUMBER,
    )


def test_a_changed_type_is_told_once_with_its_path() -> None:
    assert texts(priced(STRING), priced(NUMBER)) == ["types: ~ find returns $[*].price: number, was string"]
    assert texts(priced(NUMBER, STRING), priced(NUMBER, INTEGER)) == [
        "types: ~ the run's input $: integer, was string",
    ]
    (detail,) = compare(priced(STRING), priced(NUMBER))
    assert (detail.topic, detail.mark, detail.step, detail.subject, detail.path, detail.old, detail.new) == (
        Topic.TYPES,
        Mark.CHANGED,
        "find",
        "output",
        "$[*].price",
        "string",
        "number",
    )


def test_a_step_that_takes_another_type_than_is_returned_is_told_too() -> None:
    old, new = priced(NUMBER), priced(NUMBER)
    reader = step("total", "find", takes={"find": item({})}, gives=NUMBER)
    new = flow("f", new.steps[0], reader, returns="total", takes=STRING, gives=NUMBER)
    (detail,) = compare(old, new)
    assert (detail.step, detail.subject) == ("total", "input.find")
    assert detail.text.startswith("total takes find $[*].price: ")


def test_types_that_were_not_recorded_are_from_now_on() -> None:
    untyped = flow("f", step("find"), step("total", "find"), returns="total")
    assert texts(untyped, priced(NUMBER)) == ["types: + types are recorded from now on"]


def test_properties_come_and_go() -> None:
    old = flow("f", step("a", takes={}, gives=objects(x=STRING, y_=INTEGER)), takes=STRING, gives=STRING)
    new = flow("f", step("a", takes={}, gives=objects(x=STRING, z_=NUMBER)), takes=STRING, gives=STRING)
    assert texts(old, new) == [
        "types: ~ a returns $.y: removed, was integer, optional",
        "types: ~ a returns $.z: added, number, optional",
    ]
