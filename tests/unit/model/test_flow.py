# ruff: noqa: UP006, UP007, UP035, UP045 - the old spellings are what some tests are about
# mypy: disable-error-code="empty-body"
from datetime import timedelta
from typing import Annotated, Any, Dict, List, Literal, Optional, Union

import pytest
from pydantic import BaseModel, ValidationError

from flowdsl import Context, DefinitionError, Flow, collect, named
from flowdsl.model.options import FlowOptions, StepOptions
from flowdsl.model.step import Dep, DepKind, StepSpec
from flowdsl.types import StepType

from .handlers_for_tests import Mood, Page, Site, fetch, links, save, sentiment, shout, summary, website

again = named("again", summary)


def analyze() -> Flow[Site, bool]:
    return (
        Flow("analyze", Site, max_attempts=5, base_delay=timedelta(minutes=1), queue="web")
        .step(website, slug="site_page", timeout=timedelta(minutes=2), retry_on=[TimeoutError])
        .step(sentiment, website)
        .step(summary, website)
        .step(again, website)
        .array(links, website)
        .map(fetch, links)
        .step(save, Site, sentiment, again, collect(fetch))
        .returns(save)
    )


def test_a_flow_tells_what_it_is() -> None:
    flow = analyze()
    assert flow.slug == "analyze"
    assert flow.input_type is Site
    assert flow.output_step == "save"
    assert flow.options == FlowOptions(max_attempts=5, base_delay=60, queue="web")
    assert flow.location.endswith(f"test_flow.py:{analyze.__code__.co_firstlineno + 2}")
    assert repr(flow) == "<Flow analyze(Site): site_page, sentiment, summary, again, links, fetch, save>"
    assert repr(Flow("empty", list[str])) == "<Flow empty(list[str]): no steps>"


def test_steps_are_in_the_order_of_their_definition() -> None:
    steps: dict[str, StepSpec] = {step.slug: step for step in analyze().steps}
    assert list(steps) == ["site_page", "sentiment", "summary", "again", "links", "fetch", "save"]
    assert steps["site_page"].options == StepOptions(timeout=120, retry_on=(TimeoutError,))
    assert steps["site_page"].location.endswith(f"test_flow.py:{analyze.__code__.co_firstlineno + 3}")
    assert steps["again"].handler is summary
    assert steps["links"].is_array
    assert repr(steps["links"]).startswith("<StepSpec analyze.links at ")


def test_dependencies_are_in_the_order_of_the_parameters() -> None:
    step = analyze().step_for(save)
    assert step.deps == (
        Dep(kind=DepKind.RUN, slug="run", type=Site),
        Dep(kind=DepKind.STEP, slug="sentiment", type=Mood),
        Dep(kind=DepKind.STEP, slug="again", type=str),
        Dep(kind=DepKind.COLLECT, slug="fetch", type=list[Page]),
    )
    assert step.dependency_slugs == ("sentiment", "again", "fetch")
    assert step.uses_run_input
    assert step.map_over is None


def test_a_map_step_knows_its_list_its_element_and_its_outputs() -> None:
    step = analyze().step_for(fetch)
    assert (step.step_type, step.is_map) == (StepType.MAP, True)
    assert step.map_over == Dep(kind=DepKind.STEP, slug="links", type=list[str])
    assert step.deps == ()
    assert step.element_type is str
    assert step.output_type is Page
    assert step.step_output_type == list[Page]
    assert step.takes_context


def test_a_root_step_takes_the_run_input_and_a_root_map_its_elements() -> None:
    root = analyze().step_for(website)
    assert root.deps == (Dep(kind=DepKind.RUN, slug="run", type=Site),)
    mapped = Flow("words", list[str]).map(shout).steps[0]
    assert mapped.deps == ()
    assert mapped.map_over == Dep(kind=DepKind.RUN, slug="run", type=list[str])
    assert not mapped.uses_run_input


def test_an_input_that_is_a_generic_alias_is_recognised_by_equality() -> None:
    def count(words: list[str]) -> int: ...
    def repeat(word: str, times: int, all_words: list[str]) -> str: ...
    def join(words: list[str], times: int) -> str: ...

    flow = Flow("words", list[str]).step(count).map(shout, list[str]).step(join, list[str], count)
    assert [dep.slug for dep in flow.step_for(join).deps] == ["run", "count"]
    mapped = flow.step_for(shout)
    assert mapped.map_over is not None
    assert mapped.map_over.kind is DepKind.RUN


def test_a_flow_is_never_changed_by_its_methods() -> None:
    base = Flow("analyze", Site).step(website)
    one, other = base.step(sentiment, website), base.step(summary, website)
    assert [step.slug for step in base.steps] == ["website"]
    assert [step.slug for step in one.steps] == ["website", "sentiment"]
    assert [step.slug for step in other.steps] == ["website", "summary"]
    assert base.returns(website).output_step == "website"
    assert base.output_step is None
    assert base.shape() != one.shape()


def test_a_second_returns_is_refused() -> None:
    with pytest.raises(DefinitionError, match=r"PF-E132 .*the run's output is that of 'save' already"):
        analyze().returns(summary)


def test_steps_are_found_by_function_by_name_and_by_slug() -> None:
    flow = analyze()
    assert flow.step_for(website).slug == "site_page"
    assert flow.step_for(again).slug == "again"
    assert flow.step_for(named("again", summary)).slug == "again"
    assert flow.step_for(summary).slug == "summary"
    assert flow.step_for(collect(fetch)).slug == "fetch"
    assert flow.step_by_slug("site_page") is flow.step_for(website)


