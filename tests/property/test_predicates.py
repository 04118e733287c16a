"""The database's verdict on the JSON is Python's on the real objects, for random types, predicates and values.

One random tree is written twice: traced by flowdsl and judged by PostgreSQL, and as plain Python evaluated on what a worker
would decode. In CI the examples are the same every time; new ones are looked for at random, as many as you like:

    FLOWDSL_EXAMPLES=20000 pytest -n auto tests/property/test_predicates.py
"""

import json
import os
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest

import flowdsl
from flowdsl.model.adapters import ValueAdapter
from flowdsl.model.predicates import jsonpath, pathtext, values
from flowdsl.model.predicates.inputs import Input
from flowdsl.model.predicates.mistakes import PredicateError
from flowdsl.model.predicates.reading import predicate_of, read_predicate
from flowdsl.model.problems import Code
from tests.servers import version

from .predicate_trees import PLAIN, Access, Tree, Writer, random_tree
from .predicate_types import Spec, random_record, random_spec

PARTS = 4  # for processes side by side
AT_RANDOM = int(os.environ.get("FLOWDSL_EXAMPLES", "0"))
# What jsonpath says does not depend on the server's version, but for what it can parse: one is looked at closely.
EXAMPLES = AT_RANDOM or (1000 if version() == 18 else 200)
VALUES = 12  # for each predicate


@dataclass(frozen=True)
class Example:
    """A step's inputs, values of them as the worker decodes them and as the database has them, and a predicate."""

    names: tuple[str, ...]
    adapters: tuple[ValueAdapter, ...]
    maybe: tuple[bool, ...]
    judged: tuple[str, ...]
    objects: tuple[tuple[Any, ...], ...]
    tree: Tree

    @property
    def is_root(self) -> bool:
        """Whether the run's input is judged itself."""
        return len(self.names) == 1


def random_example(dice: random.Random) -> Example:
    """Return an example about a root step's input, or about the run's input and a dependency."""
    specs: list[Spec] = [random_record(dice)]
    maybe = [False]
    if dice.random() < 0.6:
        specs.append(random_spec(dice) if dice.random() < 0.4 else random_record(dice))
        maybe.append(dice.random() < 0.5)
    names = ("run", "dep")[: len(specs)]
    adapters = tuple(ValueAdapter(spec.declared) for spec in specs)
    judged, objects = [], []
    for _ in range(VALUES):
        texts = [_written(dice, spec, adapter) for spec, adapter in zip(specs, adapters, strict=True)]
        missing = [is_maybe and dice.random() < 0.3 for is_maybe in maybe]
        there = zip(adapters, texts, missing, strict=True)
        objects.append(tuple(None if gone else adapter.decode(text) for adapter, text, gone in there))
        parts = [
            f'"{name}": {text.decode()}' for name, text, gone in zip(names, texts, missing, strict=True) if not gone
        ]
        judged.append(texts[0].decode() if len(names) == 1 else "{" + ", ".join(parts) + "}")
    roots = [
        Access(name, (), spec, spec.is_nullable or is_maybe)
        for name, spec, is_maybe in zip(names, specs, maybe, strict=True)
    ]
    return Example(names, adapters, tuple(maybe), tuple(judged), tuple(objects), random_tree(dice, roots))


def _written(dice: random.Random, spec: Spec, adapter: ValueAdapter) -> bytes:
    """Return what the codec writes; sometimes without keys that have a default, as other callers may."""
    data = adapter.encode(spec.draw(dice))
    if dice.random() < 0.5:
        return data
    return json.dumps(_thinned(dice, spec, json.loads(data)), ensure_ascii=False).encode()


def _thinned(dice: random.Random, spec: Spec, value: Any) -> Any:
    if isinstance(value, list) and spec.element is not None:
        return [_thinned(dice, spec.element, item) for item in value]
    if isinstance(value, dict) and spec.element is not None:
        return {key: _thinned(dice, spec.element, item) for key, item in value.items()}
    if not isinstance(value, dict) or spec.family != "record":
        return value
    kept = {}
    for part in spec.parts.values():
        is_model = not spec.by_key and hasattr(spec.record, "model_fields")
        alias = spec.record.model_fields[part.name].alias if is_model else None
        key = alias or part.name
        if key in value and not (part.has_default and dice.random() < 0.5):
            kept[key] = _thinned(dice, part.spec, value[key])
    return kept


# ---- both verdicts --------------------------------------------------------------------------------------------------


