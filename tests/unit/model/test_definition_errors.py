# mypy: disable-error-code="empty-body"
import functools
import inspect
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from flowdsl import Context, DefinitionError, Flow, collect, named
from flowdsl.errors import Problem
from flowdsl.model.problems import Code

from .handlers_for_tests import Mood, Page, Site, fetch, links, save, sentiment, shout, summary, website

if TYPE_CHECKING:
    from decimal import Decimal as OnlyForCheckers

HERE = Path(__file__).name


# Wrong flows are what type checkers refuse, so they are written with a class that checkers do not know.
Untyped: Any = Flow


def flow(slug: Any = "invoice", input: Any = Site, **options: Any) -> Any:
    return Untyped(slug, input, **options)


def problems_of(define: Callable[[], object]) -> tuple[Problem, ...]:
    with pytest.raises(DefinitionError) as caught:
        define()
    return caught.value.problems


def problem_of(define: Callable[[], object], code: Code) -> Problem:
    problems = problems_of(define)
    assert [problem.code for problem in problems] == [code], "\n".join(map(str, problems))
    problem = problems[0]
    assert problem.location is not None
    assert HERE in problem.location
    return problem


def here() -> int:
    frame = inspect.currentframe()
    assert frame is not None
    assert frame.f_back is not None
    return frame.f_back.f_lineno


# ---- the text -------------------------------------------------------------------------------------------------------


def test_one_problem_says_code_flow_step_place_what_and_fix() -> None:
    def fetch_user(site: Site) -> str: ...
    def fetch_usr(site: Site) -> str: ...
    def charge(user: str) -> bool: ...

    line = here() + 2
    with pytest.raises(DefinitionError) as caught:
        flow().step(website).step(fetch_user).step(charge, fetch_usr)
    text = str(caught.value)
    location = caught.value.problems[0].location
    assert location is not None
    assert location.endswith(f"{HERE}:{line}")
    assert text == (
        f"PF-E102 flow 'invoice', step 'charge' ({location}): unknown dependency 'fetch_usr'.\n"
        "        Did you mean 'fetch_user'? Steps defined before it: website, fetch_user."
    )


def test_several_problems_are_counted_and_told_in_order() -> None:
    with pytest.raises(DefinitionError) as caught:
        Untyped("invoice", Site, timeout=0).step(sentiment).step(website, website)
    text = str(caught.value)
    assert text.startswith("3 problems\nPF-E112 ")
    assert [line[:7] for line in text.splitlines() if line.startswith("PF-")] == ["PF-E112", "PF-E105", "PF-E102"]


# ---- dependencies ---------------------------------------------------------------------------------------------------


def test_unknown_dependency_without_a_resembling_step_lists_the_steps() -> None:
    problem = problem_of(lambda: flow().step(website).step(sentiment, shout), Code.UNKNOWN_DEPENDENCY)
    assert problem.what == "unknown dependency 'shout'."
    assert problem.fix == "Steps defined before it: website."


def test_unknown_dependency_of_the_first_step_says_that_there_is_none() -> None:
    problem = problem_of(lambda: flow().step(sentiment, website), Code.UNKNOWN_DEPENDENCY)
    assert problem.fix == "Steps defined before it: none."


def test_dependency_that_is_defined_later_is_named_as_such() -> None:
    line = here() + 1
    problem = problem_of(lambda: flow().step(sentiment, website).step(website), Code.UNKNOWN_DEPENDENCY)
    assert "Step 'website' is defined later" in problem.fix
    assert f"{HERE}:{line}" in problem.fix
    assert "move it before this one" in problem.fix


def test_collect_of_a_map_that_is_defined_later_is_named_as_such() -> None:
    define = lambda: flow(input=list[str]).step(pages_count, collect(fetch)).map(fetch)  # noqa: E731
    assert "'fetch' is defined later" in problem_of(define, Code.UNKNOWN_DEPENDENCY).fix


