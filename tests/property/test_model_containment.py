"""The reading of `@>` at definition time against PostgreSQL itself: what the server finds contained is never refused."""

from typing import Any

import psycopg
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from psycopg.types.json import Jsonb
from pydantic_core import from_json

from flowdsl.model.adapters import ValueAdapter
from flowdsl.model.containment import misfits

from .model_strategies import typed
from .test_model_conditions import part_of

shared = settings(
    deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture], max_examples=150
)


@shared
@given(typed, st.data())
def test_what_postgresql_finds_contained_is_let_through(
    conn: "psycopg.Connection[Any]", pair: tuple[Any, st.SearchStrategy[Any]], data: st.DataObject
) -> None:
    declared, values = pair
    adapter = ValueAdapter(declared)
    written, other = (from_json(adapter.encode(data.draw(values))) for _ in range(2))
    # Parts of the value itself are contained, parts of another are sometimes, and wrapped ones are by a special rule.
    drawn = part_of(written) | part_of(other) | part_of(written).map(lambda part: [part])
    pattern = data.draw(drawn)
    # Within a dict, as each pattern is: at the top, an array contains a bare scalar.
    row = conn.execute("select %s @> %s", (Jsonb({"it": written}), Jsonb({"it": pattern}))).fetchone()
    assert row is not None
    event(f"contained: {row[0]}")
    if row[0]:
        assert misfits(pattern, adapter.written_schema()) == []


@shared
@given(typed, st.data())
def test_what_is_drawn_as_a_part_is_contained_for_postgresql(
    conn: "psycopg.Connection[Any]", pair: tuple[Any, st.SearchStrategy[Any]], data: st.DataObject
) -> None:
    declared, values = pair
    written = from_json(ValueAdapter(declared).encode(data.draw(values)))
    row = conn.execute("select %s @> %s", (Jsonb(written), Jsonb(data.draw(part_of(written))))).fetchone()
    assert row == (True,)
