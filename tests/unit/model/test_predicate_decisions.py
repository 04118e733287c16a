# mypy: disable-error-code="empty-body, no-any-return"
# ruff: noqa: E721 - wrong on purpose
"""What Python would decide about a predicate's inputs while it is traced is refused: identity, types, branches."""

import contextlib
import cProfile
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from pydantic import BaseModel

from flowdsl import Flow, any_, count, is_none, not_
from flowdsl.errors import DefinitionError, Problem
from flowdsl.model.conditions import Predicate
from flowdsl.model.problems import Code
from tests.names import readable

HERE = Path(__file__).name
STRICT: bool = bool(HERE)
LIMIT: int | None = None
Untyped: Any = Flow
asks_type: Any = type


class Site(BaseModel):
    url: str
    score: int
    owner: str | None = None
    is_big: bool = False
    tags: list[str] = []
    key: UUID = UUID(int=0)


def rooted(when: Any) -> Any:
    def first(site: Site) -> str: ...

    return Untyped("careful", Site).step(first, when=when)


def jsonpath(when: Any) -> str:
    predicate = rooted(when).shape().steps[0].input_predicate
    assert isinstance(predicate, Predicate)
    return predicate.jsonpath


def refused(when: Any) -> Problem:
    with pytest.raises(DefinitionError) as caught:
        rooted(when)
    (problem,) = caught.value.problems
    assert problem.code == Code.UNTRACEABLE_PREDICATE, problem
    return problem


# ---- with the line as it should be ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("when", "construct", "mended"),
    [
        (
            lambda site: site.owner is not None and site.score != 1,
            "'is not' ('site.owner is not None')",
            "lambda site: not_(is_none(site.owner)) & (site.score != 1)",
        ),
        (
            lambda site: site.owner is None or site.score == 1,
            "'is' ('site.owner is None')",
            "lambda site: is_none(site.owner) | (site.score == 1)",
        ),
        (
            lambda site: (site.score == 1) if site.owner is None else (site.score == 2),
            "'is'",
            "lambda site: is_none(site.owner) & (site.score == 1) | not_(is_none(site.owner)) & (site.score == 2)",
        ),
        (lambda site: site.owner is None, "'is'", "lambda site: is_none(site.owner)"),
        (lambda site: not (site.owner is None), "'is'", "lambda site: not_(is_none(site.owner))"),  # noqa: E714
        (
            lambda site: any_(site.tags, lambda tag: site.owner is None or tag == "a"),
            "'is'",
            "lambda site: any_(site.tags, lambda tag: is_none(site.owner) | (tag == 'a'))",
        ),
    ],
    ids=readable,
)
def test_identity_is_refused_with_the_mended_line(when: Any, construct: str, mended: str) -> None:
    problem = refused(when)
    assert problem.what.split(": ", 1)[-1].startswith(f"when decides by {construct}") or construct in problem.what
    assert f"/{HERE}:" in problem.what
    assert problem.fix.endswith(f"Write when={mended}.")
    assert jsonpath(eval(mended, globals()))  # noqa: S307 - as it would be pasted


# ---- in words -------------------------------------------------------------------------------------------------------


def by_match(site: Site) -> bool:
    match site.owner:
        case None:
            return site.score == 1
        case _:
            return site.score == 2


def by_class(site: Site) -> bool:
    match site.owner:
        case str():
            return site.score == 1
    return site.score == 2


def by_statement(site: Site) -> bool:
    owner = site.owner
    if owner is None:
        return site.score == 1
    return site.score == 2


def by_assert(site: Site) -> bool:
    assert site.owner is not None
    return site.score == 1


def by_loop(site: Site) -> bool:
    for one in [site.owner]:
        while one is not None:
            return site.score == 1
    return site.score == 2


def by_comprehension(site: Site) -> bool:
    (condition,) = [test for owner, test in [(site.owner, site.score == 1)] if owner is not None]
    return condition


def by_kept(site: Site) -> bool:
    kept: list[Any] = []
    kept.append(site.owner)
    return site.score == 1 if kept[0] is None else site.score == 2


def by_function(site: Site) -> bool:
    def owner() -> Any:
        return site.owner

    return site.score == (1 if owner() is None else 2)


def has_owner(one: Any) -> bool:
    return one is not None


def by_another_function(site: Site) -> bool:
    if has_owner(site.owner):
        return site.score == 1
    return site.score == 2


def unset(value: Any, condition: Any, default: Any = None) -> Any:
    return condition if value is default else value == "x"


def by_argument(site: Site) -> bool:
    return unset(site.owner, site.score == 1)