def test_step_that_depends_on_itself_is_refused() -> None:
    def again(text: str) -> str: ...

    problem = problem_of(lambda: flow(input=str).step(again, again), Code.UNKNOWN_DEPENDENCY)
    assert problem.fix == "A step cannot depend on itself."


def test_dependency_given_as_a_name_asks_for_the_function() -> None:
    problem = problem_of(lambda: flow().step(website).step(sentiment, "website"), Code.UNKNOWN_DEPENDENCY)
    assert problem.fix.startswith("Pass the function itself")


class Hostile:
    def __eq__(self, other: object) -> bool:
        raise RuntimeError("not to be compared")

    __hash__ = None  # type: ignore[assignment]

    def __call__(self, site: Site) -> int: ...


class HostileClass(type):
    def __eq__(cls, other: object) -> bool:
        raise RuntimeError("not to be compared")

    __hash__ = type.__hash__


class OfHostileClass(metaclass=HostileClass): ...


@pytest.mark.parametrize("dep", [Hostile(), named("hostile", Hostile()), OfHostileClass])
def test_dependency_that_refuses_to_be_compared_is_told_as_unknown(dep: Any) -> None:
    problem_of(lambda: flow().step(website).step(sentiment, dep), Code.UNKNOWN_DEPENDENCY)


@pytest.mark.parametrize("handler", [Hostile(), named("hostile", Hostile())])
def test_handler_that_refuses_to_be_compared_is_told_as_unusable(handler: Any) -> None:
    problem_of(lambda: flow().step(website).step(handler, website), Code.BAD_HANDLER)


def test_dependency_on_a_class_that_is_not_the_input_says_so() -> None:
    problem = problem_of(lambda: flow().step(website).step(sentiment, Page), Code.UNKNOWN_DEPENDENCY)
    assert "not the flow's input type" in problem.fix


def test_dependency_on_a_function_that_is_there_under_a_name_suggests_named() -> None:
    define = lambda: flow().step(named("start", website)).step(sentiment, website)  # noqa: E731
    assert "named('start', website)" in problem_of(define, Code.UNKNOWN_DEPENDENCY).fix


@pytest.mark.parametrize("dep", [7, None, object(), Any, [website], {"a": 1}])
def test_any_other_object_as_a_dependency_is_unknown(dep: object) -> None:
    problem_of(lambda: flow().step(website).step(sentiment, dep), Code.UNKNOWN_DEPENDENCY)


def test_dependency_taken_twice_is_refused() -> None:
    def compare(one: Page, other: Page) -> bool: ...

    problem = problem_of(lambda: flow().step(website).step(compare, website, website), Code.DUPLICATE_DEPENDENCY)
    assert "'website' twice" in problem.what


def test_list_that_is_mapped_over_cannot_also_be_taken_whole() -> None:
    def compare(one: str, all_links: list[str]) -> bool: ...

    define = lambda: flow().step(website).array(links, website).map(compare, links, links)  # noqa: E731
    problem_of(define, Code.DUPLICATE_DEPENDENCY)


def test_run_input_taken_twice_is_refused() -> None:
    def compare(one: Site, other: Site) -> bool: ...

    problem = problem_of(lambda: flow().step(compare, Site, Site), Code.DUPLICATE_DEPENDENCY)
    assert "the run's input twice" in problem.what


def test_eleven_dependencies_are_too_many() -> None:
    def first(site: Site) -> int: ...
    def add(*numbers: int) -> int: ...

    refs = [named(f"n{index}", first) for index in range(11)]
    broad = flow()
    for ref in refs:
        broad = broad.step(ref)
    assert broad.step(add, *refs[:10]).shape()
    problem = problem_of(lambda: broad.step(add, *refs), Code.TOO_MANY_DEPENDENCIES)
    assert "11 dependencies, at most 10" in problem.what


# ---- types ----------------------------------------------------------------------------------------------------------


def test_type_mismatch_shows_both_types_and_who_would_fit() -> None:
    problem = problem_of(
        lambda: flow().step(website).step(summary, website).step(sentiment, summary), Code.TYPE_MISMATCH
    )
    assert problem.what == "parameter 'page' takes Page, but 'summary' is str."
    assert problem.fix == "Change the annotation to str, or depend on a step that gives Page: website."


