"""Binary arrays arrive as what they are."""

import uuid
from typing import Any

import psycopg
import pytest

from flowdsl.gateway.arrays import Int4Array, Int8Array, JsonbArray, PgArray, TextArray, UuidArray

ID = uuid.UUID(int=1 << 127 | 5)


@pytest.mark.parametrize(
    ("array", "kind", "expected"),
    [
        (TextArray([]), "text[]", []),
        (TextArray(["", "é", "a,b", '"', "NULL", "{}"]), "text[]", ["", "é", "a,b", '"', "NULL", "{}"]),
        (UuidArray([ID, uuid.UUID(int=0)]), "uuid[]", [ID, uuid.UUID(int=0)]),
        (Int4Array([0, -1, 2**31 - 1]), "integer[]", [0, -1, 2**31 - 1]),
        (Int8Array([2**63 - 1, -(2**63)]), "bigint[]", [2**63 - 1, -(2**63)]),
        (JsonbArray([b"null", b'{"a": [1, "x"]}', None, b'"\xc3\xa9"']), "jsonb[]", [None, {"a": [1, "x"]}, None, "é"]),
    ],
)
def test_arrays_round_trip(conn: "psycopg.Connection[Any]", array: PgArray, kind: str, expected: list[object]) -> None:
    row = conn.execute("select %s, pg_typeof(%s)::text", (array, array)).fetchone()
    assert row == (expected, kind)


def test_json_null_and_sql_null_stay_apart(conn: "psycopg.Connection[Any]") -> None:
    rows = conn.execute("select x is null from unnest(%s) x", (JsonbArray([b"null", None]),)).fetchall()
    assert rows == [(False,), (True,)]
