"""What the SQL tests do over and over: define flows, take tasks, finish or fail them. Plain SQL, no Python of ours."""

import uuid
from collections.abc import Mapping, Sequence
from typing import Any, LiteralString

import psycopg
from psycopg import sql
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

Row = dict[str, Any]


class Engine:
    """A worker and an author in one, on one connection."""

    def __init__(self, conn: "psycopg.Connection[Any]") -> None:
        self.conn = conn
        self.worker_id = uuid.uuid4()

    def rows(self, query: LiteralString, *params: object) -> list[Row]:
        with self.conn.cursor(row_factory=dict_row) as cursor:
            return cursor.execute(query, params).fetchall()

    def row(self, query: LiteralString, *params: object) -> Row:
        (row,) = self.rows(query, *params)
        return row

    def value(self, query: LiteralString, *params: object) -> Any:
        (value,) = self.row(query, *params).values()
        return value

    def flow(
        self,
        slug: str,
        steps: Mapping[str, Sequence[str]],
        *,
        maps: Sequence[str] = (),
        settings: Mapping[str, Mapping[str, object]] | None = None,
        **options: object,
    ) -> None:
        """Define a flow from {step: dependencies}; `settings`: more parameters of add_step; no backoff unless asked for."""
        options = {"fingerprint": "shape", "base_delay": 0, **options}
        self.conn.execute(
            sql.SQL("select pgflow.create_flow(%s, {})").format(_named(options)), (slug, *options.values())
        )
        for step, deps in steps.items():
            given = {"step_type": "map" if step in maps else "single", **(settings or {}).get(step, {})}
            given = {name: Jsonb(value) if isinstance(value, dict) else value for name, value in given.items()}
            self.conn.execute(
                sql.SQL("select pgflow.add_step(%s, %s, %s::text[], {})").format(_named(given)),
                (slug, step, list(deps), *given.values()),
            )

    def serve(self, *slugs: str, worker_id: uuid.UUID | None = None, lease_seconds: int = 1000) -> uuid.UUID:
        worker_id = worker_id or self.worker_id
        self.conn.execute(
            "select pgflow.register_worker(%s, %s, %s, lease_seconds => %s)",
            (worker_id, list(slugs), ["shape"] * len(slugs), lease_seconds),
        )
        return worker_id

    def start(self, slug: str, value: object = None) -> uuid.UUID:
        run_id: uuid.UUID = self.value("select run_id from pgflow.start_flow(%s, %s)", slug, Jsonb(value))
        return run_id

    def claim(self, most: int = 100, worker_id: uuid.UUID | None = None) -> list[Row]:
        return self.rows("select * from pgflow.claim_tasks(%s, %s)", worker_id or self.worker_id, most)

    def complete(self, tasks: Sequence[Row], output: object = None) -> list[Row]:
        return self.rows(
            "select * from pgflow.complete_tasks(%s::uuid[], %s::text[], %s::int[], %s::bigint[], %s::jsonb[])",
            *_keys(tasks),
            [Jsonb(output(t) if callable(output) else output) for t in tasks],
        )

    def fail(self, tasks: Sequence[Row], **error: object) -> list[Row]:
        return self.rows(
            "select * from pgflow.fail_tasks(%s::uuid[], %s::text[], %s::int[], %s::bigint[], %s::jsonb[])",
            *_keys(tasks),
            [Jsonb({"message": "boom", "class": "ValueError", "classes": ["ValueError"], **error}) for _ in tasks],
        )

    def release(self, tasks: Sequence[Row]) -> list[Row]:
        return self.rows(
            "select * from pgflow.release_tasks(%s::uuid[], %s::text[], %s::int[], %s::bigint[])", *_keys(tasks)
        )

    def work_off(self, output: object = None, batch: int = 100) -> list[Row]:
        """Claim and complete until nothing is ready; returns all tasks in the order of their claims."""
        done: list[Row] = []
        while tasks := self.claim(batch):
            assert self.complete(tasks, output) == []
            done += tasks
        return done

    def run(self, run_id: uuid.UUID) -> Row:
        return self.row("select * from pgflow.runs where run_id = %s", run_id)

    def states(self, run_id: uuid.UUID) -> dict[str, str]:
        rows = self.rows("select step_slug, status from pgflow.step_states where run_id = %s", run_id)
        return {row["step_slug"]: row["status"] for row in rows}

    def task(self, run_id: uuid.UUID, step: str, index: int = 0) -> Row:
        return self.row(
            "select * from pgflow.step_tasks where run_id = %s and step_slug = %s and task_index = %s",
            run_id,
            step,
            index,
        )

    def set_clock(self, seconds_from_now: float) -> None:
        """Move this connection's clock."""
        self.conn.execute(
            "select set_config('pgflow.now', (clock_timestamp() + %s * interval '1 second')::text, false)",
            (seconds_from_now,),
        )


def _named(arguments: Mapping[str, object]) -> sql.Composed:
    return sql.SQL(", ").join(sql.SQL("{} => {}").format(sql.Identifier(name), sql.Placeholder()) for name in arguments)


def _keys(tasks: Sequence[Row]) -> tuple[list[Any], list[Any], list[Any], list[Any]]:
    return (
        [t["run_id"] for t in tasks],
        [t["step_slug"] for t in tasks],
        [t["task_index"] for t in tasks],
        [t["fence"] for t in tasks],
    )
