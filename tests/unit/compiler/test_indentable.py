"""SQL as Python source keeps its meaning when every line of it is indented and stripped at its end."""

import ast
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowdsl.compiler import quoting
from flowdsl.compiler.indentable import indentable
from flowdsl.types import JsonValue

from .shapes import AWKWARD_TEXTS

TEXTS = st.lists(
    st.sampled_from(
        ["'", '"', '"""', "\\", "\n", " \n  ", "{", "}", "--", "$$", "E'", "%s", ":x", "\t", "\r", "ž", "[1,\n2]"]
    )
    | st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=4),
    max_size=8,
).map("".join)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)


def indented(source: str) -> str:
    """What Alembic makes of lines that go into `upgrade()`."""
    text = re.compile(r"^", re.MULTILINE).sub("    ", source).strip()
    return re.compile(r" +$", re.MULTILINE).sub("", text)


def meaning(source: str) -> str:
    value = ast.literal_eval(source)
    assert isinstance(value, str)
    return value


@given(texts=st.lists(TEXTS, min_size=1, max_size=4))
def test_any_text_survives(texts: list[str]) -> None:
    statement = f"select f(\n  {quoting.text_array(texts)},\n  {quoting.literal(texts[0])}\n);"
    again = meaning(indented(str(indentable(statement))))
    # The words between the values are laid out anew, the values are not.
    assert " ".join(again.split(quoting.literal(texts[0]).text)[0].split()) == " ".join(
        statement.split(quoting.literal(texts[0]).text)[0].split()
    )
    for text in texts:
        assert quoting.literal(text).text in again


@given(value=JSON)
def test_any_json_survives_and_stays_on_its_lines(value: JsonValue) -> None:
    statement = f"select f(\n  value => {quoting.jsonb_block(value)}\n);"
    source = str(indentable(statement))
    again = meaning(indented(source))
    assert json_value(again) == value
    assert source.count("\n") >= statement.count("\n") + 2


def json_value(statement: str) -> JsonValue:
    found = re.search(r"value => (E?)'(.*)'::jsonb\n", statement, re.DOTALL)
    assert found is not None
    text = found.group(2).replace("''", "'")
    return json.loads(text.replace("\\\\", "\\") if found.group(1) else text)  # type: ignore[no-any-return]


@pytest.mark.parametrize("text", AWKWARD_TEXTS)
def test_awkward_text_survives(text: str) -> None:
    literal = quoting.literal(text).text
    assert literal in meaning(indented(str(indentable(f"select {literal};"))))


def test_text_that_happens_to_be_json_is_text() -> None:
    assert "'[1,\n2]'" in meaning(indented(str(indentable("select '[1,\n2]', '[1,\n2]'::jsonb;"))))


def test_quotes_in_names_and_comments_open_no_value() -> None:
    statement = "-- it's a remark\nselect \"it's\nme\", 'a\n b';"
    assert "'a\n b'" in meaning(indented(str(indentable(statement))))
