"""Any two calls at once, at every lock: no deadlock, nothing lost, nothing done twice.

`PAIRS` is the table: a scene, two acts, and for each act the rows where it can be stopped (`at`) and those it steps over
instead of waiting (`past`). Each line is tested in both orders, stopped at each row and at the act's end, with commit and
with rollback. What must come out is said in interleave.py.
"""

import uuid
from collections.abc import Iterator
from typing import LiteralString

import psycopg
import pytest
from psycopg import sql
from psycopg.types.json import Jsonb

from flowdsl.postgres import PostgresServer
from tests.servers import version
from tests.sql.engine import Engine, Row
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


def lost_twice(engine: Engine) -> World:
    """As lost, and the task was lost with two workers before."""
    world = lost(engine)
    engine.conn.execute("update pgflow.step_tasks set requeued_count = 2")
    return world


def suspect(engine: Engine) -> World:
    """A task waits that was lost with two workers."""
    world = one_waits(engine)
    engine.conn.execute("update pgflow.step_tasks set requeued_count = 2")
    return world


def stalled(engine: Engine) -> World:
    """a was claimed long ago by worker 1, whose lease holds."""
    engine.flow("f", {"a": (), "b": ("a",)}, max_attempts=2, timeout=10)
    engine.serve("f", worker_id=worker_id(1))
    engine.serve("f", worker_id=worker_id(2))
    _started(engine, 1)
    return _claimed(engine, World(later=60))


def stalled_for_good(engine: Engine) -> World:
    """As stalled, and it has stalled three times before."""
    world = stalled(engine)
    engine.conn.execute("update pgflow.step_tasks set requeued_count = 3")
    return world


def overdue(engine: Engine) -> World:
    """The run is past its deadline; a is claimed, b waits for a claim."""
    engine.flow("f", {"a": (), "b": (), "c": ("a", "b")}, deadline=30)
    engine.serve("f", worker_id=worker_id(1), lease_seconds=30)
    engine.serve("f", worker_id=worker_id(2))
    _started(engine, 1)
    return _claimed(engine, World(later=60), 1)


def delayed(engine: Engine) -> World:
    """A run, and its task has waited for its start delay."""
    engine.flow("f", {"a": ()}, settings={"a": {"start_delay": 30}})
    engine.serve("f", worker_id=worker_id(1))
    _started(engine, 1)
    return World(later=60)


def skippable_map(engine: Engine) -> World:
    """Both tasks of the map m are claimed; it may be exhausted, and b, which depends on it, is skipped with it."""
    settings = {"m": {"when_exhausted": "skip-cascade"}}
    engine.flow("f", {"m": (), "b": ("m",), "c": ()}, maps=["m"], settings=settings, max_attempts=1)
    _workers(engine)
    _started(engine, 1, [10, 20])
    return _claimed(engine, World())


def conditional_join(engine: Engine) -> World:
    """a and b are claimed; c depends on both, but its condition is not met, and d depends on c."""
    settings = {"c": {"required_input_pattern": {"a": 2}}}
    engine.flow("f", {"a": (), "b": (), "c": ("a", "b"), "d": ("c",)}, settings=settings)
    _workers(engine)
    _started(engine, 1)
    return _claimed(engine, World())


def failed(engine: Engine) -> World:
    """b has failed the run; a was claimed."""
    world = join(engine)
    engine.fail([world.tasks["b1"]], retryable=False)
    world.later = 60
    return world


def cancelled(engine: Engine) -> World:
    """The run was cancelled; a was claimed, b waited."""
    world = half_claimed(engine)
    engine.conn.execute("select pgflow.cancel_run(%s)", (run_id(1),))
    world.later = 60
    return world


def reserved(engine: Engine) -> World:
    """A foreign worker has reserved the tasks of two runs."""
    two_wait(engine)
    return World(messages=[row["msg_id"] for row in engine.rows("select * from pgflow.read_with_poll('f', 100, 2, 0)")])


