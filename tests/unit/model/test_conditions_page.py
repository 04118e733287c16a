# mypy: disable-error-code="empty-body"
"""What docs/conditions.md says can be written can be traced, what it says cannot is refused, and its examples run."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, create_model

import flowdsl
from flowdsl.errors import DefinitionError
from flowdsl.model.conditions import Predicate
from flowdsl.model.problems import Code

PAGE = (Path(__file__).parents[3] / "docs" / "conditions.md").read_text(encoding="utf-8")


class Letter(BaseModel):
    customer: str | None = None
    text: str
    tags: list[str] = []


class Mood(BaseModel):
    score: float
    label: str


def judge(letter: Letter) -> Mood: ...
def escalate(letter: Letter, mood: Mood) -> str: ...
def thank(letter: Letter, mood: Mood) -> str: ...
def tag(letter: Letter) -> str: ...
def discount(letter: Letter) -> int: ...
def answer(letter: Letter, ticket: str | None, percent: int | None) -> str: ...


def test_the_examples_run() -> None:
    names: dict[str, Any] = {**vars(flowdsl), **globals()}
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 3
    predicates = []
    for block in blocks:
        exec(block, names)  # noqa: S102 - the page's own examples
        found = [value for value in names.values() if isinstance(value, flowdsl.Flow)]
        predicates += [step.input_predicate for flow in found for step in flow.shape().steps]
    words = [predicate.words for predicate in predicates if isinstance(predicate, Predicate)]
    assert "mood.score < -0.5 and mood.label is not 'spam'" in words


def rows(heading: str) -> Iterator[tuple[list[str], list[str]]]:
    """Yield the snippets in the first and in the second column of a table."""
    table = PAGE.partition(f"| {heading} |")[2].partition("\n\n")[0]
    for line in table.splitlines()[2:]:
        first, second = re.split(r"(?<!\\) \| ", line.strip("| "))
        yield tuple(re.findall(r"`([^`]+)`", part.replace("\\|", "|")) for part in (first, second))  # type: ignore[misc]


def traced(snippet: str, declared: Any) -> Predicate | Code:
    """Return the predicate of a snippet about a, b, c, x, xs and y, or the code of the mistake."""
    names = {"re": re, **vars(flowdsl)}
    expression = re.sub(r"\b(a|b|c|x|xs|y|site|row)\b(?![\"'=(])(?!:)", r"v.\1", snippet)
    expression = expression.replace("lambda v.x", "lambda x").replace('r"…"', 'r"z"')
    values: Any = create_model(
        "Values", a=(bool, ...), b=(bool, ...), c=(bool, ...), x=(declared, ...), xs=(list[str], ...), y=(declared, ...)
    )

    def handler(value: values) -> str: ...

    untyped: Any = flowdsl.Flow
    try:
        flow = untyped("page", values).step(handler, when=eval(f"lambda v: {expression}", names))  # noqa: S307
    except DefinitionError as error:
        return Code(error.problems[0].code)
    predicate = flow.shape().steps[0].input_predicate
    assert isinstance(predicate, Predicate)
    return predicate


REPLACED = [
    (wrong, right)
    for ours, theirs in rows("Instead of | Write")
    for wrong, right in zip(ours, theirs, strict=False)
    if "…" not in (wrong + right).replace('r"…"', "")
]


def test_the_table_of_replacements_is_read() -> None:
    assert len(REPLACED) >= 10


@pytest.mark.parametrize(("wrong", "right"), REPLACED, ids=[wrong for wrong, _ in REPLACED])
def test_what_is_to_be_replaced_is_refused_and_its_replacement_is_traced(wrong: str, right: str) -> None:
    types: list[Any] = [int, float, str | None]
    decided = {Code.UNTRACEABLE_PREDICATE, Code.IMPOSSIBLE_PREDICATE, Code.POINTLESS_PREDICATE}
    if not wrong.startswith("if"):
        assert {traced(wrong, declared) for declared in types} <= decided
    assert any(isinstance(traced(right, declared), Predicate) for declared in types)
