# mypy: disable-error-code="empty-body"
"""Conditions and what may be skipped: what they become, and every mistake in them."""

import enum
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import BaseModel

from flowdsl import DefinitionError, Flow, collect, maybe, named
from flowdsl.errors import InputError, Problem
from flowdsl.model.codec import decode_arguments, decode_output
from flowdsl.model.conditions import Conditions, Pattern
from flowdsl.model.problems import Code
from flowdsl.model.shape import FlowShape
from tests.names import readable

HERE = Path(__file__).name


class Site(BaseModel):
    url: str
    tags: list[str] = []


class Mood(BaseModel):
    score: float
    label: Literal["good", "bad"]


def judge(site: Site) -> Mood: ...
def escalate(site: Site, mood: Mood) -> str: ...
def pages(site: Site) -> list[str]: ...
def fetch(page: str) -> Site: ...
def save(mood: Mood, ticket: str | None) -> bool: ...
def size(found: list[Site] | None) -> int: ...
def end(text: str) -> str: ...
def tell(ticket: str | None) -> str: ...


# Wrong flows are what type checkers refuse, so they are written with a class that checkers do not know.
Untyped: Any = Flow


def flow(input: Any = Site, **options: Any) -> Any:
    return Untyped("careful", input, **options)


def problems_of(define: Callable[[], object]) -> tuple[Problem, ...]:
    with pytest.raises(DefinitionError) as caught:
        define()
    return caught.value.problems


def problem_of(define: Callable[[], object], code: Code) -> Problem:
    problems = problems_of(define)
    assert [problem.code for problem in problems] == [code], "\n".join(map(str, problems))
    assert problems[0].location is not None
    assert HERE in problems[0].location
    return problems[0]


# ---- what they become -----------------------------------------------------------------------------------------------


def test_conditions_and_modes_reach_the_shape() -> None:
    shape = (
        flow()
        .step(judge, when={"url": "x"}, when_unmet="fail")
        .step(escalate, Site, judge, when={"judge": {"label": "bad"}}, unless={"run": {"tags": ["quiet"]}})
        .step(save, judge, maybe(escalate), when_exhausted="skip-cascade")
        .shape()
    )
    assert [step.conditions() for step in shape.steps] == [
        {"required_input_pattern": {"url": "x"}, "when_unmet": "fail"},
        {
            "required_input_pattern": {"judge": {"label": "bad"}},
            "forbidden_input_pattern": {"run": {"tags": ["quiet"]}},
        },
        {"when_exhausted": "skip-cascade"},
    ]
    back = FlowShape.from_json(json.loads(json.dumps(shape.to_json())))
    assert (back, back.fingerprint) == (shape, shape.fingerprint)
    assert hash(back) == hash(shape)


def test_steps_without_conditions_say_nothing_of_them() -> None:
    from examples.hello_flow import hello_flow

    for step in hello_flow.shape().to_json()["steps"]:
        assert not set(step) & {"required_input_pattern", "forbidden_input_pattern", "input_predicate", "when_unmet"}


def test_defaults_that_are_spelt_out_change_nothing() -> None:
    plain = flow().step(judge).shape()
    assert flow().step(judge, when=None, unless=None, when_exhausted="fail").shape() == plain


@pytest.mark.parametrize(
    "options",
    [
        {"when": {"url": "x"}},
        {"unless": {"url": "x"}},
        {"when": {"url": "y"}},
        {"when": {"url": "x"}, "when_unmet": "fail"},
        {"when_exhausted": "skip"},
    ],
    ids=readable,
)
def test_each_condition_and_mode_is_structure(options: dict[str, Any]) -> None:
    shapes = {flow().step(judge, **given).shape().fingerprint for given in ({}, {"when": {"url": "z"}}, options)}
    assert len(shapes) == 3


def test_the_order_of_a_patterns_keys_does_not_matter() -> None:
    one, other = {"url": "x", "tags": ["a"]}, {"tags": ["a"], "url": "x"}
    assert flow().step(judge, when=one).shape().fingerprint == flow().step(judge, when=other).shape().fingerprint


