"""The SQL core does what the reference model does, whatever happens in whatever order.

Random flows, workers and calls run on both sides, and after every step everything that the database knows is compared:
runs, steps, tasks, recorded attempts, answers and refusals.

In CI the examples are the same every time (derandomised), so that a change is judged by its own doings, and a failure can be
repeated. New ones are looked for elsewhere, as many as you like, at random:

    FLOWDSL_EXAMPLES=100000 pytest tests/property/test_engine_model.py

A failure is shrunk and printed step by step; `reference_model.py` says what should have happened.
"""

import os

import psycopg
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.servers import version

from .engine_machine import EngineMachine
from .side_by_side import Database

EXAMPLES = int(os.environ.get("FLOWDSL_EXAMPLES", "0"))

CHECKED = settings(
    # The model is about what the core does, hardly about the server: one version looks closely.
    max_examples=EXAMPLES or (2000 if version() == 18 else 200),
    stateful_step_count=25,
    derandomize=not EXAMPLES,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    print_blob=False,
    report_multiple_bugs=False,
    phases=[Phase.generate, Phase.shrink] if os.environ.get("SHRINK", "1") == "1" else [Phase.generate],
)


def test_the_core_does_what_the_model_does(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with psycopg.connect(dsn, autocommit=True) as conn:
        monkeypatch.setattr(EngineMachine, "database", Database(conn), raising=False)
        run_state_machine_as_test(EngineMachine, settings=CHECKED)