def test_each_parameter_that_does_not_fit_is_told() -> None:
    define = lambda: (  # noqa: E731
        flow().step(website).step(summary, website).step(save, summary, website, website_again, summary)
    )
    mismatches = [problem for problem in problems_of(define) if problem.code == Code.TYPE_MISMATCH]
    assert [problem.what.partition(",")[0] for problem in mismatches] == [
        "parameter 'site' takes Site",
        "parameter 'mood' takes Mood",
        "parameter 'pages' takes list[Page]",
    ]


def test_root_step_that_does_not_take_the_input_is_told() -> None:
    problem = problem_of(lambda: flow().step(sentiment), Code.TYPE_MISMATCH)
    assert problem.what == "parameter 'page' takes Page, but the run's input is Site."


def test_map_whose_element_does_not_fit_is_told() -> None:
    define = lambda: flow().step(website).array(links, website).map(sentiment, links)  # noqa: E731
    problem = problem_of(define, Code.TYPE_MISMATCH)
    assert problem.what == "parameter 'page' takes Page, but an element of 'links' is str."


def test_list_is_invariant_as_in_type_checkers() -> None:
    def numbers(site: Site) -> list[int]: ...
    def total(numbers: list[float]) -> float: ...

    problem_of(lambda: flow().step(numbers).step(total, numbers), Code.TYPE_MISMATCH)


def test_optional_output_does_not_fit_a_parameter_that_is_not_optional() -> None:
    def maybe_page(site: Site) -> Page | None: ...

    problem = problem_of(lambda: flow().step(maybe_page).step(sentiment, maybe_page), Code.TYPE_MISMATCH)
    assert "'maybe_page' is Page | None" in problem.what


def test_too_few_dependencies_name_parameters_and_values() -> None:
    problem = problem_of(lambda: flow().step(website).step(save, Site, website), Code.WRONG_PARAMETER_COUNT)
    assert problem.what == (
        "its handler takes 4 parameters (site, mood, text, pages), but is given 2 values (Site, website)."
    )


def test_too_many_dependencies_for_the_handler_are_told() -> None:
    problem = problem_of(lambda: flow().step(website).step(sentiment, website, Site), Code.WRONG_PARAMETER_COUNT)
    assert "takes 1 parameter (page), but is given 2 values (website, Site)" in problem.what


def test_handler_without_parameters_is_told() -> None:
    def nothing() -> int: ...

    problem = problem_of(lambda: flow().step(nothing), Code.WRONG_PARAMETER_COUNT)
    assert "takes 0 parameters (none), but is given 1 value (the run's input)" in problem.what


def test_context_that_is_not_last_is_told() -> None:
    def early(ctx: Context, page: Page) -> int: ...

    problem = problem_of(lambda: flow().step(website).step(early, website), Code.WRONG_PARAMETER_COUNT)
    assert "only a Context may come after them" in problem.fix


def test_parameters_that_look_swapped_are_told_when_types_cannot_tell() -> None:
    def title(site: Site) -> str: ...
    def text(site: Site) -> str: ...
    def render(title: str, text: str) -> str: ...

    problem = problem_of(lambda: flow().step(title).step(text).step(render, text, title), Code.SWAPPED_PARAMETERS)
    assert problem.what == "parameter 'title' is given 'text', not 'title'."
    assert flow().step(title).step(text).step(render, title, text).shape()


def test_parameter_named_like_a_step_that_is_no_dependency_of_it_is_fine() -> None:
    def title(site: Site) -> str: ...
    def text(site: Site) -> str: ...
    def render(title: str) -> str: ...

    assert flow().step(title).step(text).step(render, text).shape()


# ---- maps and arrays ------------------------------------------------------------------------------------------------


def pages_count(pages: list[Page]) -> int: ...
def website_again(site: Site) -> Mood: ...


