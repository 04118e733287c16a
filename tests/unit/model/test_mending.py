"""The mended line is the user's own text with one thing changed, and nothing where that cannot be."""

import linecache
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from flowdsl import Context, DefinitionError, Flow, collect, maybe, named
from flowdsl.errors import Problem
from flowdsl.model.source import definition_of, source_of

from .handlers_for_tests import Mood, Page, Site, fetch, sentiment, summary, website

Untyped: Any = Flow


def problems_of(define: Callable[[], object]) -> tuple[Problem, ...]:
    with pytest.raises(DefinitionError) as caught:
        define()
    return caught.value.problems


def mended(define: Callable[[], object]) -> list[str | None]:
    return [problem.mended for problem in problems_of(define)]


def pages_count(pages: list[Page]) -> int:
    return len(pages)


def report(site: Site, mood: Mood) -> str:
    return f"{site.url} {mood.label}"


def annotated(ctx: Context, page: Page) -> str:
    return f"{ctx.attempt} {page.content}"


# ---- calls ----------------------------------------------------------------------------------------------------------


def test_what_the_user_wrote_is_kept_but_for_the_mistake() -> None:
    define = lambda: Untyped('news', Site).array(links2).map(fetch, links2).step(pages_count, fetch, timeout=60 * 5)  # noqa: E731 # fmt: skip
    assert mended(define) == [".step(pages_count, collect(fetch), timeout=60 * 5)"]


def test_all_mistakes_of_one_call_are_mended_in_one_line() -> None:
    define = lambda: Untyped("news", Site).array(links2).map(fetch, links2).step(pages_count, fetch, timeuot=5)  # noqa: E731
    assert mended(define) == [".step(pages_count, collect(fetch), timeout=5)"] * 2


def test_a_call_over_several_lines_becomes_one_line() -> None:
    def define() -> Any:
        return (
            Untyped("news", Site)
            .step(
                website,
                timeuot=5,  # seconds
            )
        )  # fmt: skip

    assert mended(define) == [".step(website, timeout=5)"]


def test_a_call_that_unpacks_its_arguments_has_no_mended_line() -> None:
    options: dict[str, Any] = {"timeuot": 5}
    assert mended(lambda: Untyped("news", Site).step(website, **options)) == [None]
    deps = ["website"]
    assert mended(lambda: Untyped("news", Site).step(website).step(sentiment, *deps)) == [None]


def test_a_call_through_something_else_has_no_mended_line() -> None:
    step = Untyped("news", Site).step
    assert mended(lambda: step(website, timeuot=5)) == [None]
    assert mended(lambda: getattr(Untyped("news", Site), "step")(website, timeuot=5)) == [None]  # noqa: B009


def test_code_without_a_file_has_no_mended_line() -> None:
    code = compile("flow = Flow('news', Site).step(website, timeuot=5)", "<prompt>", "exec")
    assert mended(lambda: exec(code, {"Flow": Flow, "Site": Site, "website": website})) == [None]  # noqa: S102


def test_a_file_that_has_changed_since_has_no_mended_line(tmp_path: Path) -> None:
    file = tmp_path / "flows.py"
    file.write_text("flow = Flow('news', Site).step(website, timeuot=5)\n")
    code = compile(file.read_text(), str(file), "exec")
    file.write_text("import sys\n\nflow = None  # something else\n")
    linecache.clearcache()
    assert mended(lambda: exec(code, {"Flow": Flow, "Site": Site, "website": website})) == [None]  # noqa: S102


def test_a_file_that_is_no_python_has_no_source(tmp_path: Path) -> None:
    file = tmp_path / "broken.py"
    file.write_text("def (:\n")
    assert source_of(str(file)) is None
    assert source_of(str(tmp_path / "nowhere.py")) is None


def test_text_beyond_ascii_does_not_move_the_call() -> None:
    define = lambda: ("äöü€", Untyped("news", Site).step(website, slug="größe", timeuot=5))  # noqa: E731
    assert mended(define) == ['.step(website, slug="gr_e", timeout=5)'] * 2


def test_a_step_that_was_named_is_called_as_it_is_called_there() -> None:
    def define() -> Any:
        other = named("other", website)
        return Untyped("news", Site).array(links2).step(other).step(summary, links2)

    assert mended(define) == [".step(summary, other)"]
    base = Untyped("news", Site).array(links2).step(named("other", website))
    assert mended(lambda: base.step(summary, links2)) == ['.step(summary, named("other", website))']


def links2(site: Site) -> list[str]:
    return site.url.split()


# ---- which dependency is meant --------------------------------------------------------------------------------------


def test_a_handler_used_again_gets_a_name_that_a_step_can_have() -> None:
    base = Untyped("news", Site).step(website)
    assert [m and m.replace("'", '"') for m in mended(lambda: base.step(website, slug="web 4"))] == [
        '.step(named("web_4", website))'
    ] * 2
    assert "Use named('web_4', website)" in problems_of(lambda: base.step(website, slug="web 4"))[1].fix
    base = base.step(named("web_4", website))
    assert mended(lambda: base.step(website, slug="web 4")) == ['.step(named("web_4_2", website))'] * 2
    assert mended(lambda: base.step(named("web_4", website))) == ['.step(named("web_4_2", website))']
    assert mended(lambda: base.step(website)) == ['.step(named("website_2", website))']
    assert "named('website_2', website)" in problems_of(lambda: base.step(website))[0].fix


