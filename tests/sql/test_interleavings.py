"""Any two calls at once, at every lock: no deadlock, nothing lost, nothing done twice.

`PAIRS` is the table: a scene, two acts, and for each act the rows where it can be stopped (`at`) and those it steps over
instead of waiting (`past`). Each line is tested in both orders, stopped at each row and at the act's end, with commit and
with rollback. What must come out is said in interleave.py.
"""

import uuid
from collections.abc import Iterator

import psycopg
import pytest
from psycopg import sql
from psycopg.types.json import Jsonb

from flowdsl.postgres import PostgresServer
from tests.sql.engine import Engine
from tests.sql.interleave import Act, Case, Pair, Refused, Stage, World, cases, run_id, task_name, worker_id

# ---- scenes ------------------------------------------------------------------------------------------------------------


def _started(engine: Engine, run: int, value: object = None, flow: str = "f") -> None:
    engine.conn.execute("select pgflow.start_flow(%s, %s, %s)", (flow, Jsonb(value), run_id(run)))


def _workers(engine: Engine) -> None:
    engine.serve("f", worker_id=worker_id(1), lease_seconds=30)
    engine.serve("f", worker_id=worker_id(2))


def _claimed(engine: Engine, world: World, most: int = 100) -> World:
    world.hold(engine.claim(most, worker_id(1)))
    return world


def one_task(engine: Engine) -> World:
    """a is claimed, b depends on it."""
    engine.flow("f", {"a": (), "b": ("a",)}, max_attempts=2)
    _workers(engine)
    _started(engine, 1)
    return _claimed(engine, World())


def last_task(engine: Engine) -> World:
    """a is claimed, and the run has nothing else."""
    engine.flow("f", {"a": ()}, max_attempts=2)
    _workers(engine)
    _started(engine, 1)
    return _claimed(engine, World())


def map_of_two(engine: Engine) -> World:
    """Both tasks of the map m are claimed, b depends on it."""
    engine.flow("f", {"m": (), "b": ("m",)}, maps=["m"], max_attempts=2)
    _workers(engine)
    _started(engine, 1, [10, 20])
    return _claimed(engine, World())


def join(engine: Engine) -> World:
    """a and b are claimed, c depends on both."""
    engine.flow("f", {"a": (), "b": (), "c": ("a", "b")}, max_attempts=2)
    _workers(engine)
    _started(engine, 1)
    return _claimed(engine, World())


def half_claimed(engine: Engine) -> World:
    """a is claimed, b waits for a claim."""
    world = join(engine)
    engine.release([world.tasks.pop("b1")])
    return world


def two_runs(engine: Engine) -> World:
    """a is claimed in both runs, b depends on it."""
    engine.flow("f", {"a": (), "b": ("a",)}, max_attempts=2)
    _workers(engine)
    _started(engine, 1)
    _started(engine, 2)
    return _claimed(engine, World())


def one_waits(engine: Engine) -> World:
    """A run, and its task waits for a claim."""
    engine.flow("f", {"a": ()})
    _workers(engine)
    _started(engine, 1)
    return World()


def two_wait(engine: Engine) -> World:
    """Two runs, and their tasks wait for a claim."""
    one_waits(engine)
    _started(engine, 2)
    return World()


def lost(engine: Engine) -> World:
    """a is claimed by worker 1, whose lease has run out."""
    world = one_task(engine)
    world.later = 60
    return world


def nothing(engine: Engine) -> World:
    """A flow without runs."""
    engine.flow("f", {"a": ()})
    _workers(engine)
    return World()


def finished(engine: Engine) -> World:
    """The only run has completed, in version 1; version 2 is the current one."""
    world = last_task(engine)
    engine.complete(list(world.tasks.values()), "done")
    return world


# ---- acts --------------------------------------------------------------------------------------------------------------


def _refused(rows: list[dict[str, object]]) -> Refused:
    return Refused(
        sorted(
            (task_name(r["run_id"], r["step_slug"], r["task_index"]), r["reason"])  # type: ignore[arg-type]
            for r in rows
        )
    )