def test_a_pattern_changed_after_its_step_was_defined_changes_nothing() -> None:
    pattern: dict[str, Any] = {"tags": ["a"]}
    defined = flow().step(judge, when=pattern)
    pattern["tags"].append("b")
    assert defined.shape().steps[0].required_input_pattern == Pattern.of({"tags": ["a"]})


def test_a_deadline_is_an_option_of_the_flow_and_no_structure() -> None:
    bounded = flow(deadline=60).step(judge).shape()
    assert bounded.options["deadline"] == 60
    assert bounded.to_json()["options"]["deadline"] == 60
    assert bounded.fingerprint == flow().step(judge).shape().fingerprint
    assert "deadline" not in flow().step(judge).shape().to_json()["options"]


@pytest.mark.parametrize("deadline", [0, -1, 1.5, "1h", True])
def test_a_deadline_is_at_least_one_whole_second(deadline: Any) -> None:
    problem = problem_of(lambda: flow(deadline=deadline), Code.BAD_OPTION)
    assert f"deadline={deadline!r}" in problem.what


def test_a_step_has_no_deadline_of_its_own() -> None:
    assert "unknown option 'deadline'" in problem_of(lambda: flow().step(judge, deadline=3), Code.BAD_OPTION).what


def test_conditions_know_by_which_options_a_step_may_be_skipped() -> None:
    always = Conditions()
    assert (always.skips_alone, always.cascades) == ((), ())
    conditional = replace(always, required=Pattern.of({"a": 1}))
    assert conditional.skips_alone == ("when_unmet",)
    both = replace(conditional, when_unmet="skip-cascade", when_exhausted="skip")
    assert (both.skips_alone, both.cascades) == (("when_exhausted",), ("when_unmet",))
    assert replace(both, required=None).cascades == ()


# ---- no patterns ----------------------------------------------------------------------------------------------------


class Colour(enum.Enum):
    RED = "red"


def endless() -> dict[str, Any]:
    pattern: dict[str, Any] = {}
    pattern["url"] = pattern
    return pattern


@pytest.mark.parametrize(
    ("pattern", "what"),
    [
        ("url", "when='url' is no pattern."),
        (["url"], "when=['url'] is no pattern."),
        (False, "when=False is no pattern."),
        (Site, f"when={Site!r} is no pattern."),
        (Site(url="x"), "when=Site(url='x', tags=[]) is no pattern."),
        ({}, "when={} is met by every input."),
        ({1: "x"}, "when is not JSON: the key 1 is no text."),
        ({"url": Colour.RED}, "when is not JSON: <Colour.RED: 'red'> is a Colour."),
        ({"url": ("x",)}, "when is not JSON: ('x',) is a tuple."),
        ({"url": float("nan")}, "when is not JSON: nan is no number of JSON."),
        ({"url": "\0"}, "when is not JSON: PostgreSQL cannot store the character U+0000."),
        ({"url\0": "x"}, "when is not JSON: PostgreSQL cannot store the character U+0000."),
        (endless(), "when is not JSON: it holds itself, or is nested too deep."),
    ],
    ids=readable,
)
def test_what_is_no_pattern_is_refused(pattern: Any, what: str) -> None:
    problem = problem_of(lambda: flow().step(judge, when=pattern), Code.NO_PATTERN)
    assert problem.what == what
    assert "dict" in problem.fix or "look for" in problem.fix


@pytest.mark.parametrize("text", ["\ud800", 10**5000], ids=["half a surrogate", "an endless number"])
def test_what_json_cannot_write_is_refused(text: Any) -> None:
    problem = problem_of(lambda: flow().step(judge, unless={"url": text}), Code.NO_PATTERN)
    assert problem.what.startswith("unless is not JSON: ")


def test_what_is_no_pattern_is_told_both_forms_of_a_condition() -> None:
    problem = problem_of(lambda: flow().step(judge, unless="url"), Code.NO_PATTERN)
    assert problem.fix == (
        "Give a dict the inputs have to contain, unless={'status': 404}, or a function of the step's inputs."
    )