def left_behind(engine: Engine) -> World:
    """a is claimed by worker 1, whose lease has run out; b waits in a lane that a change of options abandoned."""
    world = half_claimed(engine)
    world.later = 60
    before = engine.value("select lane_id from pgflow.step_tasks where step_slug = 'b'")
    engine.conn.execute("select pgflow.set_flow_options('f', base_delay => 0, max_attempts => 2, priority => 7)")
    # as a claim does that held it at that moment and was rolled back
    engine.conn.execute("update pgflow.step_tasks set lane_id = %s where step_slug = 'b'", (before,))
    return world


def two_flows(engine: Engine) -> World:
    """Flow f: a is claimed by worker 1, whose lease has run out. Flow g has no runs."""
    world = lost(engine)
    engine.flow("g", {"a": ()})
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


def _name(row: Row) -> str:
    return task_name(row["run_id"], row["step_slug"], row["task_index"])


def _refused(rows: list[Row]) -> Refused:
    return Refused(sorted((_name(row), row["reason"]) for row in rows))


def _names(rows: list[Row]) -> list[str]:
    return sorted(f"{_name(row)} attempt {row['attempt']}" for row in rows if row["refusal"] is None)


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


def _query(name: str, function: str, query: LiteralString, *, again: bool = False) -> Act:
    def do(engine: Engine, _: World) -> object:
        rows = engine.rows(query)
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


drop_g = _query("drop flow g", "drop_flow_version", "select pgflow.drop_flow_version('g', 1)")
delete = _query("delete the flow", "delete_flow_and_data", "select pgflow.delete_flow_and_data('f')")
prioritise_b = _query(
    "change the priority of b",
    "set_step_options",
    "select step_slug from pgflow.set_step_options('f', 1, 'b', priority => 5)",
)
retry = _query("retry", "retry_run", f"select status from pgflow.retry_run('{run_id(1)}')")
retry_from_a = _query("retry from a", "retry_run", f"select status from pgflow.retry_run('{run_id(1)}', 'a')")
deadlines = _query("enforce deadlines", "enforce_deadlines", "select pgflow.enforce_deadlines()", again=True)
requeue = _query("requeue stalled tasks", "requeue_stalled_tasks", "select pgflow.requeue_stalled_tasks()", again=True)
promote = _query("promote due tasks", "promote_due_tasks", "select pgflow.promote_due_tasks()", again=True)
prune = _query("prune", "prune_data_older_than", "select pgflow.prune_data_older_than('0')", again=True)
sweep = _query("sweep lost tasks", "run_sweep", "select pgflow.run_sweep('recover')", again=True)


def read(most: int) -> Act:
    def do(engine: Engine, _: World) -> list[str]:
        rows = engine.rows("select message from pgflow.read_with_poll('f', 100, %s, 0)", most)
        messages = [row["message"] for row in rows]
        return [task_name(uuid.UUID(m["run_id"]), m["step_slug"], m["task_index"]) for m in messages]

    return Act(f"read {most}", do, "read_with_poll", do)


def start_tasks(worker: int) -> Act:
    def do(engine: Engine, world: World) -> list[str]:
        rows = engine.rows("select * from pgflow.start_tasks('f', %s, %s)", world.messages, worker_id(worker))
        return [_name(row) for row in rows]

    return Act(f"start reserved tasks for worker {worker}", do, "start_tasks", do)


def show_again() -> Act:
    def do(engine: Engine, world: World) -> object:
        return len(engine.rows("select * from pgflow.set_vt_batch('f', %s, '{0,0}')", world.messages))

    return Act("make the reserved visible", do, "set_vt_batch", do)


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
OVERDUE = ("task a1", "task b1", "state a1", "state b1", "state c1")