class Rule:
    def __call__(self, site: Site) -> bool:
        return site.owner is None or site.score == 1

    def long(self, site: Site) -> bool:
        return self.is_owned(site) and site.score == 1

    def is_owned(self, site: Site) -> bool:
        return site.owner is not None


@dataclass
class Held:
    site: Site


def by_part(held: Held) -> bool:
    return held.site.owner is None or held.site.score == 1


@pytest.mark.parametrize(
    ("when", "construct"),
    [
        (by_match, "'match'"),
        (by_class, "'match'"),
        (by_statement, "'is' ('owner is None')"),
        (by_assert, "'is not'"),
        (by_loop, "'is not'"),
        (by_comprehension, "'is not'"),
        (by_kept, "'is' ('kept[0] is None')"),
        (by_function, "'is' ('owner() is None')"),
        (by_another_function, "'if' ('has_owner(site.owner)')"),
        (by_argument, "'is' ('value is default')"),
        (Rule(), "'is'"),
        (Rule().long, "'and' ('self.is_owned(site)')"),
        (lambda site: by_part(Held(site)), "'is' ('held.site.owner is None')"),
        (lambda site: isinstance(site.owner, str) and site.score == 1, "'isinstance' ('isinstance(site.owner, str)')"),
        (lambda site: not isinstance(site.owner, str) and site.score == 1, "'isinstance'"),
        (lambda site: callable(site.owner) and site.score == 1, "'callable'"),
        (lambda site: site.owner is not site.url and site.score == 1, "'is not'"),
        (lambda site: type(site.owner) != str and site.score == 1, "'type'"),
        (lambda site: asks_type(site.owner) != str and site.score == 1, "'and' ('asks_type(site.owner) != str')"),
        (lambda site: site.owner.__class__ == str and site.score == 1, "'type' ('site.owner.__class__')"),
        (lambda site: site.is_big == isinstance(site.owner, str), "'isinstance'"),
        (lambda site: [site.score == 1, site.score == 2][site.owner is None], "'is'"),
    ],
    ids=readable,
)
def test_what_python_decides_about_the_inputs_is_refused(when: Any, construct: str) -> None:
    problem = refused(when)
    assert f"when decides by {construct}" in problem.what
    assert "before there are any values" in problem.what


def compiled(text: str) -> Any:
    names: dict[str, Any] = {**globals()}
    exec(f"def when(site):\n    {text}", names)  # noqa: S102 - a function without source
    return names["when"]


@pytest.mark.parametrize(
    "text",
    [
        "return site.owner is not None and site.score != 1",
        "return site.owner is None or site.score == 1",
        "return (site.score == 1) if site.owner is None else (site.score == 2)",
        "return isinstance(site.owner, str) and site.score == 1",
        "return site.is_big == isinstance(site.owner, str)",
        "return site.score == [1, 2][site.owner is None]",
        "return [test for owner, test in [(site.owner, site.score == 1)] if owner is not None][0]",
        "return any_(site.tags, lambda tag: site.owner is None or tag == 'a')",
        "return has_owner(site.owner) and site.score == 1",
        "match site.owner:\n        case str():\n            return site.score == 1\n    return site.score == 2",
        "match site.owner:\n        case None:\n            return site.score == 1\n    return site.score == 2",
    ],
)
def test_without_source_every_decision_is_refused(text: str) -> None:
    assert "before there are any values" in refused(compiled(text)).what


def test_without_source_what_decides_nothing_is_traced() -> None:
    when = compiled("return (site.score == 1) & not_(is_none(site.owner)) & any_(site.tags, lambda tag: tag == 'a')")
    assert jsonpath(when).startswith('$."score" == 1 && ')