def page_and_site(page: Page, site: Site) -> str:
    return f"{page.content} {site.url}"


def test_swapped_dependencies_are_rid_of_their_needless_collect_as_well() -> None:
    base = Untyped("news", Site).step(website)
    assert mended(lambda: base.step(page_and_site, Site, collect(website))) == [
        None,
        ".step(page_and_site, website, Site)",
    ]


def test_needless_wrappers_within_each_other_are_both_taken_off() -> None:
    base = Untyped("news", Site).step(website)
    assert mended(lambda: base.step(summary, maybe(collect(website)))) == [".step(summary, website)"] * 2


def test_missing_dependencies_are_found_by_their_types() -> None:
    base = Untyped("news", Site).step(website).step(sentiment, website)
    assert mended(lambda: base.step(report, sentiment)) == [".step(report, Site, sentiment)"]
    assert mended(lambda: base.step(report)) == [".step(report, Site, sentiment)"]


def test_missing_dependencies_are_found_by_their_names_where_types_are_the_same() -> None:
    def title(site: Site) -> str: ...  # type: ignore[empty-body]
    def text(site: Site) -> str: ...  # type: ignore[empty-body]
    def render(title: str, text: str) -> str: ...  # type: ignore[empty-body]
    def unclear(one: str, other: str) -> str: ...  # type: ignore[empty-body]

    base = Untyped("news", Site).step(title).step(text)
    assert mended(lambda: base.step(render)) == [".step(render, title, text)"]
    assert mended(lambda: base.step(unclear)) == [None]


def test_a_root_step_that_takes_a_steps_output_gets_it() -> None:
    base = Untyped("news", Site).step(website)
    assert mended(lambda: base.step(sentiment)) == [".step(sentiment, website)"]


def test_a_handler_of_one_element_is_mapped() -> None:
    base = Untyped("news", Site).array(links2)
    assert mended(lambda: base.step(fetch, links2)) == [".map(fetch, links2)"]


def test_an_unknown_name_gets_the_nearest_one_within_collect_and_maybe() -> None:
    def fetsh(link: str) -> Page: ...  # type: ignore[empty-body]

    base = Untyped("news", Site).array(links2).map(fetch, links2)
    assert mended(lambda: base.step(pages_count, collect(fetsh))) == [".step(pages_count, collect(fetch))"]


def test_needless_wrappers_are_taken_off() -> None:
    base = Untyped("news", Site).step(website)
    assert mended(lambda: base.step(sentiment, maybe(website))) == [".step(sentiment, website)"]
    assert mended(lambda: base.step(sentiment, collect(website))) == [".step(sentiment, website)"]


def test_options_are_brought_within_their_bounds() -> None:
    base = Untyped("news", Site)
    assert mended(lambda: base.step(website, max_attempts=0)) == [".step(website, max_attempts=1)"]
    assert mended(lambda: base.step(website, timeout="30")) == [".step(website, timeout=30)"]
    assert mended(lambda: base.step(website, retry_on=OSError)) == [".step(website, retry_on=[OSError])"]
    assert mended(lambda: base.step(website, timeout=2.5)) == [None]


# ---- handlers -------------------------------------------------------------------------------------------------------


def untyped(page, limit=3): ...  # type: ignore[no-untyped-def]


def quiet(page: Page):  # type: ignore[no-untyped-def]
    print(page)  # noqa: T201


def long_signature(
    site: Site,  # where
    mood: str = "calm",
    /,
) -> str:
    return f"{site}{mood}"


def test_a_parameter_without_annotation_gets_the_type_it_is_given() -> None:
    problems = problems_of(lambda: Untyped("news", Site).step(website).step(untyped, website))
    assert problems[0].mended == "def untyped(page: Page, limit=3):"
    assert problems[1].mended is None


def test_a_handler_that_returns_nothing_gets_none() -> None:
    define = lambda: Untyped("news", Site).step(website).step(quiet, website)  # noqa: E731
    assert mended(define) == ["def quiet(page: Page) -> None:"]


def test_another_type_is_written_into_the_signature_of_the_handler() -> None:
    base = Untyped("news", Site).step(website).step(sentiment, website)
    problem = problems_of(lambda: base.step(long_signature, Site, sentiment))[0]
    assert problem.mended == "def long_signature(site: Site, mood: Mood='calm', /) -> str:"


def test_an_async_handler_stays_one() -> None:
    async def waits(page: str) -> str: ...  # type: ignore[empty-body]

    define = lambda: Untyped("news", Site).step(website).step(waits, website)  # noqa: E731
    assert mended(define) == ["async def waits(page: Page) -> str:"]


def test_functions_without_source_are_not_found() -> None:
    for function in (len, cast("Any", print).__call__, Site):
        assert definition_of(function) is None


def test_functions_of_libraries_are_left_alone() -> None:
    assert mended(lambda: Untyped("news", str).step(textwrap.dedent)) == [None, None]