def test_an_empty_unless_would_keep_the_step_from_ever_running() -> None:
    assert "from ever running" in problem_of(lambda: flow().step(judge, unless={}), Code.NO_PATTERN).what


# ---- patterns that cannot match -------------------------------------------------------------------------------------


def test_an_unknown_key_is_told_with_the_known_ones_and_the_mended_line() -> None:
    define = lambda: flow().step(judge).step(escalate, Site, judge, when={"judge": {"labl": "bad"}})  # noqa: E731
    problem = problem_of(define, Code.UNKNOWN_PATTERN_KEY)
    assert problem.step_slug == "escalate"
    assert problem.what == "when can never be met: Mood has no key 'labl' (in judge)."
    assert problem.fix == ("Did you mean 'label'? Its keys: score, label.\nWrite when={'judge': {'label': 'bad'}}.")


@pytest.mark.parametrize(
    ("pattern", "what", "fix"),
    [
        (
            {"judge": {"score": "0.5"}},
            "when can never be met: judge.score is float, never '0.5'.",
            "Write when={'judge': {'score': 0.5}}.",
        ),
        (
            {"judge": {"label": "Bad"}},
            "when can never be met: judge.label is 'good' or 'bad', never 'Bad'.",
            "Did you mean 'bad'?\nWrite when={'judge': {'label': 'bad'}}.",
        ),
        (
            {"run": {"tags": "quiet"}},
            "when can never be met: run.tags is list[str], never 'quiet'.",
            "Write when={'run': {'tags': ['quiet']}}.",
        ),
        (
            {"run": {"tags": ["quiet", 3]}},
            "when can never be met: run.tags.1 is str, never 3.",
            "Write when={'run': {'tags': ['quiet', '3']}}.",
        ),
        (
            {"run": {"url": None}},
            "when can never be met: run.url is str, never None.",
            "Look for a value of that type, or change the type.",
        ),
        ({"judge": None}, "when can never be met: judge is Mood, never None.", None),
        ({"judge": {"score": True}}, "when can never be met: judge.score is float, never True.", None),
    ],
    ids=readable,
)
def test_an_impossible_value_is_told_with_its_type_and_the_mended_line(
    pattern: dict[str, Any], what: str, fix: str | None
) -> None:
    define = lambda: flow().step(judge).step(escalate, Site, judge, when=pattern)  # noqa: E731
    problem = problem_of(define, Code.IMPOSSIBLE_PATTERN)
    assert problem.what == what
    assert fix is None or problem.fix == fix


def test_every_place_of_a_pattern_is_told() -> None:
    define = lambda: flow().step(judge, when={"url": 3, "tag": ["x"]}, unless={"tags": [None]})  # noqa: E731
    assert [(problem.code, problem.what) for problem in problems_of(define)] == [
        (Code.UNKNOWN_PATTERN_KEY, "when can never be met: Site has no key 'tag' (in the run's input)."),
        (Code.IMPOSSIBLE_PATTERN, "when can never be met: url of the run's input is str, never 3."),
        (Code.IMPOSSIBLE_PATTERN, "unless can never apply: tags.0 of the run's input is str, never None."),
    ]


def test_a_key_that_is_no_dependency_is_told_with_the_dependencies() -> None:
    define = lambda: flow().step(judge).step(escalate, Site, judge, when={"jugde": {"score": 1}})  # noqa: E731
    problem = problem_of(define, Code.UNKNOWN_PATTERN_KEY)
    assert problem.what == "when can never be met: the step has no dependency 'jugde'."
    assert problem.fix == "Did you mean 'judge'? Its inputs: judge, run.\nWrite when={'judge': {'score': 1}}."
    define = lambda: flow().step(judge).step(escalate, Site, judge, when={"nothing": 1})  # noqa: E731
    assert problem_of(define, Code.UNKNOWN_PATTERN_KEY).fix == (
        "The first keys of the pattern are the step's inputs: judge, run."
    )


