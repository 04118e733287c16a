import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flowdsl import DefinitionError, Flow
from flowdsl.model.chain import chain_goes_on, shown_path

from .handlers_for_tests import Page, Site, sentiment, summary, website

HERE = Path(__file__).name

# Wrong flows are what type checkers refuse, so they are written with a class that checkers do not know.
Untyped: Any = Flow


def codes_of(define: Callable[[], object]) -> list[str]:
    with pytest.raises(DefinitionError) as caught:
        define()
    return [problem.code for problem in caught.value.problems]


def lines_of(error: DefinitionError) -> list[int]:
    return [int((problem.location or ":0").rpartition(":")[2]) for problem in error.problems]


def here() -> int:
    frame = inspect.currentframe()
    assert frame is not None
    assert frame.f_back is not None
    return frame.f_back.f_lineno


def test_all_problems_of_a_chain_are_raised_at_its_end() -> None:
    define = lambda: Untyped("no flow", Site).step(sentiment).step(summary, "website").returns(website)  # noqa: E731
    assert codes_of(define) == ["PF-E101", "PF-E105", "PF-E102", "PF-E118"]


def test_each_problem_names_the_line_of_its_own_call() -> None:
    first = here() + 3
    with pytest.raises(DefinitionError) as caught:
        (
            Untyped("no flow", Site)
            .step(sentiment)
            .step(
                website,
                timeout=0,
            )
            .returns(summary)
        )
    assert lines_of(caught.value) == [first, first + 1, first + 2, first + 6]
    assert all(HERE in (problem.location or "") for problem in caught.value.problems)


def test_a_problem_outside_of_a_chain_is_raised_by_its_own_call() -> None:
    flow = Untyped("broken", Site)
    with pytest.raises(DefinitionError):
        flow.step(sentiment)


def test_a_bad_flow_without_steps_is_raised_by_its_constructor() -> None:
    with pytest.raises(DefinitionError):
        Untyped("no flow", Site)


def test_a_chain_that_ends_in_another_method_raises_before_it() -> None:
    assert codes_of(lambda: Untyped("broken", Site).step(sentiment).shape()) == ["PF-E105"]


def test_a_chain_returned_from_a_function_raises_at_its_end() -> None:
    def define() -> Any:
        return Untyped("no flow", Site).step(sentiment).step(website)

    assert codes_of(define) == ["PF-E101", "PF-E105"]


def test_a_chain_with_unpacked_arguments_goes_on() -> None:
    deps: list[Any] = [website, website]
    options: dict[str, Any] = {"timeout": 0}
    define = lambda: Untyped("broken", Site).step(summary, *deps, **options).step(sentiment)  # noqa: E731
    assert set(codes_of(define)) >= {"PF-E102", "PF-E112", "PF-E105"}


def test_a_chain_written_in_a_comprehension_goes_on() -> None:
    define = lambda: [Untyped(name, Site).step(sentiment).step(website) for name in ("no flow",)]  # noqa: E731
    assert codes_of(define) == ["PF-E101", "PF-E105"]


def test_a_chain_as_an_argument_raises_at_its_end() -> None:
    assert codes_of(lambda: repr(Untyped("no flow", Site).step(sentiment))) == ["PF-E101", "PF-E105"]


def test_a_subscripted_flow_can_begin_a_chain() -> None:
    first = here() + 1
    define: Callable[[], object] = lambda: Untyped[Site, bool]("no flow", Site).step(sentiment)  # noqa: E731
    with pytest.raises(DefinitionError) as caught:
        define()
    assert lines_of(caught.value)[-1] == first
    assert "PF-E105" in codes_of(define)


def test_a_chain_at_module_level_collects_and_names_the_module(tmp_path: Path) -> None:
    module = tmp_path / "flows.py"
    module.write_text(
        "from flowdsl import Flow\n"
        "def length(text: str) -> int: return 1\n"
        "def half(number: int) -> float: return 0.5\n"
        "flow = (\n"
        "    Flow('flow 1', str)\n"
        "    .step(half)\n"
        "    .step(length, half)\n"
        ")\n"
    )
    with pytest.raises(DefinitionError) as caught:
        exec(compile(module.read_text(), str(module), "exec"), {"__name__": "flows"})  # noqa: S102
    assert [problem.location for problem in caught.value.problems] == [f"{module}:{line}" for line in (5, 6, 7)]


def test_a_chain_goes_on_in_code_that_is_traced() -> None:
    before = sys.gettrace()
    sys.settrace(lambda *_: None)
    try:
        codes = codes_of(lambda: Untyped("no flow", Site).step(sentiment).step(website))
    finally:
        sys.settrace(before)
    assert codes == ["PF-E101", "PF-E105"]


def test_a_chain_goes_on_in_code_that_ran_often_enough_to_be_specialised() -> None:
    def define(input: Any, slug: str) -> Any:
        return Untyped(slug, input).step(summary).step(sentiment, timeout=10)

    for count in range(50):
        assert define(Page, f"flow_{count}").shape()
    assert codes_of(lambda: define(Page, "no flow")) == ["PF-E101"]
    assert codes_of(lambda: define(Site, "fine")) == ["PF-E105", "PF-E105"]


def test_a_flow_that_kept_its_problems_raises_them_when_it_is_used() -> None:
    kept: list[Flow[Site, Any]] = []

    class Keeping(Flow[Site, Any]):
        def _raise_at_end_of_chain(self, frame: object) -> None:
            kept.append(self)

    Keeping("no flow", Site)
    uses: list[Callable[[], object]] = [
        lambda: kept[0].shape(),
        lambda: kept[0].steps,
        lambda: kept[0].step_for(website),
        lambda: kept[0].input_adapter,
    ]
    for use in uses:
        assert codes_of(use) == ["PF-E101"]


def test_without_a_frame_the_chain_ends() -> None:
    assert chain_goes_on(None) is False


def test_paths_below_the_working_directory_are_shown_relative_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert shown_path(str(tmp_path / "flows" / "billing.py")) == "flows/billing.py"
    assert shown_path("/elsewhere/billing.py") == "/elsewhere/billing.py"
