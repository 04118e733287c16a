"""Each change is classed for the runs in flight and for callers, with all of the reasons, whatever the worst is."""

from typing import Any

import pytest
from pydantic import BaseModel, field_serializer

from flowdsl import Flow
from flowdsl.compiler.impact import ImpactClass, judge
from flowdsl.compiler.versions import FlowVersion
from flowdsl.model.conditions import Predicate
from flowdsl.model.shape import FlowShape, StepShape

from .shapes import INTEGER, NUMBER, PLAIN, STRING, flow, listed, objects, step, versions

SAFE, DRAIN, BREAKING = ImpactClass.SAFE, ImpactClass.NEEDS_DRAIN, ImpactClass.BREAKING
NULLABLE = {"anyOf": [STRING, {"type": "null"}]}
PAGE, SITE = objects(text=STRING), objects(url=STRING)


def fetch(gives: dict[str, Any] = PAGE, run: dict[str, Any] = SITE, **options: Any) -> StepShape:
    return step("fetch", takes={"run": run}, gives=gives, **options)


def count(
    takes: dict[str, Any] = PAGE, gives: dict[str, Any] = INTEGER, name: str = "fetch", **options: Any
) -> StepShape:
    return step("count", "fetch", takes={name: takes}, gives=gives, **options)


def site(
    *steps: StepShape, takes: dict[str, Any] = SITE, gives: dict[str, Any] = INTEGER, returns: str = "count"
) -> FlowShape:
    return flow("site", *steps, takes=takes, gives=gives, returns=returns)


OLD = site(fetch(), count())
LINKS = flow(
    "links",
    step("find", takes={"run": SITE}, gives=listed(STRING)),
    step("get", over="find", takes={"find": listed(STRING)}, gives=listed(PAGE)),
    takes=SITE,
    gives=objects(get=listed(PAGE)),
)
FIND, GET = LINKS.steps


def links(*steps: StepShape) -> FlowShape:
    return flow("links", *steps, takes=SITE, gives=objects(get=listed(PAGE)))