def test_map_over_no_list_is_refused() -> None:
    problem = problem_of(lambda: flow().step(website).map(sentiment, website), Code.MAP_OVER_NO_LIST)
    assert problem.what == "a map needs a list, but 'website' is Page."


@pytest.mark.parametrize("input", [str, tuple[str, ...], dict[str, str], list[str] | None, set[str]])
def test_root_map_over_an_input_that_is_no_list_is_refused(input: object) -> None:
    def anything(word: Any) -> str: ...

    problem_of(lambda: flow(input=input).map(anything), Code.MAP_OVER_NO_LIST)


def test_map_step_without_collect_is_refused() -> None:
    base = flow().step(website).array(links, website).map(fetch, links)
    problem = problem_of(lambda: base.step(pages_count, fetch), Code.COLLECT_FORGOTTEN)
    assert problem.fix == "Depend on collect(fetch)."
    assert base.step(pages_count, collect(fetch)).shape()


def test_map_over_a_map_step_asks_for_collect() -> None:
    base = flow().step(website).array(links, website).map(fetch, links)
    problem = problem_of(lambda: base.map(sentiment, fetch), Code.COLLECT_FORGOTTEN)
    assert problem.fix == "Depend on collect(fetch), to map over its results."


def test_collect_of_a_step_of_one_task_is_refused() -> None:
    define = lambda: flow().step(website).step(pages_count, collect(website))  # noqa: E731
    assert "takes the results of a map step" in problem_of(define, Code.COLLECT_OF_NO_MAP).what


def test_array_step_whose_handler_returns_no_list_is_refused() -> None:
    problem = problem_of(lambda: flow().array(website), Code.ARRAY_RETURNS_NO_LIST)
    assert problem.what == "an array step has to return a list, but its handler returns Page."


# ---- slugs ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("slug", ["", "run", "2nd", "with space", "dash-ed", "ünï", "a" * 129, "x\n", "a.b"])
def test_bad_slugs_of_flows_and_steps_are_refused(slug: str) -> None:
    problem_of(lambda: flow(slug), Code.BAD_SLUG)
    problem_of(lambda: flow().step(website, slug=slug), Code.BAD_SLUG)
    problem_of(lambda: flow().step(named(slug, website)), Code.BAD_SLUG)


@pytest.mark.parametrize("slug", ["a", "_", "Run", "A_1", "a" * 128, "copy", "class"])
def test_good_slugs_are_taken(slug: str) -> None:
    assert flow(slug).step(website, slug=slug).shape().slug == slug


def test_slug_that_is_no_text_is_refused() -> None:
    problem_of(lambda: flow().step(website, slug=7), Code.BAD_SLUG)
    problem_of(lambda: flow(7), Code.BAD_SLUG)


def test_lambda_has_no_name_for_a_step() -> None:
    codes = [problem.code for problem in problems_of(lambda: flow().step(lambda site: 1))]
    assert Code.BAD_SLUG in codes


def test_second_step_of_a_slug_is_refused_with_its_first_place() -> None:
    line = here() + 1
    problem = problem_of(lambda: flow().step(website).step(sentiment, website, slug="website"), Code.DUPLICATE_STEP)
    assert "there is a step 'website' already" in problem.what
    assert f"{HERE}:{line}" in problem.what


def test_same_handler_twice_asks_for_named() -> None:
    problem = problem_of(lambda: flow().step(website).step(website), Code.DUPLICATE_STEP)
    assert "named('website_2', website)" in problem.fix


def test_same_handler_under_two_slugs_asks_for_named() -> None:
    problem = problem_of(lambda: flow().step(website).step(website, slug="other"), Code.DUPLICATE_STEP)
    assert "named('other', website)" in problem.fix


def test_named_and_slug_cannot_disagree() -> None:
    problem_of(lambda: flow().step(named("one", website), slug="two"), Code.BAD_SLUG)
    assert flow().step(named("one", website), slug="one").shape()


# ---- handlers -------------------------------------------------------------------------------------------------------


