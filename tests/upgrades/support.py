"""Databases with a released core, and their upgrade."""

from collections.abc import Callable
from pathlib import Path
from threading import Thread
from typing import Any

import psycopg

from flowdsl.core import manifest
from tests.sql.engine import Engine


def version(path: Path) -> int:
    """Return the version that a file of this folder installs."""
    return int(path.stem.removeprefix("core_"))


RELEASED = sorted(Path(__file__).parent.glob("core_*.sql"), key=version)


def install_released(url: str, path: Path) -> None:
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute(path.read_bytes())


def upgrade(url: str, from_version: int = manifest.FIRST_VERSION) -> None:
    with psycopg.connect(url) as conn:
        conn.execute(manifest.upgrade_sql(from_version).encode())


def assert_sound(url: str) -> None:
    """Let the core itself look for contradictions."""
    with psycopg.connect(url) as conn:
        assert Engine(conn).rows("select * from pgflow.check_invariants()") == []


class Call:
    """A call in a thread of its own: what it returned, or the error it raised."""

    def __init__(self, call: Callable[[], object]) -> None:
        self.result: Any = None
        self.error: psycopg.Error | None = None
        self._thread = Thread(target=self._run, args=(call,))
        self._thread.start()

    def _run(self, call: Callable[[], object]) -> None:
        try:
            self.result = call()
        except psycopg.Error as error:
            self.error = error

    def end(self) -> Any:
        """Wait for the call and return its result."""
        self._thread.join()
        if self.error is not None:
            raise self.error
        return self.result