CHANGES: dict[str, tuple[FlowShape, FlowShape, ImpactClass, list[str]]] = {
    "nothing": (OLD, OLD, SAFE, []),
    "a step more": (
        OLD,
        site(fetch(), count(), step("log", "fetch", takes={"fetch": PAGE}, gives=STRING)),
        SAFE,
        ["runs in flight go on without what is added (log)"],
    ),
    "a step gone": (
        OLD,
        site(step("count", takes={"run": SITE}, gives=INTEGER)),
        DRAIN,
        [
            "step 'fetch' is gone, and runs of version 1 may still need it",
            "callers that read the output of step 'fetch' find none in new runs",
            "step 'count' takes run, in runs of version 1 it takes fetch",
        ],
    ),
    "another order of dependencies": (
        site(fetch(), count(), step("log", "fetch", "count")),
        site(fetch(), count(), step("log", "count", "fetch")),
        DRAIN,
        ["step 'log' takes count, fetch, in runs of version 1 it takes fetch, count"],
    ),
    "a map that is none any more": (
        LINKS,
        links(FIND, step("get", "find", takes={"find": listed(STRING)}, gives=listed(PAGE))),
        DRAIN,
        [
            "step 'get' is one task, in runs of version 1 it is a map over find",
            "step 'get' takes find, in runs of version 1 it takes nothing",
        ],
    ),
    "a map over another list": (
        LINKS,
        links(FIND, step("get", over="run", takes={"run": listed(STRING)}, gives=listed(PAGE))),
        DRAIN,
        ["step 'get' is a map over run, in runs of version 1 it is a map over find"],
    ),
    "another condition": (
        OLD,
        site(fetch(predicate=Predicate("$.url != \"\"", "url != ''")), count()),
        SAFE,
        ["runs in flight are judged by the conditions they began with"],
    ),
    "a property more, in writer and reader, that may be missing": (
        OLD,
        site(fetch(objects(text=STRING, lang=STRING)), count(objects(text=STRING, lang_=STRING))),
        SAFE,
        [],
    ),
    "a property more that the reader needs": (
        OLD,
        site(fetch(objects(text=STRING, lang=STRING)), count(objects(text=STRING, lang=STRING))),
        DRAIN,
        ["step 'count' cannot read what 'fetch' returned in runs of version 1: $.lang"],
    ),
    "a property less, that old code needs": (
        OLD,
        site(fetch(objects(url=STRING)), count(objects(url=STRING))),
        DRAIN,
        [
            "step 'count' cannot read what 'fetch' returned in runs of version 1: $.url",
            "step 'count' of version 1 cannot read what 'fetch' returns now: $.text",
            "callers that read the output of step 'fetch' by its old type cannot: $.text is missing (string, required)",
        ],
    ),
    "an element of a map's list of another type": (
        LINKS,
        links(
            step("find", takes={"run": SITE}, gives=listed(INTEGER)),
            step("get", over="find", takes={"find": listed(INTEGER)}, gives=listed(PAGE)),
        ),
        DRAIN,
        [
            "step 'get' cannot read what 'find' returned in runs of version 1: $[*] is string where integer is expected",
            "step 'get' of version 1 cannot read what 'find' returns now: $[*] is integer where string is expected",
        ],
    ),
    "a dependency that may have been skipped": (
        site(fetch(STRING, when_exhausted="skip"), count(NULLABLE, name="fetch?")),
        site(fetch(STRING), count(STRING)),
        DRAIN,
        ["step 'count' cannot read what 'fetch' returned in runs of version 1: it may have been skipped there"],
    ),
    "a wider input": (OLD, site(fetch(run=objects(url=STRING, depth_=INTEGER)), count(), takes=objects(url=STRING, depth_=INTEGER)), SAFE, []),
    "an input that needs more": (
        OLD,
        site(fetch(), count(), takes=objects(url=STRING, depth=INTEGER)),
        BREAKING,
        [
            "callers of version 1 send an input that is no longer accepted: $.depth",
            "callers with the fingerprint of version 1 are refused: replace them",
        ],
    ),
    "a narrower output": (site(fetch(), count(gives=NUMBER), gives=NUMBER), OLD, SAFE, []),
    "a wider output": (
        OLD,
        site(fetch(), count(gives=NUMBER), gives=NUMBER),
        BREAKING,
        [
            "callers of version 1 cannot read the run's output: $ is number where integer is expected",
            "callers with the fingerprint of version 1 are refused: replace them",
            "runs of version 1 would return another type, for 'count' does: $ is number where integer is expected",
        ],
    ),
    "another output step of a type that fits": (
        site(fetch(), count(), step("recount", "fetch", takes={"fetch": PAGE}, gives=INTEGER)),
        site(fetch(), count(), step("recount", "fetch", takes={"fetch": PAGE}, gives=INTEGER), returns="recount"),
        SAFE,
        [],
    ),
    "types that were not recorded": (
        PLAIN,
        flow(
            "hello",
            step("greet", takes={"run": STRING}, gives=STRING),
            step("shout", "greet", takes={"greet": STRING}, gives=STRING),
            returns="shout",
            takes=STRING,
            gives=STRING,
        ),
        BREAKING,
        [
            "the types of version 1 were not recorded: whether its callers fit is not known",
            "the types of version 1 were not recorded: whether new code fits its runs is not known",
            "callers with the fingerprint of version 1 are refused: replace them",
        ],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_is_classed_with_its_reasons(name: str) -> None:
    old, new, level, expected = CHANGES[name]
    impact = judge(versions(old), new)
    texts = [reason.text for reason in impact.reasons]
    assert impact.level is level, texts
    assert [reason for reason in expected if not any(text.startswith(reason) for text in texts)] == [], texts
    # Nothing else stands in the way than what is expected to.
    grave = [reason for reason in impact.reasons if reason.level is not SAFE and " the code of " not in reason.text]
    assert all(any(reason.text.startswith(text) for text in expected) for reason in grave), texts
    serves = not any(reason.level is DRAIN for reason in impact.reasons)
    accepts = not any(reason.level is BREAKING for reason in impact.reasons)
    assert (impact.serves_from, impact.accepts_from) == (1 if serves else 2, 1 if accepts else 2)


def test_a_new_flow_is_safe() -> None:
    impact = judge((), PLAIN)
    assert (impact.level, impact.serves_from, impact.accepts_from) == (SAFE, 1, 1)
    assert [reason.text for reason in impact.reasons] == ["no run of it exists yet"]


def test_all_reasons_are_listed_and_the_worst_decides() -> None:
    new = site(step("count", takes={"run": SITE}, gives=NUMBER), takes=objects(url=INTEGER), gives=NUMBER)
    impact = judge(versions(OLD), new)
    assert impact.level is BREAKING
    assert {reason.level for reason in impact.reasons} >= {BREAKING, DRAIN}


def test_callers_that_break_say_nothing_about_the_runs_in_flight() -> None:
    impact = judge(versions(OLD), site(fetch(), count(), takes=objects(url=STRING, depth=INTEGER)))
    assert (impact.level, impact.serves_from, impact.accepts_from) == (BREAKING, 1, 2)


def test_what_the_last_version_served_is_looked_at_version_by_version() -> None:
    # The second version can read both; the third reads only what the second one writes.
    both = {"anyOf": [INTEGER, STRING]}
    one = site(fetch(INTEGER), count(both))
    two = site(fetch(STRING), count(both))
    three = site(fetch(STRING), count(STRING))
    first, second = FlowVersion.of(1, one), FlowVersion.of(2, two, 1, 1)
    assert judge([first], two).serves_from == 1
    assert judge([FlowVersion.of(2, two)], three).level is SAFE
    impact = judge([first, second], three)
    assert (impact.level, impact.serves_from, impact.accepts_from) == (DRAIN, 2, 1)
    texts = [reason.text for reason in impact.reasons]
    assert "keep workers with the code of version 2 until the runs of version 1 have ended" in texts
    assert "workers with this code carry out the runs of version 2 too" in texts


def test_what_the_last_version_did_not_serve_is_not_looked_at() -> None:
    other = flow("site", step("gone"))
    impact = judge([FlowVersion.of(1, other), FlowVersion.of(2, OLD)], OLD)
    assert (impact.level, impact.serves_from, impact.accepts_from) == (SAFE, 2, 2)


def test_a_drain_concerns_all_versions_that_the_last_one_served() -> None:
    history = [FlowVersion.of(1, OLD), FlowVersion.of(2, OLD, 1, 1)]
    texts = [reason.text for reason in judge(history, flow("site", step("other"))).reasons]
    assert "keep workers with the code of version 2 until the runs of versions 1 to 2 have ended" in texts


def test_a_version_that_is_missing_ends_the_reach() -> None:
    impact = judge([FlowVersion.of(1, OLD), FlowVersion.of(3, OLD, 1, 1)], OLD)
    assert impact.serves_from == 3


class WithDefault(BaseModel):
    a: int
    b: int = 0


class WithoutDefault(BaseModel):
    a: int


class Untold(BaseModel):
    a: int

    @field_serializer("a")
    def written(self, a: int):  # type: ignore[no-untyped-def] # what it returns is not told: that is the point
        return a


class Text(BaseModel):
    a: str


def returning(output: type[BaseModel]) -> FlowShape:
    def made(x: int) -> BaseModel:
        raise NotImplementedError

    made.__annotations__["return"] = output
    return Flow("made", int).step(made).returns(made).shape()


def test_readers_of_an_output_are_judged_by_how_they_read_and_not_by_how_it_was_written() -> None:
    # Who reads the first one fills in what the second one lacks.
    assert judge(versions(returning(WithDefault)), returning(WithoutDefault)).level is SAFE
    assert judge(versions(returning(WithoutDefault)), returning(Text)).level is BREAKING
    # What a serializer writes is not known, but what its readers expect is.
    impact = judge(versions(returning(Untold)), returning(Text))
    assert impact.level is BREAKING
    assert any("$.a is string where" in reason.text for reason in impact.reasons)
