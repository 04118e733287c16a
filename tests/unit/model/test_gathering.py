import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from flowdsl import DefinitionError, Flow
from flowdsl.model.gathering import gathering, open_gathering
from flowdsl.model.registry import inspect_flows, load_flows

from .handlers_for_tests import Site, sentiment, summary, website

Untyped: Any = Flow

TWO_WRONG = """\
from flowdsl import Flow

def length(text: str) -> int:
    return len(text)

one = Flow("one", int).step(length)
two = Flow("two", str).step(length, timeout=0)
fine = Flow("fine", str).step(length)
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    before = set(sys.modules)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def test_while_problems_are_gathered_a_wrong_flow_stays_and_is_refused_when_it_is_used() -> None:
    with gathering() as gathered:
        flow = Untyped("no flow", Site).step(sentiment)
    assert [problem.code for problem in gathered.problems] == ["PF-E101", "PF-E105"]
    assert [problem.code for problem in flow.problems()] == ["PF-E101", "PF-E105"]
    for use in (lambda: flow.steps, flow.shape, flow.warnings):
        with pytest.raises(DefinitionError):
            use()


def test_outside_of_a_gathering_a_wrong_flow_raises() -> None:
    with gathering():
        pass
    assert open_gathering() is None
    with pytest.raises(DefinitionError):
        Untyped("no flow", Site).step(website)


def test_a_gathering_ends_with_the_error_that_leaves_it() -> None:
    with pytest.raises(ZeroDivisionError), gathering():
        raise ZeroDivisionError
    assert open_gathering() is None


def test_an_outer_gathering_is_told_nothing_of_an_inner_one() -> None:
    with gathering() as outer:
        with gathering() as inner:
            Untyped("no flow", Site).step(website)
        assert open_gathering() is outer
    assert len(inner.problems) == 1
    assert outer.problems == ()


def test_two_threads_that_gather_at_once_do_not_mix_their_flows() -> None:
    both_gather = threading.Barrier(2)

    def codes_of(make: Callable[[], Any]) -> list[str]:
        with gathering() as gathered:
            both_gather.wait(timeout=30)
            make()
            both_gather.wait(timeout=30)
        return [problem.code for problem in gathered.problems]

    with ThreadPoolExecutor(2) as threads:
        one = threads.submit(codes_of, lambda: Untyped("no flow", Site).step(website))
        other = threads.submit(codes_of, lambda: Untyped("flow", Site).step(sentiment))
        assert (one.result(timeout=60), other.result(timeout=60)) == (["PF-E101"], ["PF-E105"])
    assert open_gathering() is None


def test_flows_defined_in_threads_of_a_module_are_gathered_as_well(project: Path) -> None:
    (project / "threaded.py").write_text(
        f"""\
import threading
{TWO_WRONG.partition("one =")[0]}
def define():
    global one, fine
    one = Flow("one", int).step(length)
    fine = Flow("fine", str).step(length)

thread = threading.Thread(target=define)
thread.start()
thread.join()
"""
    )
    found = inspect_flows("threaded")
    assert [flow.slug for flow in found.flows] == ["one", "fine"]
    assert [(problem.code, problem.line) for problem in found.problems] == [("PF-E105", 10)]
    assert open_gathering() is None


def test_a_flow_that_goes_on_from_a_wrong_one_tells_its_problems_once() -> None:
    with gathering() as gathered:
        base = Untyped("no flow", Site).step(sentiment)
        base = base.step(summary, website)
        base = base.step(website)
    assert [problem.code for problem in gathered.problems] == ["PF-E101", "PF-E105", "PF-E102"]
    assert "is defined later" in gathered.problems[-1].fix


def test_a_flow_that_is_not_kept_is_a_warning() -> None:
    with gathering() as gathered:
        flow = Flow("analyze", Site).step(website)
        flow.step(summary, website)
    assert [(warning.code, warning.severity) for warning in gathered.warnings] == [("PF-W203", "warning")]
    assert "'analyze' stays as it was" in gathered.warnings[0].what
    assert gathered.problems == ()


def test_the_import_of_a_module_goes_on_after_a_wrong_flow(project: Path) -> None:
    (project / "both_wrong.py").write_text(TWO_WRONG)
    found = inspect_flows("both_wrong")
    assert [flow.slug for flow in found.flows] == ["one", "two", "fine"]
    assert [(problem.flow_slug, problem.line) for problem in found.problems] == [("one", 6), ("two", 7)]


def test_loading_flows_raises_the_problems_of_all_modules_at_once(project: Path) -> None:
    (project / "both_wrong.py").write_text(TWO_WRONG)
    (project / "wrong_too.py").write_text(
        TWO_WRONG.replace('"one"', '"uno"').replace('"two"', '"due"').replace("fine", "bene")
    )
    with pytest.raises(DefinitionError) as caught:
        load_flows("both_wrong", "wrong_too", "not_there")
    assert [problem.flow_slug for problem in caught.value.problems] == ["one", "two", "uno", "due", None]


def test_a_wrong_module_is_wrong_again_when_it_is_loaded_again(project: Path) -> None:
    (project / "both_wrong.py").write_text(TWO_WRONG)
    (project / "importing.py").write_text("from both_wrong import fine\n")
    for _ in range(2):
        with pytest.raises(DefinitionError) as caught:
            load_flows("importing")
        assert len(caught.value.problems) == 2
    assert not {"both_wrong", "importing"} & set(sys.modules)


TRYING = f"""\
import flowdsl
{TWO_WRONG.partition("one =")[0]}
try:
    chosen = Flow("one", int).step(length)
