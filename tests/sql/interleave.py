"""Two calls at once, the first stopped at a chosen lock: the machinery of test_interleavings.py.

A *scene* is the state of the database before, an *act* is one call of the core by one connection. The first act runs in an
open transaction. It is stopped where a third connection holds a row that the act has to lock, or, at the point "its end",
with its work done and not committed. Then the second act begins, and waits or does not. Then the row is let go, the first
act commits or rolls back, and the second one ends.

What must come out is what one of the two serial orders gives: the first act and then the second, or the other way round (the
second alone when the first rolled back). Acts that step over locked rows instead of waiting for them (claims, sweeps) may have
left something to their next call, so they are called once more before the comparison, in the serial orders too.
"""

import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final, LiteralString

import psycopg

from tests.sql.engine import Engine, Row

START: Final = datetime(2030, 1, 1, tzinfo=UTC)
"""The frozen clock of every connection while the scene is set."""

OPTIONS: Final = "-c deadlock_timeout=100ms -c statement_timeout=10s"
WAIT_SECONDS: Final = 20.0

ITS_END: Final = "its end"
"""The lock point of an act that has done its work and not committed."""


def run_id(number: int) -> uuid.UUID:
    """The id of the scene's run `number`; their order is the numbers'."""
    return uuid.UUID(int=number)


def worker_id(number: int) -> uuid.UUID:
    return uuid.UUID(int=(1 << 64) + number)


@dataclass
class World:
    """What a scene leaves behind: claimed tasks by name, reserved messages, and seconds that pass before the acts."""

    tasks: dict[str, Row] = field(default_factory=dict)
    messages: list[int] = field(default_factory=list)
    later: float = 0

    def hold(self, tasks: Sequence[Row]) -> None:
        for task in tasks:
            self.tasks[task_name(task["run_id"], task["step_slug"], task["task_index"])] = task


def task_name(run: uuid.UUID, step: str, index: int) -> str:
    """`a1` is the task of step a in run 1, `m1.2` the third task of the map m."""
    return f"{step}{run.int}" + (f".{index}" if step.startswith("m") else "")


Scene = Callable[[Engine], World]
Do = Callable[[Engine, World], Any]


@dataclass(frozen=True)
class Act:
    """One call. `stops` are the rows it waits for; `steps_over` are rows that it must not wait for.

    `again` is the call that takes up what this one stepped over.
    """

    name: str
    do: Do
    function: str
    again: Do | None = None
    stops: tuple[str, ...] = ()
    steps_over: tuple[str, ...] = ()

    def at(self, *rows: str) -> "Act":
        return Act(self.name, self.do, self.function, self.again, rows, self.steps_over)

    def past(self, *rows: str) -> "Act":
        return Act(self.name, self.do, self.function, self.again, self.stops, rows)

    @property
    def points(self) -> tuple[str, ...]:
        return (ITS_END, *self.stops, *self.steps_over)


@dataclass(frozen=True)
class Pair:
    """Two acts in one scene. `winners`: how many of the committed calls must have got what both want."""

    scene: Scene
    one: Act
    two: Act
    winners: int | None = None

    @property
    def name(self) -> str:
        return f"{self.one.name} x {self.two.name}"


@dataclass(frozen=True)
class Case:
    """One test: which act comes first, where it is stopped, how it ends."""

    pair: Pair
    first: Act
    second: Act
    point: str
    commit: bool

    @property
    def name(self) -> str:
        end = "commit" if self.commit else "rollback"
        return f"{self.pair.scene.__name__}: {self.first.name}, at {self.point}, x {self.second.name}, {end}".replace(
            " ", "_"
        )


def cases(pairs: Sequence[Pair]) -> Iterator[Case]:
    """All lock points of both acts, in both orders, with both ends."""
    for pair in pairs:
        orders = [(pair.one, pair.two)] + ([(pair.two, pair.one)] if pair.two.name != pair.one.name else [])
        for first, second in orders:
            for point in first.points:
                for commit in (True, False):
                    yield Case(pair, first, second, point, commit)