def test_a_forgotten_level_of_the_dependency_is_seen() -> None:
    define = lambda: flow().step(judge).step(escalate, Site, judge, when={"label": "bad"})  # noqa: E731
    problem = problem_of(define, Code.UNKNOWN_PATTERN_KEY)
    assert problem.fix == "'label' is a key of 'judge'.\nWrite when={'judge': {'label': 'bad'}}."


@pytest.mark.parametrize("deps", [(), (pages,)], ids=["a root step", "another step"])
def test_a_pattern_about_a_step_that_is_no_dependency_is_told_to_add_it(deps: tuple[Any, ...]) -> None:
    def after(value: Any) -> str: ...

    define = lambda: flow().step(judge).array(pages).step(after, *deps, when={"judge": {"label": "bad"}})  # noqa: E731
    problem = problem_of(define, Code.UNKNOWN_PATTERN_KEY)
    assert problem.what == (
        "when can never be met: the step does not depend on 'judge', so its output is not looked at."
    )
    assert problem.fix == "Add judge to the dependencies, and a parameter to the handler."


def test_a_root_step_that_looks_for_run_is_told_to_leave_it_out() -> None:
    problem = problem_of(lambda: flow().step(judge, when={"run": {"url": "x"}}), Code.UNKNOWN_PATTERN_KEY)
    assert problem.what == "when can never be met: a step without dependencies is judged by the run's input itself."
    assert problem.fix == "Leave out the key 'run': when={'url': 'x'}."


@pytest.mark.parametrize(("declared", "name"), [(list[str], "list[str]"), (str, "str"), (int | None, "int or None")])
def test_an_input_without_keys_matches_no_pattern(declared: Any, name: str) -> None:
    def first(value: declared) -> str: ...

    problem = problem_of(lambda: flow(declared).step(first, when={"run": 1}), Code.IMPOSSIBLE_PATTERN)
    assert problem.what == f"when can never be met: the run's input is {name}, which has no keys."


def test_a_pattern_may_look_at_every_dependency_and_at_the_run() -> None:
    defined = (
        flow()
        .step(judge)
        .array(pages)
        .map(fetch, pages, when={"pages": ["/about"], "run": {"url": "x"}}, when_unmet="fail")
        .step(escalate, Site, judge, unless={"judge": {"score": 1}})
        .step(save, judge, maybe(escalate), when={"escalate": "yes", "judge": {}})
        .step(size, collect(fetch), when={"fetch": [{"url": "x"}], "run": {"tags": []}})
    )
    assert len(defined.steps) == 6


def test_a_dependency_of_unknown_type_matches_anything() -> None:
    def anything(site: Site) -> Any: ...
    def after(value: Any) -> int: ...

    flow().step(anything).step(after, anything, when={"anything": {"at": ["all"]}})


def test_conditions_of_a_step_with_wrong_dependencies_are_checked_without_a_second_mistake() -> None:
    def nowhere(site: Site) -> Mood: ...

    define = lambda: flow().step(escalate, Site, nowhere, when={"nowhere": {"x": 1}, "run": {"url": "x"}})  # noqa: E731
    problem_of(define, Code.UNKNOWN_DEPENDENCY)


# ---- modes ----------------------------------------------------------------------------------------------------------


def test_an_unknown_mode_is_told_with_the_known_ones() -> None:
    define = lambda: flow().step(judge, when={"url": "x"}, when_unmet="skip_cascade")  # noqa: E731
    problem = problem_of(define, Code.BAD_OPTION)
    assert problem.what == "when_unmet='skip_cascade' is no mode."
    assert problem.fix == (
        "Did you mean 'skip-cascade'? It is one of 'skip', 'skip-cascade', 'fail'; without it 'skip'."
    )
    assert "without it 'fail'" in problem_of(lambda: flow().step(judge, when_exhausted=3), Code.BAD_OPTION).fix