except {{caught}}:
    chosen = Flow("fallback", str).step(length)
"""


@pytest.mark.parametrize("caught", ["flowdsl.DefinitionError", "(KeyError, ValueError, Exception)", "Exception as e"])
def test_a_module_that_catches_the_error_itself_gets_it_and_goes_on(project: Path, caught: str) -> None:
    (project / "trying.py").write_text(TRYING.format(caught=caught))
    found = inspect_flows("trying")
    assert [flow.slug for flow in found.flows] == ["fallback"]
    assert found.problems == ()
    assert [(warning.code, warning.line, warning.is_warning) for warning in found.warnings()] == [("PF-E105", 9, True)]
    assert found.warnings()[0].what.endswith(" The module catches the error and goes on.")
    assert [flow.slug for flow in load_flows("trying")] == ["fallback"]


@pytest.mark.parametrize("other", ["KeyError", "ZeroDivisionError as e", "(KeyError, OSError)"])
def test_a_module_that_catches_other_errors_goes_on_without_any(project: Path, other: str) -> None:
    (project / "trying.py").write_text(TRYING.format(caught=other))
    found = inspect_flows("trying")
    assert [flow.slug for flow in found.flows] == ["one"]
    assert [(problem.code, problem.line) for problem in found.problems] == [("PF-E105", 9)]


def test_the_try_may_be_around_the_function_that_makes_the_flow(project: Path) -> None:
    (project / "trying.py").write_text(
        f"""\
{TWO_WRONG.partition("one =")[0]}
try:
    def make(slug, kind):
        return Flow(slug, kind).step(length)

    chosen = make("one", int)
except Exception:
    chosen = make("fallback", str)
finally:
    beyond = make("beyond", int)
"""
    )
    found = inspect_flows("trying")
    assert [flow.slug for flow in found.flows] == ["fallback", "beyond"]
    assert [problem.flow_slug for problem in found.problems] == ["beyond"]
    assert [warning.flow_slug for warning in found.module_warnings] == ["one"]


def test_what_is_caught_and_raised_again_is_told_once(project: Path) -> None:
    (project / "trying.py").write_text(
        TRYING.format(caught="Exception").replace('    chosen = Flow("fall', "    raise\n#")
    )
    found = inspect_flows("trying")
    assert [problem.code for problem in found.problems] == ["PF-E105", "PF-E133"]
    assert found.warnings() == ()


def test_a_try_around_an_import_hides_no_flow_of_the_imported_module(project: Path) -> None:
    (project / "both_wrong.py").write_text(TWO_WRONG)
    (project / "importing.py").write_text("try:\n    from both_wrong import fine\nexcept Exception:\n    fine = None\n")
    assert [problem.flow_slug for problem in inspect_flows("importing").problems] == ["one", "two"]


def test_a_flow_without_steps_is_told(project: Path) -> None:
    (project / "stepless.py").write_text("from flowdsl import Flow\nempty = Flow('empty', str)\n")
    assert [problem.code for problem in inspect_flows("stepless").problems] == ["PF-E120"]


def test_a_look_up_that_fails_while_the_module_is_imported_is_told_with_its_line(project: Path) -> None:
    (project / "looking.py").write_text(
        f"{TWO_WRONG.partition('one =')[0]}fine = Flow('fine', str).step(length)\nfine.step_for(print)\n"
    )
    found = inspect_flows("looking")
    assert [(problem.code, problem.line) for problem in found.problems] == [("PF-E118", 7), ("PF-E133", 7)]
