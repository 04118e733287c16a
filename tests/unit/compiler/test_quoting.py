"""Values become SQL text that means exactly the value, or they are refused."""

import pytest

from flowdsl.compiler import quoting
from flowdsl.compiler.quoting import Sql
from flowdsl.errors import CompileError


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("", "''"),
        ("plain", "'plain'"),
        ("it's", "'it''s'"),
        ("a\\b", "E'a\\\\b'"),
        ("\\'", "E'\\\\'''"),
        (":name %s %% {{ x }} $$", "':name %s %% {{ x }} $$'"),
        ("two\nlines", "'two\nlines'"),
        ("žluť 🐘", "'žluť 🐘'"),
        (None, "null"),
    ],
)
def test_literal_quotes_text(value: str | None, expected: str) -> None:
    assert quoting.literal(value) == Sql(expected)


def test_a_backslash_is_written_so_that_standard_conforming_strings_does_not_matter() -> None:
    assert quoting.literal("\\n").text.startswith("E'")
    assert quoting.jsonb("\n").text == "E'\"\\\\n\"'::jsonb"


@pytest.mark.parametrize("quote", [quoting.literal, quoting.ident, quoting.jsonb, quoting.remark])
@pytest.mark.parametrize("value", ["a\0b", "\0", "\ud800"])
def test_what_postgresql_cannot_store_is_refused_with_the_reason(quote: object, value: str) -> None:
    assert callable(quote)
    with pytest.raises(CompileError, match="PostgreSQL cannot store"):
        quote(value)


def test_a_nul_deep_in_a_json_value_is_refused_but_the_text_backslash_u0000_is_not() -> None:
    with pytest.raises(CompileError, match="NUL"):
        quoting.jsonb({"a": ["b\0"]})
    with pytest.raises(CompileError, match="NUL"):
        quoting.jsonb({"\0": 1})
    assert quoting.jsonb("\\u0000").text == "E'\"\\\\\\\\u0000\"'::jsonb"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1, 2}, object()])
def test_jsonb_refuses_what_is_not_json(value: object) -> None:
    with pytest.raises(CompileError, match="is not JSON"):
        quoting.jsonb(value)  # type: ignore[arg-type]  # a caller's mistake is what is tested


def test_jsonb_sorts_keys_so_that_equal_values_give_equal_text() -> None:
    assert quoting.jsonb({"b": 1, "a": None}) == quoting.jsonb({"a": None, "b": 1})
    assert quoting.jsonb(None).text == "'null'::jsonb"


def test_ident_quotes_and_refuses_what_postgresql_would_cut_off() -> None:
    assert quoting.ident('odd "name"').text == '"odd ""name"""'
    assert quoting.ident("x" * 63).text == '"' + "x" * 63 + '"'
    with pytest.raises(CompileError, match="longer than 63 bytes"):
        quoting.ident("ž" * 32)
    with pytest.raises(CompileError, match="cannot be empty"):
        quoting.ident("")


def test_integer_takes_ints_of_postgresql_only() -> None:
    assert [quoting.integer(n).text for n in (0, -1, 2**31 - 1)] == ["0", "-1", "2147483647"]
    assert quoting.integer(None).text == "null"
    for wrong in (True, 1.5, "1"):
        with pytest.raises(CompileError, match="not an integer"):
            quoting.integer(wrong)  # type: ignore[arg-type]  # a caller's mistake is what is tested
    with pytest.raises(CompileError, match="does not fit"):
        quoting.integer(2**31)


def test_boolean_takes_booleans_only() -> None:
    assert [quoting.boolean(b).text for b in (True, False, None)] == ["true", "false", "null"]
    with pytest.raises(CompileError, match="not a boolean"):
        quoting.boolean(1)  # type: ignore[arg-type]  # a caller's mistake is what is tested


def test_text_array_quotes_each_element() -> None:
    assert quoting.text_array(["a", "it's", "x\\y"]).text == "array['a', 'it''s', E'x\\\\y']"
    assert quoting.text_array([]).text == "'{}'::text[]"
    assert quoting.text_array(None).text == "null"
    with pytest.raises(CompileError, match="not a list"):
        quoting.text_array("abc")


def test_a_remark_stays_on_its_line() -> None:
    assert quoting.remark("a\nselect 1; \u2028").text == "-- a\\nselect 1; \\u2028"


def test_a_fragment_cannot_be_joined_to_a_string_by_accident() -> None:
    with pytest.raises(TypeError):
        "select " + quoting.literal("x")  # type: ignore[operator]  # the mistake is what is tested