def _names(rows: list[dict[str, object]]) -> list[str]:
    return sorted(
        f"{task_name(r['run_id'], r['step_slug'], r['task_index'])} attempt {r['attempt']}"  # type: ignore[arg-type]
        for r in rows
        if r["refusal"] is None
    )


def complete(*keys: str, output: object = 1) -> Act:
    def do(engine: Engine, world: World) -> Refused:
        return _refused(engine.complete([world.tasks[key] for key in keys], output))

    return Act(f"complete {' '.join(keys)}" + (f" with {output}" if output != 1 else ""), do, "complete_tasks")


def fail(*keys: str, final: bool = False) -> Act:
    def do(engine: Engine, world: World) -> Refused:
        return _refused(engine.fail([world.tasks[key] for key in keys], retryable=not final))

    return Act(f"fail {' '.join(keys)}{' for good' if final else ''}", do, "fail_tasks")


def release(*keys: str) -> Act:
    def do(engine: Engine, world: World) -> Refused:
        return _refused(engine.release([world.tasks[key] for key in keys]))

    return Act(f"release {' '.join(keys)}", do, "release_tasks")


def release_strays(worker: int) -> Act:
    def do(engine: Engine, _: World) -> object:
        return engine.value("select pgflow.release_strays(%s, '{}')", worker_id(worker))

    return Act(f"release strays of worker {worker}", do, "release_strays")


def claim(most: int, worker: int) -> Act:
    def do(engine: Engine, _: World) -> list[str]:
        return _names(engine.claim(most, worker_id(worker)))

    def the_rest(engine: Engine, _: World) -> list[str]:
        return _names(engine.claim(100, worker_id(worker)))

    return Act(f"claim {most} for worker {worker}", do, "claim_tasks", the_rest)


def complete_and_claim(*keys: str, worker: int) -> Act:
    def do(engine: Engine, world: World) -> list[str]:
        tasks = [world.tasks[key] for key in keys]
        return _names(
            engine.rows(
                "select * from pgflow.complete_and_claim_tasks("
                " %s, 10, %s::uuid[], %s::text[], %s::int[], %s::bigint[], %s::jsonb[])",
                worker_id(worker),
                [t["run_id"] for t in tasks],
                [t["step_slug"] for t in tasks],
                [t["task_index"] for t in tasks],
                [t["fence"] for t in tasks],
                [Jsonb(1) for _ in tasks],
            )
        )

    return Act(f"complete {' '.join(keys)} and claim", do, "complete_and_claim_tasks", do)


def _query(name: str, function: str, query: str, *, again: bool = False) -> Act:
    def do(engine: Engine, _: World) -> object:
        rows = engine.rows(query)  # type: ignore[arg-type]
        return next(iter(rows[0].values())) if rows else None

    return Act(name, do, function, do if again else None)


recover = _query("recover", "recover_tasks", "select pgflow.recover_tasks()", again=True)
heartbeat = _query("heartbeat of worker 1", "heartbeat_worker", f"select pgflow.heartbeat_worker('{worker_id(1)}')")
stop = _query("stop worker 1", "mark_worker_stopped", f"select pgflow.mark_worker_stopped('{worker_id(1)}')")
watch = _query("watch", "watch_run", f"select pgflow.watch_run('{run_id(1)}')")
drop = _query("drop the flow", "drop_flow_version", "select pgflow.drop_flow_version('f', 1)")
prioritise = _query(
    "change the priority",
    "set_flow_options",
    "select flow_slug from pgflow.set_flow_options('f', priority => 5)",
    again=True,
)
cancel = _query("cancel", "cancel_run", f"select status from pgflow.cancel_run('{run_id(1)}')")


def start(*runs: int) -> Act:
    def do(engine: Engine, _: World) -> object:
        return engine.value(
            "select array_agg(s) from pgflow.start_flows('f', %s, %s) s",
            [Jsonb(None) for _ in runs],
            [run_id(run) for run in runs],
        )

    return Act(f"start {' '.join(map(str, runs))}", do, "start_flows")


# ---- the table ---------------------------------------------------------------------------------------------------------