def test_a_mode_without_a_condition_is_pointless() -> None:
    problem = problem_of(lambda: flow().step(judge, when_unmet="skip"), Code.POINTLESS_MODE)
    assert problem.what == "when_unmet says what follows an unmet condition, but the step has none."


def test_a_misspelt_condition_is_told_by_the_name_of_the_right_one() -> None:
    problem = problem_of(lambda: flow().step(judge, unles={"url": "x"}), Code.BAD_OPTION)
    assert problem.fix == "Did you mean 'unless'?"
    problem = problem_of(lambda: flow().step(judge, when_unmett="skip"), Code.BAD_OPTION)
    assert problem.fix == "Did you mean 'when_unmet'?"


# ---- maybe ----------------------------------------------------------------------------------------------------------

SKIPPED: list[dict[str, Any]] = [
    {"when": {"judge": {"score": 1}}},
    {"unless": {"judge": {"score": 1}}, "when_unmet": "skip"},
    {"when_exhausted": "skip"},
    {"when": {"judge": {"score": 1}}, "when_unmet": "skip-cascade", "when_exhausted": "skip"},
]
CASCADED: list[dict[str, Any]] = [
    {"when": {"judge": {"score": 1}}, "when_unmet": "skip-cascade"},
    {"when_exhausted": "skip-cascade"},
]
NEVER_SKIPPED: list[dict[str, Any]] = [{}, {"when": {"judge": {"score": 1}}, "when_unmet": "fail"}]


def careful(**options: Any) -> Any:
    return flow().step(judge).step(escalate, Site, judge, **options)


@pytest.mark.parametrize("options", SKIPPED, ids=readable)
def test_what_can_be_skipped_has_to_be_asked_for_with_maybe(options: dict[str, Any]) -> None:
    problem = problem_of(lambda: careful(**options).step(save, judge, escalate), Code.MAYBE_FORGOTTEN)
    assert problem.what.startswith("'escalate' can be skipped (when_")
    assert problem.fix.startswith(
        "Depend on maybe(escalate) and let its parameter take str | None; or give 'escalate' "
    )
    step = careful(**options).step(save, judge, maybe(escalate)).steps[2]
    assert [(dep.slug, dep.type, dep.is_maybe) for dep in step.deps] == [
        ("judge", Mood, False),
        ("escalate", str | None, True),
    ]


@pytest.mark.parametrize("options", [*CASCADED, *NEVER_SKIPPED], ids=readable)
def test_what_is_only_skipped_together_with_its_dependents_needs_no_maybe(options: dict[str, Any]) -> None:
    assert careful(**options).step(save, judge, escalate).steps[2].deps[1].is_maybe is False


@pytest.mark.parametrize("options", NEVER_SKIPPED, ids=readable)
def test_maybe_of_what_is_never_skipped_is_refused(options: dict[str, Any]) -> None:
    problem = problem_of(lambda: careful(**options).step(save, judge, maybe(escalate)), Code.MAYBE_WITHOUT_SKIP)
    assert problem.what == "maybe(escalate) is never None: 'escalate' is never skipped."
    assert problem.fix == "Depend on escalate itself."


def test_maybe_of_the_runs_input_is_refused() -> None:
    define = lambda: flow().step(judge).step(escalate, maybe(Site), judge)  # noqa: E731
    problem = problem_of(define, Code.MAYBE_WITHOUT_SKIP)
    assert problem.what == "maybe(Site) is never None: the run's input is always there."


def test_a_parameter_that_takes_no_none_is_refused() -> None:
    define = lambda: careful(when_exhausted="skip").step(end, maybe(escalate))  # noqa: E731
    problem = problem_of(define, Code.TYPE_MISMATCH)
    assert problem.what == "parameter 'text' takes str, but maybe(escalate) is str | None."
    assert problem.fix.startswith("Change the annotation to str | None")


