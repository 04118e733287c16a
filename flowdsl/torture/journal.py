"""What handlers write down about themselves, so that afterwards it is known what really ran, and when.

Every attempt begins with a row of its own in `torture.starts`, written over a connection of its own that commits at once:
it tells that a handler started, whatever becomes of the attempt, of its worker and of what the core makes of it. The row's
time is the database's, as are the core's. Its `token` goes into the output, which so names the attempt that made it.
"""

import contextlib
import threading
import time
from typing import Any
from uuid import uuid4

import psycopg

from flowdsl.model.context import Context

SCHEMA = """
create schema torture;
create table torture.starts (
  token uuid primary key,
  run_id uuid not null,
  step_slug text not null,
  task_index int not null,
  attempt int not null,
  max_attempts int not null,
  worker text not null,
  started_at timestamptz not null default clock_timestamp()
);
create table torture.mended (run_id uuid primary key);
"""
_PAUSE_SECONDS = 0.05


class Journal:
    """A worker's way to the journal; its methods wait for the database as long as the attempt may, from any thread."""

    def __init__(self, dsn: str, worker: str) -> None:
        self._dsn = dsn
        self._worker = worker
        self._lock = threading.Lock()
        self._conn: psycopg.Connection[Any] | None = None

    def begin(self, context: Context) -> str:
        """Note that a handler starts; returns the token of this attempt."""
        token = str(uuid4())
        self._execute(
            context,
            "insert into torture.starts (token, run_id, step_slug, task_index, attempt, max_attempts, worker)"
            " values (%s, %s, %s, %s, %s, %s, %s) on conflict do nothing",
            (
                token, context.run_id, context.step_slug, context.task_index, context.attempt, context.max_attempts,
                self._worker,
            ),
        )  # fmt: skip
        return token

    def is_mended(self, context: Context) -> bool:
        """Tell whether the reason why this run had to fail is gone."""
        return bool(
            self._execute(context, "select true from torture.mended where run_id = %s", (context.run_id,)).fetchone()
        )

    def _execute(self, context: Context, query: Any, values: tuple[Any, ...]) -> "psycopg.Cursor[Any]":
        while True:
            with self._lock:
                try:
                    if self._conn is None or self._conn.closed:
                        self._conn = psycopg.connect(self._dsn, autocommit=True, application_name="torture journal")
                    return self._conn.execute(query, values)
                except (psycopg.OperationalError, psycopg.InterfaceError):
                    if context.cancelled:
                        raise
                    self._give_up_connection()
            time.sleep(_PAUSE_SECONDS)

    def _give_up_connection(self) -> None:
        conn, self._conn = self._conn, None
        if conn is not None:
            with contextlib.suppress(psycopg.Error):
                conn.close()


class _Open:
    journal: Journal | None = None


def open_journal(dsn: str, worker: str) -> None:
    """Let the handlers of this process write to the journal of this database."""
    _Open.journal = Journal(dsn, worker)


def journal() -> Journal:
    """Return this process's journal."""
    if _Open.journal is None:
        raise RuntimeError("no journal has been opened in this process")
    return _Open.journal