def test_a_source_that_was_changed_since_is_not_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = tmp_path / "changed_rules.py"
    module.write_text("def when(site):\n    return site.owner is None or site.score == 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    import changed_rules  # type: ignore[import-not-found]

    module.write_text("def when(site):\n    return (site.score == 1) & (site.score == 1)\n")
    assert "before there are any values" in refused(changed_rules.when).what


# ---- what is no decision about the inputs ---------------------------------------------------------------------------


def by_constants(site: Site) -> bool:
    if STRICT and LIMIT is None:
        least = 3 if HERE else 5
        return site.score > least
    return site.score > 9


def by_keys(site: Site) -> bool:
    try:
        least = {"least": 3}["most"]
    except KeyError:
        least = 3
    with contextlib.suppress(ValueError):
        least = int("3")
    return [site.score > number for number in [1, 3] if number >= least][0]  # noqa: RUF015


def above(least: int | None, value: int) -> bool:
    return value > (3 if least is None else least)


class Strict:
    strict = True

    def __call__(self, site: Site) -> bool:
        return site.score > 3 if self.strict else site.score > 4


@pytest.mark.parametrize(
    "when",
    [
        by_constants,
        by_keys,
        lambda site: above(None, site.score),
        lambda site, least=LIMIT: site.score > (3 if least is None else least),
        lambda site: STRICT and site.score > 3,
        Strict(),
    ],
    ids=readable,
)
def test_what_is_decided_about_constants_may_be_written(when: Any) -> None:
    assert jsonpath(when) == '$."score" > 3'


def outside(unset: Any) -> Any:
    raise RuntimeError("outside of a request")


# Like a proxy of a web framework's: whoever looks at it outside of a request gets an error.
Unset: Any = type("Unset", (), {"__class__": property(outside), "__dict__": property(outside)})


def test_what_else_a_function_is_given_is_not_woken_up() -> None:
    def large(request: Any, value: int) -> bool:
        return value > 3

    assert jsonpath(lambda site: large(Unset(), site.score)) == '$."score" > 3'


def test_a_constant_may_stand_on_the_left_whatever_its_class_asks() -> None:
    assert jsonpath(lambda site: UUID(int=1) == site.key) == jsonpath(lambda site: site.key == UUID(int=1))


# ---- what a function keeps to itself --------------------------------------------------------------------------------


def test_an_error_that_the_function_catches_is_told_all_the_same() -> None:
    def when(site: Site) -> bool:
        try:
            return len(site.url) > 3 and site.score == 2
        except Exception:
            return site.score == 1

    assert "when uses len() on site.url" in refused(when).what


def test_an_element_cannot_be_used_beyond_its_any() -> None:
    kept: list[Any] = []

    def note(tag: str) -> bool:
        kept.append(tag)
        return tag == "a"

    problem = refused(lambda site: any_(site.tags, note) & (kept[0] == "b"))
    assert "looks at tag, an element of a list, outside of its any_ or all_" in problem.what


@pytest.mark.parametrize(
    "when",
    [
        lambda site: site.owner == f"{site.url!r}",
        lambda site: site.owner == "%r" % site.url,  # noqa: UP031
        lambda site: site.owner == repr(site.url),
        lambda site: site.owner == f"{[site.url]}",
    ],
    ids=readable,
)
def test_a_stand_in_cannot_be_written_into_a_text(when: Any) -> None:
    assert "when uses repr() on site.url" in refused(when).what


def test_a_stand_in_that_outlives_its_predicate_can_be_shown() -> None:
    kept: list[Any] = []

    def when(site: Site) -> bool:
        kept.append(site.url)
        return site.score == 1

    rooted(when)
    assert repr(kept) == "[<site.url>]"


# ---- beside others --------------------------------------------------------------------------------------------------


def test_a_profiler_is_left_as_it_was() -> None:
    calls: list[str] = []

    def profile(frame: Any, event: str, argument: Any) -> None:
        calls.append(event)

    before = sys.getprofile()
    sys.setprofile(profile)
    try:
        rooted(lambda site: site.score == 1)
        assert sys.getprofile() is profile
    finally:
        sys.setprofile(before)
    assert calls


def test_decisions_are_refused_while_the_program_is_profiled() -> None:
    with cProfile.Profile() as profile:
        problem = refused(lambda site: site.owner is None or site.score == 1)
        rooted(lambda site: site.score == 1)
    assert "when decides by 'is'" in problem.what
    assert profile.getstats()


# ---- mended lines ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "when",
    [
        lambda site: site.tags and site.score == 1,
        lambda site: site.owner and site.score == 1,
        lambda site: not site.score,
        lambda site: site.score == 1 and True,
        lambda site: len(site.url) > 1,
        lambda site: site.score + 1 > 2 and site.is_big,
        lambda site: site.taggs == ["a"],
        lambda site: not site.scor,
        lambda site: -site.score < 3 and site.is_big,
    ],
    ids=readable,
)
def test_a_line_that_would_be_refused_itself_is_not_proposed(when: Callable[..., Any]) -> None:
    with pytest.raises(DefinitionError) as caught:
        rooted(when)
    (problem,) = caught.value.problems
    assert "Write when=" not in problem.fix
    assert problem.fix


def test_a_mended_line_is_tried_with_all_names_of_the_predicate() -> None:
    least, most = 3, 9

    def define() -> Any:
        return rooted(lambda site, top=most: site.score > least and site.score < top)

    with pytest.raises(DefinitionError) as caught:
        define()
    (problem,) = caught.value.problems
    assert problem.fix.endswith("Write when=lambda site, top=most: (site.score > least) & (site.score < top).")


def test_names_of_the_page_are_used() -> None:
    assert jsonpath(lambda site: not_(is_none(site.owner)) & (count(site.tags) > 1))
