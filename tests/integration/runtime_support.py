"""What the tests of worker and client share: flows put into a database, workers that run beside a test."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

from flowdsl.model.conditions import Pattern
from flowdsl.model.flow import Flow
from flowdsl.runtime.worker import Worker

FAST: dict[str, Any] = {"lease_seconds": 5, "grace_seconds": 5, "poll_seconds": 0.2}


def compile_into(dsn: str, *flows: Flow[Any, Any]) -> None:
    """Put flows into the database as their migrations would."""
    with psycopg.connect(dsn, autocommit=True) as conn:
        for flow in flows:
            shape = flow.shape()
            options = dict(shape.options)
            conn.execute(
                "select pgflow.create_flow(%s, max_attempts => %s, base_delay => %s, timeout => %s, max_delay => %s,"
                " queue => %s, priority => %s, deadline => %s, fingerprint => %s, output_step => %s)",
                (
                    shape.slug, options["max_attempts"], options["base_delay"], options["timeout"], options["max_delay"],
                    options["queue"], options["priority"], options["deadline"], shape.fingerprint, shape.output_step,
                ),
            )  # fmt: skip
            for step in shape.steps:
                given = dict(step.options)
                retry_on = given["retry_on"]
                conn.execute(
                    "select pgflow.add_step(%s, %s, %s, max_attempts => %s, base_delay => %s, timeout => %s,"
                    " start_delay => %s, step_type => %s, map_over => %s, uses_run_input => %s, max_delay => %s,"
                    " retry_on => %s, queue => %s, priority => %s, required_input_pattern => %s,"
                    " forbidden_input_pattern => %s, when_unmet => %s, when_exhausted => %s)",
                    (
                        shape.slug, step.slug, list(step.deps), given["max_attempts"], given["base_delay"], given["timeout"],
                        given["start_delay"], step.step_type.value, step.map_over, step.uses_run_input, given["max_delay"],
                        list(retry_on) if isinstance(retry_on, tuple) else None, given["queue"], given["priority"],
                        _jsonb(step.required_input_pattern), _jsonb(step.forbidden_input_pattern), step.when_unmet,
                        step.when_exhausted,
                    ),
                )  # fmt: skip


def _jsonb(pattern: Pattern | None) -> Jsonb | None:
    return None if pattern is None else Jsonb(pattern.value)


@asynccontextmanager
async def working(*flows: Flow[Any, Any], dsn: str, **options: Any) -> AsyncIterator[Worker]:
    """A worker that serves the flows inside of the context, and is drained at its end."""
    worker = Worker(flows, dsn, **{**FAST, **options})
    async with asyncio.TaskGroup() as group:
        group.create_task(worker.run(stop_signals=False))
        try:
            yield worker
        finally:
            worker.stop()


async def until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    """Wait for a condition that the test itself brings about."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - what is waited for may happen in another thread or process
            await asyncio.sleep(0.01)