RUN_TASK_STATE = ("run 1", "task a1", "state a1")
IN_RUN = (*RUN_TASK_STATE, "state b1")

PAIRS = [
    # results of one task
    Pair(one_task, complete("a1", output="x").at(*IN_RUN), complete("a1", output="y").at(*IN_RUN)),
    Pair(one_task, complete("a1").at(*IN_RUN), fail("a1").at("run 1", "task a1"), winners=1),
    Pair(one_task, complete("a1").at(*IN_RUN), fail("a1", final=True).at(*IN_RUN)),
    Pair(one_task, complete("a1").at(*IN_RUN), release("a1").at("run 1", "task a1"), winners=1),
    Pair(one_task, fail("a1").at("run 1", "task a1"), release("a1").at("run 1", "task a1"), winners=1),
    Pair(one_task, complete("a1"), release_strays(1).at("run 1", "task a1")),
    Pair(last_task, complete("a1").at(*RUN_TASK_STATE), fail("a1", final=True).at(*RUN_TASK_STATE)),
    Pair(last_task, complete("a1").at(*RUN_TASK_STATE), watch.at("run 1")),
    # results of several tasks of a run
    Pair(
        map_of_two,
        complete("m1.0", output=10).at("run 1", "task m1.0", "state m1"),
        complete("m1.1", output=20).at("run 1", "task m1.1", "state m1"),
    ),
    Pair(
        map_of_two,
        complete("m1.0", "m1.1").at("run 1", "task m1.0", "task m1.1", "state m1", "state b1"),
        complete("m1.1", "m1.0").at("run 1", "task m1.0", "task m1.1", "state m1", "state b1"),
    ),
    Pair(map_of_two, complete("m1.0").at("run 1"), fail("m1.1", final=True).at("run 1", "task m1.0", "state b1")),
    Pair(map_of_two, fail("m1.0", final=True).at("run 1", "task m1.1"), fail("m1.1", final=True).at("run 1")),
    Pair(
        join,
        complete("a1").at("run 1", "task a1", "state a1", "state c1"),
        complete("b1").at("run 1", "task b1", "state b1", "state c1"),
    ),
    Pair(
        join,
        complete("a1").at("run 1", "task a1", "state a1", "state c1"),
        fail("b1", final=True).at("run 1", "task a1", "task b1", "state a1", "state b1", "state c1"),
    ),
    Pair(
        join,
        fail("a1", final=True).at("run 1", "task a1", "task b1", "state a1", "state b1", "state c1"),
        fail("b1", final=True).at("run 1", "task a1", "task b1", "state a1", "state b1", "state c1"),
    ),
    Pair(join, complete("a1"), release("b1").at("run 1", "task b1")),
    # over two runs, in opposite order
    Pair(
        two_runs,
        complete("a1", "a2").at("run 1", "run 2", "task a1", "task a2", "state b1", "state b2"),
        complete("a2", "a1").at("run 1", "run 2", "task a1", "task a2", "state b1", "state b2"),
    ),
    Pair(
        two_runs,
        complete("a1", "a2").at("run 1", "run 2", "task a1", "task a2", "state b1", "state b2"),
        fail("a2", "a1", final=True).at("run 1", "run 2", "task a1", "task a2", "state b1", "state b2"),
    ),
    Pair(
        two_runs,
        complete_and_claim("a1", "a2", worker=1).at("run 1", "run 2", "task a1", "state b2").past("lanes", "worker 1"),
        complete_and_claim("a2", "a1", worker=2).at("run 1", "run 2", "task a2", "state b1").past("lanes", "worker 2"),
    ),
    Pair(
        two_runs,
        complete_and_claim("a1", worker=1).at("run 1").past("run 2"),
        complete_and_claim("a2", worker=2).at("run 2").past("run 1"),
    ),
    # claims
    Pair(
        one_waits,
        claim(1, worker=1).past("run 1", "task a1", "state a1", "lanes", "worker 1", "flow"),
        claim(1, worker=2).past("task a1"),
        winners=1,
    ),
    Pair(two_wait, claim(1, worker=1).past("task a1", "lanes"), claim(1, worker=2).past("task a2"), winners=2),
    Pair(two_wait, claim(2, worker=1).past("task a1"), claim(2, worker=2).past("task a2"), winners=2),
    Pair(half_claimed, claim(1, worker=2).past("run 1", "task b1", "state b1"), complete("a1").at("run 1")),
    Pair(
        half_claimed,
        claim(1, worker=2).past("task b1", "lanes"),
        fail("a1", final=True).at("run 1", "task a1", "task b1", "state b1", "state c1"),
    ),
    Pair(one_task, claim(1, worker=2).past("run 1", "task a1"), fail("a1").at("run 1", "task a1")),
    Pair(one_task, claim(1, worker=2).past("run 1", "task a1"), release("a1").at("run 1", "task a1")),
    Pair(
        lost, claim(1, worker=2).past("task a1", "worker 1"), recover.at("run 1", "task a1").past("worker 1", "lanes")
    ),
    Pair(nothing, claim(1, worker=1).past("lanes"), start(1)),
    # starts
    Pair(nothing, start(1), start(1)),
    Pair(nothing, start(1, 2), start(2, 1)),
    Pair(nothing, start(1), drop.at("flow")),
    # recovery
    Pair(
        lost,
        recover.at("run 1", "task a1").past("worker 1", "lanes", "state a1"),
        recover.at("run 1", "task a1").past("worker 1", "lanes", "state a1"),
        winners=1,
    ),
    Pair(lost, recover.at("run 1", "task a1").past("worker 1"), heartbeat.at("worker 1")),
    Pair(lost, recover.at("run 1", "task a1").past("worker 1"), complete("a1").at(*IN_RUN), winners=1),
    Pair(lost, recover.at("run 1", "task a1").past("worker 1"), fail("a1", final=True).at(*IN_RUN), winners=1),
    Pair(lost, recover.at("run 1", "task a1").past("worker 1"), release("a1").at("run 1", "task a1"), winners=1),
    Pair(one_task, recover, stop.at("worker 1")),
    # definitions
    Pair(one_waits, prioritise.at("flow").past("task a1", "lanes"), claim(1, worker=1).past("flow", "task a1")),
    Pair(one_task, prioritise.at("flow"), complete("a1").at(*IN_RUN).past("flow")),
    Pair(one_waits, prioritise.at("flow").past("task a1"), recover),
    Pair(last_task, drop.at("flow"), complete("a1").at(*RUN_TASK_STATE)),
    Pair(finished, drop.at("flow", "run 1", "task a1", "state a1", "lanes"), drop.at("flow", "run 1")),
    Pair(finished, drop.at("flow", "run 1"), claim(1, worker=1).past("flow")),
    # cancelling
    Pair(one_task, cancel.at(*IN_RUN), complete("a1").at(*IN_RUN)),
    Pair(one_task, cancel.at(*IN_RUN), fail("a1").at("run 1", "task a1")),
    Pair(one_task, cancel.at(*IN_RUN), fail("a1", final=True).at(*IN_RUN)),
    Pair(one_task, cancel.at(*IN_RUN), cancel.at(*IN_RUN)),
    Pair(one_task, cancel.at(*IN_RUN), release("a1").at("run 1", "task a1")),
    Pair(one_waits, cancel.at("run 1", "task a1", "state a1"), claim(1, worker=1).past("run 1", "task a1", "state a1")),
    Pair(lost, cancel.at(*IN_RUN), recover.at("run 1", "task a1").past("worker 1")),
]


@pytest.fixture(scope="module")
def stage(server: PostgresServer, template: str) -> Iterator[Stage]:
    assert template
    name = f"t_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(server.url(), autocommit=True) as conn:
        conn.execute(sql.SQL("create database {} template flowdsl_template").format(sql.Identifier(name)))
        stage = Stage(server.url(name))
        try:
            yield stage
        finally:
            stage.close()
            conn.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))


@pytest.mark.parametrize("case", list(cases([pair for pair in PAIRS if pair.exists])), ids=lambda case: case.name)
def test_two_calls_at_once_come_to_what_one_after_the_other_does(stage: Stage, case: Case) -> None:
    stage.play(case)