# What is held at a lock point: `run 1`, `state a1`, `task a1`, `lanes`, `worker 1`, `flow`, `table runs`, `new lane`.
def lock_row(engine: Engine, point: str) -> None:
    kind, _, key = point.partition(" ")
    whole, _, part = key.partition(".")
    step, number, index = key[:1], int("0" + "".join(filter(str.isdigit, whole))), int(part or 0)
    by_kind: dict[str, tuple[LiteralString, tuple[object, ...]]] = {
        "run": ("select from pgflow.runs where run_id = %s for update", (run_id(number),)),
        "state": (
            "select from pgflow.step_states where run_id = %s and step_slug = %s for update",
            (run_id(number), step),
        ),
        "task": (
            "select from pgflow.step_tasks where run_id = %s and step_slug = %s and task_index = %s for update",
            (run_id(number), step, index),
        ),
        "lanes": ("select from pgflow.lanes for update", ()),
        "worker": ("select from pgflow.workers where worker_id = %s for update", (worker_id(number),)),
        "flow": ("select from pgflow.flows for update", ()),
        "table": ("lock table pgflow.runs in access exclusive mode", ()),
        # somebody else is about to make the lane that `change the priority` needs
        "new": ("select pgflow._lane('f', 1, null, 5)", ()),
    }
    query, parameters = by_kind[kind]
    assert engine.conn.execute(query, parameters).rowcount != 0, f"the scene has no {point}"


Said = list[tuple[Act, Any]]


@dataclass(frozen=True)
class Outcome:
    """What is left in the tables, without what differs from call to call (fences, times, who); and what the calls said."""

    state: dict[str, object]
    said: tuple[tuple[str, object], ...]


_STATE: Final = """
select
  array(select to_jsonb(x) from (
    select run_id, status, remaining_steps, input, output, end_reason, retried_count, deadline_at is null as endless
    from pgflow.runs) x order by run_id) as runs,
  array(select to_jsonb(x) from (
    select run_id, step_slug, status, remaining_tasks, initial_tasks, remaining_deps, output, error_message, skip_reason
    from pgflow.step_states) x order by run_id, step_slug) as steps,
  array(select to_jsonb(x) from (
    select t.run_id, t.step_slug, t.task_index, t.status, t.attempts_count, t.requeued_count, t.read_count, t.output,
      t.error_message, t.input, t.visible_at is null as ready, t.fence = 0 as unclaimed,
      t.permanently_stalled_at is null as sound, case when t.status = 'queued' then l.priority end as priority,
      t.status = 'queued' and t.message_id < l.claim_floor as sunk
    from pgflow.step_tasks t left join pgflow.lanes l using (lane_id)) x order by run_id, step_slug, task_index) as tasks,
  array(select to_jsonb(x) from (
    select run_id, step_slug, task_index, attempt, outcome, error_class
    from pgflow.task_attempts) x order by run_id, step_slug, task_index, attempt, error_class) as attempts,
  array(select to_jsonb(x) from (
    select flow_slug, current_version, opt_queue, opt_priority from pgflow.flows) x order by flow_slug) as flows
"""

# Which changes of status the diagram in core/README.md has. "none" is a row that is not there. The words say which function
# must take part for a change that does not belong to the ordinary course.
Diagram = dict[tuple[str, str], str]
_DELETION: Final = "drop_flow_version prune_data_older_than delete_flow_and_data"
_WITH_OPEN_RUNS: Final = "delete_flow_and_data"
DIAGRAM: Final[dict[str, Diagram]] = {
    "runs": {
        ("none", "started"): "",
        ("none", "completed"): "",
        ("none", "failed"): "",
        ("started", "completed"): "",
        ("started", "failed"): "",
        ("started", "cancelled"): "cancel_run",
        ("failed", "started"): "retry_run",
        ("cancelled", "started"): "retry_run",
        ("completed", "started"): "retry_run",
        ("started", "none"): _WITH_OPEN_RUNS,
        **{(end, "none"): _DELETION for end in ("completed", "failed", "cancelled")},
    },
    "step_states": {
        ("none", "created"): "",
        ("none", "started"): "",
        ("none", "completed"): "",
        ("none", "skipped"): "",
        ("none", "failed"): "",
        ("none", "cancelled"): "",
        ("created", "started"): "",
        ("created", "completed"): "",
        ("created", "skipped"): "",
        ("created", "failed"): "",
        ("created", "cancelled"): "",
        ("created", "none"): _WITH_OPEN_RUNS,
        ("started", "none"): _WITH_OPEN_RUNS,
        ("started", "completed"): "",
        ("started", "failed"): "",
        ("started", "skipped"): "",
        ("started", "cancelled"): "",
        **{
            (end, new): "retry_run"
            for end in ("completed", "failed", "skipped", "cancelled")
            for new in ("created", "started")
        },
        **{(end, "none"): _DELETION for end in ("completed", "failed", "skipped", "cancelled")},
    },
    "step_tasks": {
        ("none", "queued"): "",
        ("none", "started"): "complete_and_claim_tasks",
        ("queued", "started"): "",
        ("started", "queued"): "",
        ("queued", "skipped"): "",
        ("queued", "cancelled"): "",
        ("started", "completed"): "",
        ("started", "failed"): "",
        ("started", "skipped"): "",
        ("started", "cancelled"): "",
        ("queued", "none"): _WITH_OPEN_RUNS,
        ("started", "none"): _WITH_OPEN_RUNS,
        **{(end, "queued"): "retry_run" for end in ("completed", "failed", "skipped", "cancelled")},
        **{(end, "none"): f"retry_run {_DELETION}" for end in ("completed", "failed", "skipped", "cancelled")},
    },
}