PAIRS = [
    # results of one task
    Pair(one_task, complete("a1", output="x").at(*IN_RUN), complete("a1", output="y").at(*IN_RUN)),
    Pair(one_task, complete("a1").at(*IN_RUN), fail("a1").at("run 1", "task a1"), winners=1),
    Pair(one_task, complete("a1").at(*IN_RUN), fail("a1", final=True).at(*IN_RUN), winners=1),
    Pair(one_task, complete("a1").at(*IN_RUN), release("a1").at("run 1", "task a1"), winners=1),
    Pair(one_task, fail("a1").at("run 1", "task a1"), release("a1").at("run 1", "task a1"), winners=1),
    Pair(one_task, complete("a1"), release_strays(1).at("run 1", "task a1")),
    Pair(last_task, complete("a1").at(*RUN_TASK_STATE), fail("a1", final=True).at(*RUN_TASK_STATE), winners=1),
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
    Pair(one_task, prioritise.at("flow", "new lane"), prioritise_b.at("flow", "new lane")),
    # cancelling
    Pair(one_task, cancel.at(*IN_RUN), complete("a1").at(*IN_RUN)),
    Pair(one_task, cancel.at(*IN_RUN), fail("a1").at("run 1", "task a1")),
    Pair(one_task, cancel.at(*IN_RUN), fail("a1", final=True).at(*IN_RUN)),
    Pair(one_task, cancel.at(*IN_RUN), cancel.at(*IN_RUN)),
    Pair(one_task, cancel.at(*IN_RUN), release("a1").at("run 1", "task a1")),
    Pair(one_waits, cancel.at("run 1", "task a1", "state a1"), claim(1, worker=1).past("run 1", "task a1", "state a1")),
    Pair(lost, cancel.at(*IN_RUN), recover.at("run 1", "task a1").past("worker 1")),
    # deadlines
    Pair(overdue, deadlines.at(*OVERDUE).past("run 1"), complete("a1").at("run 1", "task a1", "state a1", "state c1")),
    Pair(overdue, deadlines.at(*OVERDUE).past("run 1"), fail("a1", final=True).at("run 1", *OVERDUE)),
    Pair(overdue, deadlines.at(*OVERDUE).past("run 1"), claim(1, worker=2).past("run 1", "task b1")),
    Pair(overdue, deadlines.at(*OVERDUE).past("run 1"), cancel.at("run 1", *OVERDUE)),
    Pair(overdue, deadlines.at(*OVERDUE).past("run 1"), recover.at("run 1", "task a1").past("worker 1")),
    Pair(overdue, deadlines.at(*OVERDUE).past("run 1"), deadlines.past("run 1"), winners=1),
    # tasks that stall
    Pair(stalled, requeue.at("run 1", "task a1"), complete("a1").at(*IN_RUN), winners=1),
    Pair(stalled, requeue.at("run 1", "task a1"), fail("a1").at("run 1", "task a1"), winners=1),
    Pair(stalled, requeue.at("run 1", "task a1"), requeue.at("run 1"), winners=1),
    Pair(stalled, requeue.at("run 1", "task a1"), claim(1, worker=2).past("run 1", "task a1")),
    Pair(stalled, requeue.at("run 1", "task a1"), cancel.at(*IN_RUN)),
    Pair(stalled_for_good, requeue.at(*IN_RUN), complete("a1").at(*IN_RUN), winners=1),
    Pair(stalled_for_good, requeue.at(*IN_RUN), cancel.at(*IN_RUN)),
    # poison
    Pair(lost_twice, recover.at(*IN_RUN).past("worker 1"), complete("a1").at(*IN_RUN), winners=1),
    Pair(lost_twice, recover.at(*IN_RUN).past("worker 1"), cancel.at(*IN_RUN)),
    Pair(lost_twice, recover.at(*IN_RUN).past("worker 1"), recover.at("run 1").past("worker 1"), winners=1),
    Pair(suspect, claim(1, worker=1).past("worker 1", "task a1"), claim(1, worker=2).past("worker 2"), winners=1),
    Pair(suspect, claim(1, worker=1).past("worker 1", "task a1"), claim(1, worker=1).past("worker 1"), winners=1),
    # skipping
    Pair(
        skippable_map,
        fail("m1.0").at("run 1", "task m1.0", "task m1.1", "state m1", "state b1"),
        complete("m1.1").at("run 1"),
    ),
    Pair(
        skippable_map,
        fail("m1.0").at("run 1", "task m1.1", "state b1"),
        fail("m1.1").at("run 1", "task m1.0", "state b1"),
    ),
    Pair(skippable_map, fail("m1.0").at("run 1", "state b1"), complete("c1").at("run 1", "state c1")),
    Pair(conditional_join, complete("a1").at("run 1", "state c1"), complete("b1").at("run 1", "state c1")),
    # taking up again
    Pair(
        failed,
        retry.at("run 1", "task a1", "task b1", "state a1", "state b1", "state c1"),
        retry.at("run 1"),
        winners=1,
    ),
    Pair(failed, retry.at("run 1", "task a1", "state a1"), complete("a1").at("run 1")),
    Pair(failed, retry.at("run 1", "task b1"), fail("a1").at("run 1")),
    Pair(failed, retry.at("run 1", "task b1", "state c1"), claim(10, worker=2).past("run 1", "task a1")),
    Pair(failed, retry.at("run 1", "task b1"), recover),
    Pair(failed, retry.at("run 1", "task b1"), cancel.at("run 1")),
    Pair(failed, retry.at("run 1", "task b1"), retry_from_a.at("run 1", "task a1"), winners=1),
    Pair(failed, retry_from_a.at("run 1", "task a1", "state a1", "state c1"), complete("a1").at("run 1")),
    Pair(cancelled, retry.at("run 1", "task b1", "state b1"), complete("a1").at("run 1")),
    Pair(cancelled, retry.at("run 1", "task b1"), start(1).past("run 1")),
    Pair(failed, retry.at("run 1", "task b1"), prune.at("task a1", "state a1").past("run 1"), winners=1),
    Pair(finished, retry_from_a.at("run 1", "task a1", "state a1"), complete("a1").at("run 1")),
    Pair(finished, retry_from_a.at("run 1", "task a1", "state a1"), drop.at("flow", "run 1")),
    # foreign workers
    Pair(one_waits, read(1).past("run 1", "task a1", "lanes"), claim(1, worker=1).past("task a1"), winners=1),
    Pair(one_waits, read(1).past("task a1"), read(1).past("task a1"), winners=1),
    Pair(one_waits, read(1).past("run 1", "task a1"), cancel.at("run 1", "task a1", "state a1")),
    Pair(reserved, start_tasks(1).past("run 1", "task a1", "worker 1"), start_tasks(2).past("task a2"), winners=2),
    Pair(reserved, start_tasks(1).past("run 1", "task a1"), cancel.at("run 1", "task a1", "state a1")),
    Pair(reserved, start_tasks(1).past("task a1"), claim(2, worker=2)),
    Pair(reserved, start_tasks(1).past("task a1"), show_again().past("task a2")),
    # timers
    Pair(delayed, promote.past("task a1", "lanes"), promote.past("task a1"), winners=1),
    Pair(delayed, promote.past("task a1"), claim(1, worker=1).past("task a1")),
    Pair(delayed, promote.past("task a1", "run 1"), cancel.at("run 1", "task a1")),
    # sweeps against each other, and against those who lock the other way round
    Pair(lost, sweep.at("run 1", "task a1").past("worker 1"), sweep.at("run 1"), winners=1),
    Pair(lost, sweep.at("run 1", "task a1").past("worker 1"), complete("a1").at(*IN_RUN), winners=1),
    Pair(left_behind, recover.at("run 1", "task a1").past("task b1"), fail("a1", final=True).at("run 1", "task b1")),
    Pair(left_behind, recover.at("run 1", "task a1").past("task b1"), cancel.at("run 1", "task b1")),
    Pair(two_flows, drop_g.at("flow", "table runs"), recover.at("run 1", "table runs")),
    Pair(two_flows, delete.at("flow", "table runs", "run 1", "task a1", "lanes"), recover.at("run 1", "table runs")),
    Pair(one_task, delete.at("flow", "table runs", "run 1", "task a1"), complete("a1").at("run 1")),
    Pair(one_waits, delete.at("flow", "table runs", "task a1"), claim(1, worker=1).past("flow")),
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


# All on the newest version; what differs between versions is plans, not locks, so the others try every fourth.
CASES = list(cases(PAIRS))[:: 1 if version() == 18 else 4]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_two_calls_at_once_come_to_what_one_after_the_other_does(stage: Stage, case: Case) -> None:
    stage.play(case)