def of_python(example: Example) -> list[bool]:
    """Return Python's verdict on each of the values."""
    writer = Writer()
    source = f"lambda {', '.join(example.names)}: {writer.plain(example.tree)}"
    function = eval(source, {**PLAIN, "constants": writer.constants})  # noqa: S307 - written here
    return [bool(function(*values)) for values in example.objects]


def traced(example: Example) -> str | bool:
    """Return the jsonpath of the traced predicate, or its verdict where it is always the same."""
    writer = Writer()
    source = f"lambda {', '.join(example.names)}: {writer.traced(example.tree)}"
    function = eval(source, {**vars(flowdsl), "constants": writer.constants})  # noqa: S307 - written here
    inputs = [
        Input(slug=name, adapter=lambda adapter=adapter: adapter, is_maybe=is_maybe)  # type: ignore[misc]
        for name, adapter, is_maybe in zip(example.names, example.adapters, example.maybe, strict=True)
    ]
    try:
        return predicate_of([read_predicate("when", function, inputs, is_root=example.is_root)]).jsonpath
    except PredicateError as error:
        if error.code is Code.IMPOSSIBLE_PREDICATE:
            return False
        if error.code is Code.POINTLESS_PREDICATE:
            return True
        raise AssertionError(f"{error}\n{source}\n{writer.constants}") from error


def of_database(conn: "psycopg.Connection[Any]", example: Example) -> list[bool | None]:
    """Return the database's verdict on each of the values; None is unknown."""
    predicate = traced(example)
    if isinstance(predicate, bool):
        return [predicate] * len(example.judged)
    rows = conn.execute(
        "select judged::jsonb @@ %s::jsonpath from unnest(%s::text[]) with ordinality given(judged, place) order by place",
        (predicate, list(example.judged)),
    )
    return [row[0] for row in rows]


def disagreement(conn: "psycopg.Connection[Any]", example: Example) -> str | None:
    """Return on what the two do not agree, in full."""
    python, database = of_python(example), of_database(conn, example)
    for place, (one, other) in enumerate(zip(python, database, strict=True)):
        if one is not other:
            writer = Writer()
            return "\n".join(
                [
                    f"Python: {one}, database: {other}",
                    f"predicate: {writer.traced(example.tree)}",
                    f"constants: {writer.constants}",
                    f"jsonpath: {traced(example)}",
                    f"judged: {example.judged[place]}",
                    f"objects: {example.objects[place]}",
                ]
            )
    return None


def shrunk(example: Example, is_wrong: Callable[[Example], bool]) -> Example:
    """Return the example with the smallest part of its predicate that is still wrong."""
    for tree in example.tree.subtrees():
        smaller = Example(**{**vars(example), "tree": tree})
        if is_wrong(smaller):
            return shrunk(smaller, is_wrong)
    return example


def search(conn: "psycopg.Connection[Any]", seeds: range) -> tuple[str | None, int]:
    """Judge examples until two verdicts differ; return the difference and how many were judged by the database."""
    judged = 0
    for seed in seeds:
        dice = random.Random(random.getrandbits(64) if AT_RANDOM else seed)  # noqa: S311 - examples
        example = random_example(dice)
        judged += isinstance(traced(example), str)
        if disagreement(conn, example) is not None:
            return disagreement(conn, shrunk(example, lambda smaller: disagreement(conn, smaller) is not None)), judged
    return None, judged


@pytest.mark.parametrize("part", range(PARTS))
def test_the_databases_verdict_is_pythons(part: int, conn: "psycopg.Connection[Any]") -> None:
    found, judged = search(conn, range(part, EXAMPLES, PARTS))
    assert found is None, found
    # Predicates that are always true or false say little about the database.
    assert judged > EXAMPLES // PARTS // 2


# ---- the test itself is tested --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("module", "name", "broken"),
    [
        (jsonpath, "_is_there", lambda place, kind: True),  # what is null or of another JSON type is not looked at
        (jsonpath, "_defaults", lambda place: ()),  # absent is None, whatever the model says
        (jsonpath, "number_comparison", lambda operator, value, number: (operator, values.decimal(float(value)))),
        (pathtext, "quoted", lambda text: f'"{text}"'),
    ],
    ids=["None", "defaults", "numbers", "quotes"],
)
def test_a_planted_mistake_is_found(
    module: Any, name: str, broken: Any, monkeypatch: pytest.MonkeyPatch, conn: "psycopg.Connection[Any]"
) -> None:
    monkeypatch.setattr(module, name, broken)
    try:
        found, _ = search(conn, range(3000))
    except psycopg.Error as error:
        found = str(error)
    assert found is not None
