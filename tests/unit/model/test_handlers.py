# mypy: disable-error-code="empty-body"
import functools
from collections.abc import Awaitable, Callable, Coroutine
from typing import Annotated, Any, TypeVar

import pytest

from flowdsl import Context, Flow
from flowdsl.model.handlers import MISSING, read_signature, takes_context
from flowdsl.model.step import StepSpec

from .handlers_for_tests import Page, Site, website
from .postponed import build_with_local_classes, postponed_handler

F = TypeVar("F", bound=Callable[..., Any])


def step_of(handler: Any, input: Any = Site, **options: Any) -> StepSpec:
    untyped: Any = Flow
    flow: Flow[Any, Any] = untyped("handlers", input).step(handler, **options)
    return flow.steps[0]


class Scraper:
    def __init__(self, prefix: str) -> None:
        self.prefix = prefix

    async def fetch(self, site: Site) -> Page: ...

    @staticmethod
    def parse(site: Site) -> Page: ...

    @classmethod
    def make(cls, site: Site) -> Page: ...

    def __call__(self, site: Site, ctx: Context) -> Page: ...


def scaled(factor: int, site: Site, *, unit: str = "px") -> float: ...


def test_plain_and_async_functions_are_told_apart() -> None:
    def plain(site: Site) -> Page: ...

    assert step_of(website).is_async
    assert not step_of(plain).is_async
    assert step_of(website).output_type is Page


def test_bound_methods_static_and_class_methods_are_handlers() -> None:
    scraper = Scraper("a")
    assert step_of(scraper.fetch).is_async
    assert step_of(scraper.fetch).slug == "fetch"
    assert step_of(Scraper.parse).output_type is Page
    assert step_of(Scraper.make).slug == "make"


def test_a_callable_object_is_a_handler_under_its_class_name_or_a_slug() -> None:
    assert step_of(Scraper("a")).slug == "Scraper"
    assert step_of(Scraper("a"), slug="scrape").takes_context
    assert not step_of(Scraper("a")).is_async


def test_a_partial_is_a_handler_under_the_name_of_its_function() -> None:
    half = functools.partial(functools.partial(scaled, 2), unit="em")
    step = step_of(half)
    assert (step.slug, step.output_type) == ("scaled", float)
    assert step.handler is half
    assert step_of(functools.partial(Scraper("a").fetch)).is_async


def test_a_decorated_function_keeps_its_signature() -> None:
    def logged(function: F) -> F:
        @functools.wraps(function)
        async def wrapper(*args: Any) -> Any:
            return await function(*args)

        return wrapper  # type: ignore[return-value]

    step = step_of(logged(website))
    assert (step.slug, step.output_type, step.is_async) == ("website", Page, True)


def test_a_function_that_returns_a_coroutine_is_async() -> None:
    def later(site: Site) -> Coroutine[Any, Any, Page]: ...
    def eventually(site: Site) -> Awaitable[Page]: ...

    for handler in (later, eventually):
        assert step_of(handler).is_async
        assert step_of(handler).output_type is Page


def test_postponed_annotations_are_resolved_where_the_handler_was_written() -> None:
    assert step_of(postponed_handler).output_type is Page


def test_classes_defined_in_a_function_are_found_in_postponed_annotations() -> None:
    flow = build_with_local_classes()
    assert [step.output_type.__name__ for step in flow.steps] == ["Local", "Local"]
    assert flow.input_model(flow.steps[1].handler).model_json_schema()["$defs"].keys() == {"Local"}


def test_names_of_the_closure_are_found() -> None:
    def enclosing() -> Any:
        kind = Page

        def handler(site: "Site") -> "kind":  # type: ignore[valid-type]
            return kind(content="")

        return handler

    assert step_of(enclosing()).output_type is Page


def test_names_known_where_the_flow_is_built_are_the_last_resort() -> None:
    def make() -> Any:
        kind = Page

        def handler(site: Site) -> "kind": ...  # type: ignore[valid-type]

        return handler, kind

    handler = make()[0]
    assert read_signature(handler, {}).output.unresolved == "kind"
    assert read_signature(handler, {"kind": Page}).output.type is Page


def test_a_name_of_the_closure_that_is_not_assigned_yet_is_unresolved() -> None:
    def handler(site: Site) -> "later":  # type: ignore[valid-type]
        return later

    signature = read_signature(handler, {})
    later = Page
    assert signature.output.unresolved == "later"
    assert read_signature(handler, {}).output.type is later


def test_annotated_types_keep_their_metadata() -> None:
    def lengths(site: Site) -> Annotated[int, "metres"]: ...

    assert step_of(lengths).output_type == Annotated[int, "metres"]


def test_context_is_recognised_also_when_optional() -> None:
    def with_context(site: Site, ctx: Context) -> int: ...
    def with_default(site: Site, ctx: Context | None = None) -> int: ...
    def without(site: Site, retries: int = 3) -> int: ...

    assert step_of(with_context).takes_context
    assert step_of(with_default).takes_context
    assert not step_of(without).takes_context


def test_parameters_after_the_dependencies_keep_their_defaults() -> None:
    def relaxed(site: Site, retries: int = 3, *rest: int, unit: str = "px", **options: Any) -> int: ...

    assert [dep.slug for dep in step_of(relaxed).deps] == ["run"]


def test_variadic_parameters_take_all_dependencies() -> None:
    def first(site: Site) -> int: ...
    def second(site: Site) -> int: ...
    def add(*numbers: int) -> int: ...

    flow = Flow("adding", Site).step(first).step(second).step(add, first, second)
    assert [dep.type for dep in flow.steps[-1].deps] == [int, int]


def test_a_signature_tells_missing_annotations_apart_from_any() -> None:
    def handler(a, b: Any) -> None: ...  # type: ignore[no-untyped-def]

    signature = read_signature(handler, {})
    assert [parameter.type for parameter in signature.parameters] == [MISSING, Any]
    assert not takes_context(signature.parameters[0])


@pytest.mark.parametrize("wrapped", [1, 2, 3])
def test_partials_that_fill_keyword_arguments_are_read(wrapped: int) -> None:
    def handler(site: Site, factor: int) -> int: ...

    partial: Any = handler
    for _ in range(wrapped):
        partial = functools.partial(partial, factor=2)
    assert step_of(partial).slug == "handler"
