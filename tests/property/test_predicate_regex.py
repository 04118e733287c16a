"""What `matches` finds in PostgreSQL is what `re.search` finds in Python, for random regular expressions and texts."""

import json
import os
import random
import re
import warnings
from typing import Any

import psycopg
import pytest

from flowdsl.model.predicates.mistakes import PredicateError
from flowdsl.model.predicates.pathtext import quoted
from flowdsl.model.predicates.regex import translated
from tests.servers import version

PARTS = 2
AT_RANDOM = int(os.environ.get("FLOWDSL_EXAMPLES", "0"))
EXAMPLES = AT_RANDOM or (1500 if version() == 18 else 200)
CHARACTERS = [
    "a",
    "b",
    "A",
    "1",
    "_",
    " ",
    "\n",
    "\t",
    "\r",
    "-",
    "]",
    "[",
    "^",
    "$",
    "\\",
    '"',
    "'",
    ".",
    "\u00e9",
    "\u0661",
]
CHARACTERS += [
    "\U0001f600",
    "\x7f",
    "\x1f",
    "\u2028",
    "\x0b",
    "\x1c",
    "{",
    "}",
    "(",
    "|",
    "*",
    "+",
    "?",
    "#",
    "/",
    "\uffff",
]
CLASSES = [r"\d", r"\w", r"\s", r"\D", r"\W", r"\S"]
ENDS = ["^", "$", r"\A", r"\Z", r"\b"]
COUNTS = ["*", "+", "?", "{2}", "{0}", "{1,2}", "{0,3}", "{,2}", "{1,}", "*?", "+?", "??", "{1,3}?"]


def random_pattern(dice: random.Random, depth: int = 3) -> str:
    """Return a regular expression of Python's."""
    kind = dice.choice(
        ["text"] * 4 + ["class", "set", "set", "end", "dot"] + ["sequence", "repeat", "branch", "look"] * (depth > 0)
    )
    match kind:
        case "text":
            return re.escape(dice.choice(CHARACTERS))
        case "class":
            return dice.choice(CLASSES)
        case "set":
            return _random_set(dice)
        case "end":
            return dice.choice(ENDS)
        case "dot":
            return "."
        case "sequence":
            return "".join(random_pattern(dice, depth - 1) for _ in range(dice.randrange(4)))
        case "repeat":
            return f"(?:{random_pattern(dice, depth - 1)}){dice.choice(COUNTS)}"
        case "branch":
            inner = "|".join(random_pattern(dice, depth - 1) for _ in range(dice.randrange(1, 4)))
            return dice.choice([f"({inner})", f"(?:{inner})", f"(?P<name{dice.randrange(10**9)}>{inner})"])
        case _:
            return f"({dice.choice(['?=', '?!'])}{random_pattern(dice, depth - 1)})"


def _random_set(dice: random.Random) -> str:
    parts = []
    for _ in range(dice.randrange(1, 4)):
        if dice.random() < 0.3:
            parts.append(dice.choice(CLASSES))
        elif dice.random() < 0.3:
            first, last = sorted(dice.sample(CHARACTERS, 2))
            parts.append(f"{re.escape(first)}-{re.escape(last)}")
        else:
            parts.append(re.escape(dice.choice(CHARACTERS)))
    return f"[{dice.choice(['', '^'])}{''.join(parts)}]"


def random_text(dice: random.Random) -> str:
    """Return a short text."""
    return "".join(dice.choice(CHARACTERS) for _ in range(dice.choice([0, 1, 1, 2, 3, 5])))


def disagreement(conn: "psycopg.Connection[Any]", pattern: str, texts: list[str]) -> str | None:
    """Return a text about which the two do not agree."""
    regex = translated(pattern)
    rows = conn.execute(
        "select text::jsonb @@ %s::jsonpath from unnest(%s::text[]) with ordinality given(text, place) order by place",
        (f'$ like_regex {quoted(regex)} flag "s"', [json.dumps(text) for text in texts]),
    )
    for text, (verdict,) in zip(texts, rows, strict=True):
        if verdict is not (re.search(pattern, text, re.ASCII) is not None):
            return f"{pattern!r} as {regex!r} in {text!r}: the database says {verdict}"
    return None


@pytest.mark.parametrize("part", range(PARTS))
def test_a_match_is_a_match_for_both(part: int, conn: "psycopg.Connection[Any]") -> None:
    warnings.simplefilter("ignore")  # a set that looks like one of a later Python
    judged = 0
    for seed in range(part, EXAMPLES, PARTS):
        dice = random.Random(random.getrandbits(64) if AT_RANDOM else seed)  # noqa: S311 - examples
        pattern = random_pattern(dice)
        try:
            translated(pattern)
        except PredicateError as error:
            assert "too " in error.what or "no regular expression" in error.what, error  # noqa: PT017
            continue
        judged += 1
        found = disagreement(conn, pattern, [random_text(dice) for _ in range(20)])
        assert found is None, found
    assert judged > EXAMPLES // PARTS * 0.9