def test_a_step_that_is_not_there_is_an_error_that_suggests_one() -> None:
    def sentimental(page: Page) -> Mood: ...

    with pytest.raises(DefinitionError, match=r"unknown step 'sentimental'.*\n.*Did you mean 'sentiment'"):
        analyze().step_for(sentimental)
    with pytest.raises(DefinitionError, match=r"unknown step 'sentimnt'.*\n.*Did you mean 'sentiment'"):
        analyze().step_by_slug("sentimnt")
    with pytest.raises(DefinitionError, match=r"unknown step 'xyz'.*\n.*Steps: site_page, sentiment"):
        analyze().step_by_slug("xyz")


def test_a_typed_lookup_of_a_map_step_has_to_collect() -> None:
    flow = analyze()
    assert flow.step_read_by(collect(fetch)) is flow.step_for(fetch)
    assert flow.step_read_by(summary) is flow.step_for(summary)
    with pytest.raises(DefinitionError, match=r"Ask for collect\(fetch\)"):
        flow.step_read_by(fetch)
    with pytest.raises(DefinitionError, match="Ask for summary itself"):
        flow.step_read_by(collect(summary))
    with pytest.raises(DefinitionError, match=r"unknown step 'shout'"):
        flow.step_read_by(shout)


def test_output_types_are_those_of_the_handlers() -> None:
    flow = analyze()
    assert flow.output_type(sentiment) is Mood
    assert flow.output_type(fetch) is Page
    assert flow.output_type(collect(fetch)) == list[Page]


@pytest.mark.parametrize(
    ("declared", "spelt"),
    [
        (List[str], list[str]),
        (list[List[str]], List[list[str]]),
        (Dict[str, Optional[int]], dict[str, int | None]),
        (Union[int, str], str | int),
        (List, list),
        (Annotated[List[int], "note"], Annotated[list[int], "note"]),
    ],
)
def test_an_input_type_is_recognised_in_another_spelling(declared: Any, spelt: Any) -> None:
    def first(value: Any) -> int: ...

    def second(value: Any, number: int) -> int: ...

    flow: Any = Flow("spelling", declared).step(first)
    assert flow.step(second, spelt, first).steps[1].uses_run_input


@pytest.mark.parametrize("spelt", [list[int], list, tuple[str, ...], set[str], list[str] | None, list[Literal["a"]]])
def test_another_type_than_the_input_is_no_dependency(spelt: Any) -> None:
    def first(value: Any) -> int: ...

    flow: Any = Flow("spelling", List[str])
    with pytest.raises(DefinitionError, match="unknown dependency"):
        flow.step(first, spelt)


def test_an_input_model_has_a_field_per_dependency() -> None:
    model = analyze().input_model(save)
    assert issubclass(model, BaseModel)
    assert {name: field.annotation for name, field in model.model_fields.items()} == {
        "run": Site,
        "sentiment": Mood,
        "again": str,
        "fetch": list[Page],
    }
    value: Any = model.model_validate_json(
        '{"run": {"url": "u"}, "sentiment": {"score": 1, "label": "l"}, "again": "a", "fetch": [{"content": "c"}]}'
    )
    assert value.fetch == [Page(content="c")]
    with pytest.raises(ValidationError):
        model.model_validate_json("{}")


def test_an_input_model_leaves_out_the_element_of_a_map() -> None:
    def weigh(link: str, mood: Mood) -> float: ...

    flow = analyze().map(weigh, links, sentiment)
    assert list(flow.input_model(weigh).model_fields) == ["sentiment"]
    assert list(flow.input_model(fetch).model_fields) == []


@pytest.mark.parametrize("slug", ["_private", "__x", "class", "copy", "json", "model_config", "schema", "field", "_"])
def test_slugs_that_are_no_field_names_are_aliases(slug: str) -> None:
    def use(text: str) -> str: ...

    ref = named(slug, summary)
    flow = Flow("odd", Page).step(ref).step(use, ref)
    model = flow.input_model(use)
    assert list(model.model_json_schema()["properties"]) == [slug]
    value = model.model_validate_json(f'{{"{slug}": "text"}}')
    assert value.model_dump_json() == f'{{"{slug}":"text"}}'


def test_slugs_that_would_make_the_same_field_name_are_kept_apart() -> None:
    def use(*texts: str) -> str: ...

    refs = [named(slug, summary) for slug in ("_a", "__a", "a", "a_", "a__", "_a_")]
    flow = Flow("odd", Page)
    for ref in refs:
        flow = flow.step(ref)
    model = flow.step(use, *refs).input_model(use)
    assert list(model.model_json_schema()["properties"]) == ["_a", "__a", "a", "a_", "a__", "_a_"]


def test_a_parameter_says_what_its_dependency_leaves_open() -> None:
    def anything(site: Site) -> Any: ...
    def several(site: Site) -> list[Any]: ...
    def read(page: Page, pages: list[Page]) -> int: ...
    def each(page: Page, whatever: Any) -> int: ...

    flow = Flow("open", Site).step(anything).array(several).step(read, anything, several).map(each, several, anything)
    assert [dep.type for dep in flow.step_for(read).deps] == [Page, list[Page]]
    assert flow.step_for(each).element_type is Page
    assert [dep.type for dep in flow.step_for(each).deps] == [Any]


def test_a_wider_parameter_is_given_what_the_dependency_declares() -> None:
    def number(site: Site) -> int: ...
    def use(value: float | None) -> int: ...

    flow = Flow("wide", Site).step(number).step(use, number)
    assert flow.step_for(use).deps[0].type is int


def test_a_subclass_of_flow_stays_one() -> None:
    class MyFlow(Flow[Site, Any]):
        pass

    assert type(MyFlow("mine", Site).step(website)) is MyFlow


def test_context_is_passed_by_type_not_by_name() -> None:
    def handler(site: Site, whatever: Context) -> int: ...

    assert Flow("named", Site).step(handler).steps[0].takes_context