def test_missing_annotations_name_the_parameter() -> None:
    def half(site: Site, page) -> str: ...  # type: ignore[no-untyped-def]

    problem = problem_of(lambda: flow().step(website).step(half, Site, website), Code.MISSING_ANNOTATION)
    assert problem.what == "parameter 'page' has no annotation."


def test_missing_return_annotation_is_told() -> None:
    def endless(site: Site): ...  # type: ignore[no-untyped-def]

    assert "return type" in problem_of(lambda: flow().step(endless), Code.MISSING_ANNOTATION).what


def test_trailing_parameter_without_annotation_is_told_as_such() -> None:
    def late(site: Site, ctx) -> str: ...  # type: ignore[no-untyped-def]

    assert "'ctx'" in problem_of(lambda: flow().step(late), Code.MISSING_ANNOTATION).what


def test_name_that_only_checkers_know_is_told_with_its_parameter() -> None:
    def pay(site: Site, amount: "OnlyForCheckers") -> str: ...

    define = lambda: flow().step(website).step(pay, Site, website)  # noqa: E731
    problem = problem_of(define, Code.UNRESOLVED_ANNOTATION)
    assert "parameter 'amount'" in problem.what
    assert "OnlyForCheckers" in problem.what


def test_annotation_that_cannot_be_evaluated_is_told() -> None:
    def odd(site: "Site[") -> str: ...  # type: ignore[valid-type] # noqa: F722

    assert "parameter 'site'" in problem_of(lambda: flow().step(odd), Code.UNRESOLVED_ANNOTATION).what


def test_keyword_only_parameter_without_default_is_refused() -> None:
    def strict(site: Site, *, limit: int) -> str: ...
    def relaxed(site: Site, *, limit: int = 3) -> str: ...

    assert "'limit'" in problem_of(lambda: flow().step(strict), Code.KEYWORD_ONLY_PARAMETER).what
    assert flow().step(relaxed).shape()


def test_things_that_are_no_handlers_are_refused() -> None:
    def numbers(site: Site) -> Iterator[int]:
        yield 1

    async def words(site: Site) -> AsyncIterator[str]:
        yield "a"

    for handler in (Page, numbers, words, collect(website)):
        problem_of(functools.partial(flow().step, handler, slug="it"), Code.BAD_HANDLER)
    problem_of(lambda: flow().step("website"), Code.BAD_HANDLER)
    problem_of(lambda: flow().step(None, slug="it"), Code.BAD_HANDLER)


def test_builtin_without_a_readable_signature_is_refused() -> None:
    problem_of(lambda: flow().step(cast("Any", min)), Code.BAD_HANDLER)


@pytest.mark.parametrize("declared", [Callable[[int], int], Iterator[int], Iterable[int], type[int]])
def test_output_that_json_cannot_hold_is_refused(declared: Any) -> None:
    def odd(site: Site) -> Any: ...

    odd.__annotations__["return"] = declared
    problem_of(lambda: flow().step(odd), Code.NO_JSON)


class Opaque:
    """No pydantic schema."""


def test_class_that_pydantic_does_not_know_is_refused_as_input_and_output() -> None:
    def odd(site: Site) -> Opaque: ...

    problem = problem_of(lambda: flow().step(odd), Code.NO_JSON)
    assert "its output type Opaque" in problem.what
    assert "its input type Opaque" in problem_of(lambda: flow(input=Opaque), Code.NO_JSON).what


class Login(BaseModel):
    name: str
    password: SecretStr


class Partly(BaseModel):
    metadata: int = Field(default=1, exclude=True)


@dataclass
class Marks:
    by_place: dict[tuple[int, int], str]


class Holder(BaseModel):
    model_config = ConfigDict(arbitrary_types_allowed=True)
    opaque: Opaque


class Hooked(BaseModel):
    hook: Callable[[int], int]


class Pipe(BaseModel):
    lines: Iterable[str]


