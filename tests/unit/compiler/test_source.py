"""Values become Python text that evaluates to exactly the value, and that no formatter changes."""

import ast
import json

import pytest

from flowdsl.compiler import source
from flowdsl.types import JsonValue

AWKWARD = [
    "",
    "plain",
    "it's",
    'say "hi"',
    """both ' and " """,
    'three """ quotes, and four """" too',
    "a\\b",
    "ends with a backslash\\",
    'ends with a quote"',
    "\r\n\t\x1b\u2028\u200b\ufeff",
    "žluť 🐘",
    "{{ x }} {% raw %} %s %% :name $$",
]


@pytest.mark.parametrize("value", AWKWARD)
def test_string_evaluates_to_its_value(value: str) -> None:
    text = source.string(value).text
    assert ast.literal_eval(text) == value
    assert "\n" not in text


@pytest.mark.parametrize("value", AWKWARD)
def test_block_evaluates_to_its_value_on_lines_of_its_own(value: str) -> None:
    assert ast.literal_eval(source.block(value).text) == f"\n{value}\n"


@pytest.mark.parametrize("value", AWKWARD)
def test_prose_cannot_end_or_bend_the_docstring_it_stands_in(value: str) -> None:
    module = ast.parse(f'"""Title.\n\n{source.prose(value)}\n"""\n')
    assert ast.get_docstring(module, clean=False) == f"Title.\n\n{value}\n"


def test_sql_with_backslashes_stays_readable() -> None:
    assert source.block(r"select E'a\\b' ~ '\d'").text.startswith('r"""\nselect E')


def test_invisible_characters_are_written_as_escapes() -> None:
    assert "\u202e" not in source.block("a\u202eb").text
    assert "\\u202e" in source.block("a\u202eb").text


def test_json_block_keeps_short_values_on_one_line_and_sorts_keys() -> None:
    value: JsonValue = {
        "steps": [{"slug": "b" * 30, "deps": []}, {"slug": "c" * 30, "deps": ["b" * 30]}],
        "a": 'x"""\\',
    }
    text = ast.literal_eval(source.json_block(value).text)
    assert json.loads(text) == value
    assert text.strip().splitlines() == [
        "{",
        '  "a": "x\\"\\"\\"\\\\",',
        '  "steps": [',
        '    {"deps": [], "slug": "' + "b" * 30 + '"},',
        '    {"deps": ["' + "b" * 30 + '"], "slug": "' + "c" * 30 + '"}',
        "  ]",
        "}",
    ]