def test_a_map_over_a_skipped_step_needs_no_maybe() -> None:
    defined = flow().array(pages, when_exhausted="skip").map(fetch, pages).step(size, collect(fetch))
    assert not defined.step_for(fetch).can_be_skipped
    define = lambda: flow().array(pages, when_exhausted="skip").map(fetch, maybe(pages))  # noqa: E731
    problem = problem_of(define, Code.MAYBE_WITHOUT_SKIP)
    assert problem.what == "maybe(pages) is never None: a map over 'pages' has no tasks when that was skipped."


def test_further_dependencies_of_a_map_follow_the_rule() -> None:
    def note(page: str, mood: Mood | None) -> str: ...

    start = flow().step(judge, when_exhausted="skip").array(pages)
    problem_of(lambda: start.map(note, pages, judge), Code.MAYBE_FORGOTTEN)
    assert start.map(note, pages, maybe(judge)).steps[2].deps[0].is_maybe


def test_all_results_of_a_map_that_can_be_skipped_are_maybe_collect() -> None:
    start = flow().array(pages).map(fetch, pages, when_exhausted="skip")
    assert start.step(size, maybe(collect(fetch))).steps[2].deps[0].type == list[Site] | None
    problem = problem_of(lambda: start.step(size, collect(fetch)), Code.MAYBE_FORGOTTEN)
    assert problem.fix.startswith("Depend on maybe(collect(fetch)) and let its parameter take list[Site] | None")
    problem = problem_of(lambda: start.step(size, maybe(fetch)), Code.COLLECT_FORGOTTEN)
    assert problem.fix == "Depend on maybe(collect(fetch))."


@pytest.mark.parametrize("ref", [collect(maybe(fetch)), maybe(maybe(fetch)), collect(collect(fetch))], ids=readable)
def test_collect_and_maybe_the_wrong_way_round_are_told(ref: Any) -> None:
    start = flow().array(pages).map(fetch, pages, when_exhausted="skip")
    problem = problem_of(lambda: start.step(size, ref), Code.UNKNOWN_DEPENDENCY)
    assert problem.fix == "collect and maybe take a handler; both together are maybe(collect(handler))."


def test_maybe_is_no_handler() -> None:
    problem = problem_of(lambda: flow().step(maybe(judge), slug="it"), Code.BAD_HANDLER)
    assert problem.what == "maybe(…) is no handler."


def test_maybe_stands_for_a_result_and_cannot_be_called() -> None:
    with pytest.raises(TypeError, match=r"maybe\(collect\(fetch\)\) stands for results"):
        maybe(collect(fetch))()


def test_a_named_step_can_be_asked_for_with_maybe() -> None:
    again = named("again", escalate)
    defined = flow().step(judge).step(again, Site, judge, when_exhausted="skip").step(tell, maybe(again))
    assert defined.steps[2].deps[0].slug == "again"


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"when": lambda site, mood: mood.score}, Code.UNTRACEABLE_PREDICATE),
        ({"unless": {}}, Code.NO_PATTERN),
        ({"when": {"jugde": 1}}, Code.UNKNOWN_PATTERN_KEY),
        ({"when": {"judge": {"score": 1}}, "when_unmet": "stop"}, Code.BAD_OPTION),
        ({"when_exhausted": "stop"}, Code.BAD_OPTION),
    ],
    ids=readable,
)
def test_a_mistake_in_a_condition_is_told_once_and_not_again_where_maybe_is_used(
    options: dict[str, Any], code: Code
) -> None:
    define = lambda: careful(**options).step(save, judge, maybe(escalate)).returns(maybe(escalate))  # noqa: E731
    problem_of(define, code)


def test_a_mode_that_is_none_says_nothing_about_maybe() -> None:
    define = lambda: careful(when_exhausted="stop").step(save, judge, escalate).returns(escalate)  # noqa: E731
    problem_of(define, Code.BAD_OPTION)


def test_no_step_that_may_be_missing_is_offered_for_another_parameter() -> None:
    define = lambda: careful(when_exhausted="skip").step(end, maybe(escalate))  # noqa: E731
    assert problem_of(define, Code.TYPE_MISMATCH).fix == "Change the annotation to str | None."