# Every change of a status, with the transaction that made it. Functions may write a row twice in one transaction (a step
# completes, and fails because its output fits no map): what counts is what others can see.
_LOG_CHANGES: Final = """
create table public.changes (
  change_id bigint generated always as identity, xid xid8 not null, relation text not null, key text not null,
  before text not null, after text not null
);
create function public.log_change() returns trigger language plpgsql as $$
declare
  v_row jsonb := to_jsonb(case when tg_op = 'DELETE' then old else new end);
begin
  insert into public.changes (xid, relation, key, before, after) values (
    pg_current_xact_id(), tg_table_name, concat_ws(' ', v_row ->> 'run_id', v_row ->> 'step_slug', v_row ->> 'task_index'),
    case when tg_op = 'INSERT' then 'none' else old.status end, case when tg_op = 'DELETE' then 'none' else new.status end);
  return null;
end
$$;
create trigger log_insert after insert or delete on pgflow.runs for each row execute function public.log_change();
create trigger log_insert after insert or delete on pgflow.step_states for each row execute function public.log_change();
create trigger log_insert after insert or delete on pgflow.step_tasks for each row execute function public.log_change();
create trigger log_update after update on pgflow.runs for each row
  when (old.status <> new.status) execute function public.log_change();
create trigger log_update after update on pgflow.step_states for each row
  when (old.status <> new.status) execute function public.log_change();
create trigger log_update after update on pgflow.step_tasks for each row
  when (old.status <> new.status) execute function public.log_change();
"""

# Scenes are set once and then brought back from copies, by one call and without triggers.
_TABLES: Final = "flows flow_versions lanes steps deps workers runs step_states step_tasks task_attempts"
_KEEP_SCENES: Final = """
create function public.save_scene(p_scene text) returns void language plpgsql as $$
declare
  v_table text;
begin
  foreach v_table in array string_to_array('{tables}', ' ') loop
    execute format(
      'create table if not exists public.saved_%1$s as select null::text as scene, t.* from pgflow.%1$s t limit 0', v_table);
    execute format('insert into public.saved_%1$s select $1, t.* from pgflow.%1$s t', v_table) using p_scene;
  end loop;
end
$$;
create function public.bring_back(p_scene text) returns void language plpgsql set session_replication_role = replica as $$
declare
  v_table text;
  v_columns text;
begin
  foreach v_table in array string_to_array('{tables}', ' ') loop
    execute format('delete from pgflow.%s', v_table);
    if p_scene is not null then
      select string_agg(quote_ident(a.attname), ', ') into v_columns from pg_attribute a
      where a.attrelid = ('pgflow.' || v_table)::regclass and a.attnum > 0 and not a.attisdropped and a.attgenerated = '';
      execute format(
        'insert into pgflow.%1$s (%2$s) overriding system value select %2$s from public.saved_%1$s where scene = $1',
        v_table, v_columns) using p_scene;
    end if;
  end loop;
  delete from public.changes;
end
$$;
""".replace("{tables}", _TABLES)


