"""The SQL ring: one behaviour per test, one file per function, straight against the core."""

from typing import Any

import psycopg
import pytest

from tests.sql.engine import Engine


@pytest.fixture
def engine(conn: "psycopg.Connection[Any]") -> Engine:
    return Engine(conn)