@pytest.mark.parametrize(
    ("declared", "what", "fix"),
    [
        (Login, "a secret is written as asterisks (field 'password' of Login)", "Use str; real secrets "),
        (list[Login], "a secret is written as asterisks (field 'password' of Login)", "Use str; real secrets "),
        (SecretStr, "a secret is written as asterisks", "Use str; real secrets "),
        (Partly, "exclude=True is not written (field 'metadata' of Partly)", "Leave out exclude=True, or "),
        (Marks, "a tuple as a dict's key cannot be read again (field 'by_place' of Marks)", "Use a list of pairs."),
        (Holder, "pydantic does not know how to store a Opaque", "Make Opaque a pydantic model, "),
        (Opaque, "pydantic does not know how to store a Opaque", "Make Opaque a pydantic model, "),
        (Pipe, "can be read only once (field 'lines' of Pipe)", "Use a list or a Sequence."),
        (Hooked, "a function is no value", "Leave it out, or store a name "),
        (type[int], "a class is no value", "Leave it out, or store a name "),
    ],
)
def test_what_keeps_a_type_from_being_stored_is_told_with_the_change_that_fits(
    declared: Any, what: str, fix: str
) -> None:
    def odd(site: Site) -> Any: ...

    odd.__annotations__["return"] = declared
    for problem in (
        problem_of(lambda: flow().step(odd), Code.NO_JSON),
        problem_of(lambda: flow(input=declared), Code.NO_JSON),
    ):
        assert problem.what.endswith(f"{what}.")
        assert problem.fix.startswith(fix)


def test_value_instead_of_an_input_type_is_refused() -> None:
    problem = problem_of(lambda: flow(input=Site(url="x")), Code.INPUT_IS_NO_TYPE)
    assert problem.what == "its input is the value Site(url='x'), not a type."
    assert problem.fix.endswith(": Site.")


# ---- options --------------------------------------------------------------------------------------------------------


def test_bad_options_name_the_option_its_value_and_the_bound() -> None:
    problem = problem_of(lambda: flow().step(website, timeout=0), Code.BAD_OPTION)
    assert problem.what == "timeout=0 is out of bounds."
    assert "from 1 to 2147483647" in problem.fix


def test_each_bad_option_is_told() -> None:
    define = lambda: flow().step(website, timeout=0, max_attempts=0, priority=10**6, timeuot=3)  # noqa: E731
    assert [problem.what for problem in problems_of(define)] == [
        "timeout=0 is out of bounds.",
        "max_attempts=0 is out of bounds.",
        "priority=1000000 is out of bounds.",
        "unknown option 'timeuot'.",
    ]


# ---- returns --------------------------------------------------------------------------------------------------------


def test_returns_of_an_unknown_handler_is_told() -> None:
    problem = problem_of(lambda: flow().step(website).returns(sentiment), Code.UNKNOWN_STEP)
    assert problem.what == "unknown step 'sentiment'."


def test_returns_of_a_map_step_asks_for_collect() -> None:
    base = flow(input=list[str]).map(shout)
    assert "collect(shout)" in problem_of(lambda: base.returns(shout), Code.COLLECT_FORGOTTEN).fix
    assert base.returns(collect(shout)).output_step == "shout"


def test_returns_of_a_collected_single_step_is_refused() -> None:
    problem_of(lambda: flow().step(website).returns(collect(website)), Code.COLLECT_OF_NO_MAP)


def test_flow_without_steps_cannot_be_used() -> None:
    assert "no steps" in problem_of(lambda: flow().shape(), Code.NO_STEPS).what


def test_one_mistake_is_reported_once_and_not_again_by_the_steps_that_follow() -> None:
    def untyped(page): ...  # type: ignore[no-untyped-def]

    define = lambda: (  # noqa: E731
        flow().step(website).step(untyped, website).step(sentiment, untyped).step(shout, sentiment)
    )
    codes = [(problem.step_slug, problem.code) for problem in problems_of(define)]
    assert codes == [
        ("untyped", Code.MISSING_ANNOTATION),
        ("untyped", Code.MISSING_ANNOTATION),
        ("shout", Code.TYPE_MISMATCH),
    ]