class Stage:
    """Four connections to one database: the two acts', the holder of the row, and the one that sets scenes and looks."""

    def __init__(self, url: str) -> None:
        self._exits = ExitStack()
        self.first, self.second, self.holder, self.director = (
            Engine(self._exits.enter_context(psycopg.connect(url, autocommit=True, options=OPTIONS))) for _ in range(4)
        )
        self._threads = self._exits.enter_context(ThreadPoolExecutor(2))
        self._serial: dict[tuple[str, str], Outcome] = {}
        self._worlds: dict[str, World] = {}
        self._clock = -1.0
        self.director.conn.execute(_LOG_CHANGES)
        self.director.conn.execute(_KEEP_SCENES)

    def close(self) -> None:
        self._exits.close()

    def play(self, case: Case) -> None:
        """Interleave the two acts, and judge what came out."""
        allowed = self._serial_outcomes(case)
        world = self._set(case.pair.scene)
        said: Said = []
        if case.point != ITS_END:
            self.holder.conn.execute("begin")
            lock_row(self.holder, case.point)
        try:
            self.first.conn.execute("begin")
            first = self._begin(self.first, case.first, world)
            stopped = self._is_stopped(self.first, first)
            assert stopped == (case.point in case.first.stops), f"{case.first.name} waits for {case.point}: {stopped}"
            second = self._begin(self.second, case.second, world)
            self._is_stopped(self.second, second)
            if case.point != ITS_END:
                self.holder.conn.execute("rollback")
            result = first.result(WAIT_SECONDS)
            self.first.conn.execute("commit" if case.commit else "rollback")
            if case.commit:
                said.append((case.first, result))
            said.append((case.second, second.result(WAIT_SECONDS)))
        finally:
            for engine in (self.holder, self.first):
                if engine.conn.info.transaction_status != psycopg.pq.TransactionStatus.IDLE:
                    engine.conn.rollback()
        outcome = self._outcome(said, world)
        assert outcome in allowed, _difference(outcome, allowed)
        self._judge(case, said)

    def _serial_outcomes(self, case: Case) -> list[Outcome]:
        orders = [(case.second,)] if not case.commit else [(case.first, case.second), (case.second, case.first)]
        outcomes = []
        for order in orders:
            key = (case.pair.scene.__name__, "; ".join(act.name for act in order))
            if key not in self._serial:
                world = self._set(case.pair.scene)
                said = [(act, self._call(self.first, act, world)) for act in order]
                self._serial[key] = self._outcome(said, world)
                self._judge(case, said)
                self._assert_sound()
            outcomes.append(self._serial[key])
        return outcomes

    def _set(self, scene: Scene) -> World:
        if scene.__name__ not in self._worlds:
            self.director.conn.execute("select public.bring_back(null)")
            self._set_clock(0)
            self._worlds[scene.__name__] = scene(self.director)
            self.director.conn.execute("select public.save_scene(%s)", (scene.__name__,))
        world = self._worlds[scene.__name__]
        self.director.conn.execute("select public.bring_back(%s)", (scene.__name__,))
        self._set_clock(world.later)
        return world

    def _set_clock(self, seconds: float) -> None:
        if seconds == self._clock:
            return
        self._clock = seconds
        now = (START + timedelta(seconds=seconds)).isoformat()
        for engine in (self.first, self.second, self.director):
            engine.conn.execute("select set_config('pgflow.now', %s, false)", (now,))

    def _begin(self, engine: Engine, act: Act, world: World) -> Future[Any]:
        return self._threads.submit(self._call, engine, act, world)

    @staticmethod
    def _call(engine: Engine, act: Act, world: World, *, again: bool = False) -> Any:
        try:
            return act.again(engine, world) if again and act.again else act.do(engine, world)
        except psycopg.Error as error:
            # a refusal is an answer; a deadlock, a time-out or a violated constraint is not
            if not (error.sqlstate or "").startswith("PF"):
                raise
            return error.sqlstate

    def _is_stopped(self, engine: Engine, call: Future[Any]) -> bool:
        """Wait until the call is over (false) or waits for a lock of the other call or the holder (true)."""
        # Vacuum may stand in the way for a moment, too, and that is no answer.
        query = """
            select exists (
              select from unnest(pg_blocking_pids(%s)) b(pid) join pg_stat_activity a using (pid)
              where a.backend_type = 'client backend')
        """
        for _ in range(int(WAIT_SECONDS * 1000)):
            if wait([call], timeout=0.001).done:
                return False
            if self.director.value(query, engine.conn.info.backend_pid):
                return True
        raise AssertionError("the call neither ended nor waited for a lock")

    def _outcome(self, said: Said, world: World) -> Outcome:
        for act in 2 * [act for act, _ in said if act.again]:  # twice, for one may wait for what the other does
            said.append((act, self._call(self.first, act, world, again=True)))
        state: dict[str, object] = self.director.row(_STATE)
        # what a stepping-over call got depends on what was locked at that moment; what was left to it is in the state
        return Outcome(state, tuple(sorted((act.name, repr(answer)) for act, answer in said if not act.again)))

    def _judge(self, case: Case, said: Said) -> None:
        """Whatever the calls were."""
        functions = {case.first.function, case.second.function}
        changes = self.director.rows(
            """
            select distinct relation, before, after from (
              select relation,
                first_value(before) over w as before, last_value(after) over w as after
              from public.changes
              window w as (
                partition by xid, relation, key order by change_id
                rows between unbounded preceding and unbounded following)
            ) c where before <> after
            """
        )
        for change in changes:
            by = DIAGRAM[change["relation"]].get((change["before"], change["after"]))
            assert by is not None, f"not on the diagram: {change}"
            assert not by or functions & set(by.split()), f"{change} belongs to {by}"
        if case.pair.winners is not None:
            winners = sum(_wins(answer) for _, answer in said)
            assert winners == case.pair.winners, f"{winners} got it: {[(act.name, answer) for act, answer in said]}"
        claimed = [claim for act, answer in said if act.again and isinstance(answer, list) for claim in answer]
        assert len(claimed) == len(set(claimed)), f"handed out twice: {claimed}"
        if case.point == ITS_END:  # the other points come to the same states
            self._assert_sound()
            self._bring_to_an_end()

    def _assert_sound(self) -> None:
        assert self.director.rows("select * from pgflow.check_invariants()") == []

    def _bring_to_an_end(self) -> None:
        """Nothing is stuck: with a fresh worker every open run comes to its end."""
        director = self.director
        director.conn.execute("update pgflow.workers set stopped_at = pgflow._now() where stopped_at is null")
        # a foreign worker's tasks, and what was reserved or delayed
        director.conn.execute(
            "update pgflow.step_tasks set visible_at = null where status = 'queued' and visible_at is not null"
        )
        while director.value("select pgflow.recover_tasks()"):
            pass
        flows = [row["flow_slug"] for row in director.rows("select flow_slug from pgflow.flows")]
        if not flows:
            return
        director.serve(*flows, worker_id=worker_id(99))
        for _ in range(50):
            tasks = director.claim(100, worker_id(99))
            if not tasks:
                break
            director.complete(tasks, [1])
        stuck = director.rows("select * from pgflow.runs where status = 'started'")
        assert stuck == [], director.rows("select * from pgflow.step_states order by run_id, step_slug")


def _wins(answer: Any) -> int:
    """How much of what was wanted this answer grants: rows claimed, tasks recovered, no refusal."""
    if isinstance(answer, Refused):
        return int(not answer)
    if isinstance(answer, list):
        return len(answer)
    if isinstance(answer, str):
        return int(not answer.startswith("PF"))
    return int(answer) if isinstance(answer, int) else 0


class Refused(tuple[tuple[str, str], ...]):
    """Refusals of a hand-in: (task, reason)."""

    __slots__ = ()


def _difference(outcome: Outcome, allowed: list[Outcome]) -> str:
    lines = ["neither serial order gives this"]
    for number, other in enumerate(allowed, 1):
        lines.append(f"-- against order {number}:")
        if outcome.said != other.said:
            lines += [f"said {outcome.said}", f"not  {other.said}"]
        for name, rows in outcome.state.items():
            if rows != other.state[name]:
                lines += [f"{name}:", f"  is  {rows}", f"  not {other.state[name]}"]
    return "\n".join(lines)
