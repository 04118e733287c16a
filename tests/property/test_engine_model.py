"""The SQL core does what the reference model does, whatever happens in whatever order.

Random flows, workers and calls run on both sides, and after every step everything that the database knows is compared:
runs, steps, tasks, recorded attempts, answers and refusals. At the end of each example `check_invariants()` has its say.

In CI the examples are the same every time (fixed seeds), so that a change is judged by its own doings and a failure can be
repeated. New ones are looked for elsewhere, at random and as many as you like:

    FLOWDSL_EXAMPLES=100000 pytest -n auto tests/property/test_engine_model.py

A failure is shrunk, which takes minutes, and printed step by step; `reference_model.py` says what should have happened.
"""

import os

import psycopg
import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.servers import version

from .engine_machine import EngineMachine
from .side_by_side import Database

PARTS = 4  # for processes side by side
AT_RANDOM = int(os.environ.get("FLOWDSL_EXAMPLES", "0"))
# What the core does hardly depends on the server's version: one is looked at closely.
EXAMPLES = AT_RANDOM or (2000 if version() == 18 else 200)

SEARCH = settings(
    max_examples=EXAMPLES // PARTS,
    stateful_step_count=25,
    database=None,
    deadline=None,
    phases=[Phase.generate, Phase.shrink],
    report_multiple_bugs=False,
    suppress_health_check=list(HealthCheck),
)


@pytest.mark.parametrize("part", range(PARTS))
def test_the_core_does_what_the_model_does(part: int, dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as conn:

        class Machine(EngineMachine):
            database = Database(conn)

        run_state_machine_as_test(Machine if AT_RANDOM else seed(part)(Machine), settings=SEARCH)
