"""Calls of Flow and of the builder methods that Python itself would refuse, or take for something else."""

import inspect
from typing import Any, Literal, NewType

import pytest

from flowdsl import DefinitionError, Flow, collect, maybe, named
from flowdsl.errors import Problem
from flowdsl.model.problems import Code

from .handlers_for_tests import Page, Site, sentiment, website

Untyped: Any = Flow


def problem_of(define: Any, code: Code) -> Problem:
    with pytest.raises(DefinitionError) as caught:
        define()
    assert [problem.code for problem in caught.value.problems] == [code], str(caught.value)
    problem = caught.value.problems[0]
    assert problem.location is not None
    assert "test_arguments.py" in problem.location
    return problem


def test_the_signature_of_flow_is_still_the_one_that_is_written() -> None:
    parameters = inspect.signature(Flow).parameters
    assert list(parameters)[:3] == ["slug", "input", "max_attempts"]
    assert parameters["deadline"].kind is inspect.Parameter.KEYWORD_ONLY


def test_a_misspelt_option_of_a_flow_is_told_with_the_right_name() -> None:
    problem = problem_of(lambda: Untyped("news", Site, timeuot=3), Code.BAD_OPTION)
    assert (problem.what, problem.fix) == ("unknown option 'timeuot'.", "Did you mean 'timeout'?")
    assert problem.mended == 'Untyped("news", Site, timeout=3)'


def test_an_option_by_the_name_others_give_it_is_told_with_ours() -> None:
    assert "'max_attempts'" in problem_of(lambda: Untyped("news", Site, retries=3), Code.BAD_OPTION).fix
    assert "'slug'" in problem_of(lambda: Untyped("news", Site).step(website, name="x"), Code.BAD_OPTION).fix


def test_an_option_of_steps_is_told_to_be_one() -> None:
    problem = problem_of(lambda: Untyped("news", Site, start_delay=3), Code.BAD_OPTION)
    assert problem.fix == "Give it to a step: .step(handler, start_delay=…)."


def test_the_input_by_a_misspelt_name_is_taken_for_the_input() -> None:
    problem = problem_of(lambda: Untyped("news", inptu=Site).step(website), Code.BAD_OPTION)
    assert problem.mended == 'Untyped("news", input=Site)'


def test_a_flow_without_an_input_type_is_told() -> None:
    problem = problem_of(lambda: Untyped("news"), Code.WRONG_ARGUMENTS)
    assert problem.what == "Flow(…) lacks its input type."
    assert problem.fix.endswith("Flow('news', Input).")
    assert problem_of(Untyped, Code.WRONG_ARGUMENTS).what == "Flow(…) lacks its slug and its input type."


def test_a_flow_without_a_slug_is_told() -> None:
    problem = problem_of(lambda: Untyped(Site), Code.WRONG_ARGUMENTS)
    assert problem.what == "Flow(…) lacks its slug."
    assert problem.mended == 'Untyped("my_flow", Site)'


def test_options_by_position_are_told_to_have_names() -> None:
    problem = problem_of(lambda: Untyped("news", Site, 3), Code.WRONG_ARGUMENTS)
    assert problem.what == "Flow(…) takes two values by position, a slug and an input type, but is given 3: 3."
    problem = problem_of(lambda: Untyped("news", Site).step(website, 30), Code.UNKNOWN_DEPENDENCY)
    assert problem.what == "30 is no dependency."
    assert "Options have names" in problem.fix


@pytest.mark.parametrize(
    ("value", "kind", "right"),
    [
        (Site(url="x"), "the value Site(url='x')", "Site"),
        ("Site", "the text 'Site'", "Site"),
        ("nothing known", "the text 'nothing known'", None),
        ([str], "list of a type", "list[str]"),
        (7, "the value 7", "int"),
        (website, "the function website", None),
    ],
)
def test_a_value_instead_of_a_type_is_told_with_the_type(value: Any, kind: str, right: str | None) -> None:
    problem = problem_of(lambda: Untyped("news", value), Code.INPUT_IS_NO_TYPE)
    assert problem.what == f"its input is {kind}, not a type."
    assert (problem.mended or "") == ("" if right is None else f'Untyped("news", {right})')


@pytest.mark.parametrize("declared", [str, None, list[str], int | None, Literal["a"], NewType("Id", int), Any, Site])
def test_every_form_of_a_type_is_a_type(declared: Any) -> None:
    assert Untyped("news", declared).input_type is declared


def test_calls_without_a_handler_are_told() -> None:
    for method in ("step", "array", "map", "returns"):
        problem = problem_of(getattr(Untyped("news", Site).step(website), method), Code.WRONG_ARGUMENTS)
        assert problem.what == f".{method}(…) lacks its handler."


def test_returns_takes_one_handler_and_no_options() -> None:
    base = Untyped("news", Site).step(website)
    assert (
        ".returns(…) takes one handler" in problem_of(lambda: base.returns(website, website), Code.WRONG_ARGUMENTS).what
    )
    problem = problem_of(lambda: base.returns(website, when={"url": "x"}), Code.BAD_OPTION)
    assert problem.mended == ".returns(website)"


def test_a_second_returns_is_told() -> None:
    base = Untyped("news", Site).step(website).step(sentiment, website).returns(website)
    assert "that of 'website' already" in problem_of(lambda: base.returns(sentiment), Code.RETURNS_TWICE).what


def test_dependencies_in_a_list_are_told_to_be_given_one_by_one() -> None:
    problem = problem_of(
        lambda: Untyped("news", Site).step(website).step(sentiment, [website]), Code.UNKNOWN_DEPENDENCY
    )
    assert (problem.what, problem.fix) == ("a list is no dependency.", "Give them one by one: website.")


def test_a_coroutine_is_told_to_be_the_result_of_a_call() -> None:
    define = lambda: Untyped("news", Site).step(website).step(sentiment, website(Site(url="x")))  # noqa: E731
    problem = problem_of(define, Code.UNKNOWN_DEPENDENCY)
    assert problem.what == "website(…) is called here, but a dependency is the function."
    assert problem.mended == ".step(sentiment, website)"


def test_an_object_without_a_short_form_is_told_by_its_class() -> None:
    assert (
        problem_of(lambda: Untyped("n", Site).step(website, object()), Code.UNKNOWN_DEPENDENCY).what
        == "a value of type object is no dependency."
    )


class Archive:
    """A class with a method that could be a handler."""

    def store(self, page: Page) -> int: ...  # type: ignore[empty-body]


def test_a_method_without_its_object_is_told() -> None:
    problem = problem_of(lambda: Untyped("news", Site).step(website).step(Archive.store, website), Code.BAD_HANDLER)
    assert problem.fix == "Pass it of an object: Archive(…).store."
    assert Untyped("news", Site).step(website).step(Archive().store, website).shape()


@pytest.mark.parametrize("function", [collect, maybe, named])
def test_the_functions_that_refer_are_no_handlers(function: Any) -> None:
    assert (
        f"{function.__name__} is no handler"
        in problem_of(lambda: Untyped("news", Site).step(function), Code.BAD_HANDLER).what
    )