# ---- outputs --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [*SKIPPED, *CASCADED], ids=readable)
def test_an_output_that_can_be_skipped_in_any_way_needs_maybe(options: dict[str, Any]) -> None:
    problem = problem_of(lambda: careful(**options).returns(escalate), Code.MAYBE_FORGOTTEN)
    assert problem.fix == "Return maybe(escalate): the run's output is str | None then."
    returned = careful(**options).returns(maybe(escalate))
    assert (returned.output_step, returned.output_type(maybe(escalate))) == ("escalate", str | None)
    assert decode_output(returned, b"null") is None
    assert decode_output(returned, b'"x"') == "x"


def test_an_output_that_is_skipped_with_a_step_before_it_needs_maybe() -> None:
    defined = flow().step(judge, when_exhausted="skip-cascade").step(escalate, Site, judge).step(end, escalate)
    problem = problem_of(lambda: defined.returns(end), Code.MAYBE_FORGOTTEN)
    assert problem.what == ("'end' can be skipped (with 'judge', on which it depends), and then the run has no output.")
    assert defined.returns(maybe(end)).output_step == "end"
    assert decode_output(defined.returns(maybe(end)), b"null") is None


def test_maybe_of_an_output_that_is_always_there_is_refused() -> None:
    problem = problem_of(lambda: careful().returns(maybe(escalate)), Code.MAYBE_WITHOUT_SKIP)
    assert problem.fix == "Return escalate itself."
    problem_of(lambda: careful(when_exhausted="skip").returns(maybe(end)), Code.UNKNOWN_STEP)


def test_the_output_of_a_whole_map_may_be_none() -> None:
    returned = flow().array(pages).map(fetch, pages, when_exhausted="skip").returns(maybe(collect(fetch)))
    assert returned.output_type(maybe(collect(fetch))) == list[Site] | None
    assert decode_output(returned, b"null") is None
    assert decode_output(returned, b'[{"url":"x"}]') == [Site(url="x")]


def test_only_the_output_asked_for_with_maybe_may_be_null() -> None:
    with pytest.raises(InputError):
        decode_output(careful().returns(escalate), b"null")


def test_maybe_names_the_step_of_an_output_to_be_read() -> None:
    defined = careful(when_exhausted="skip")
    assert defined.step_read_by(maybe(escalate)).slug == defined.step_read_by(escalate).slug == "escalate"


# ---- inputs ---------------------------------------------------------------------------------------------------------


def test_an_absent_input_is_none_only_where_it_may_be() -> None:
    step = careful(when_exhausted="skip").step(save, judge, maybe(escalate)).steps[2]
    mood = b'"judge":{"score":1,"label":"bad"}'
    assert decode_arguments(step, b"{%s}" % mood, None)[1] is None
    assert decode_arguments(step, b'{%s,"escalate":"t"}' % mood, None)[1] == "t"
    assert decode_arguments(step, b'{%s,"escalate":null}' % mood, None)[1] is None
    with pytest.raises(InputError, match="judge"):
        decode_arguments(step, b'{"escalate":"t"}', None)
    with pytest.raises(InputError, match="escalate"):
        decode_arguments(step, b'{%s,"escalate":3}' % mood, None)


def test_the_input_model_has_a_default_where_a_step_may_be_skipped() -> None:
    defined = careful(when_exhausted="skip").step(save, judge, maybe(escalate))
    fields = defined.input_model(save).model_fields
    assert (fields["judge"].is_required(), fields["escalate"].is_required()) == (True, False)
    made = defined.input_model(save).model_validate({"judge": {"score": 1, "label": "bad"}})
    assert made.model_dump()["escalate"] is None


def test_the_input_model_finds_an_optional_step_under_its_slug() -> None:
    again = named("_again", escalate)
    defined = flow().step(judge).step(again, Site, judge, when_exhausted="skip").step(tell, maybe(again))
    model = defined.input_model(tell)
    assert model.model_validate({"_again": "x"}).model_dump() == {"_again": "x"}
    assert model.model_validate({}).model_dump() == {"_again": None}
