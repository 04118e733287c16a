"""The state machine that drives the reference model and the SQL core side by side. See test_engine_model.py.

There is one rule, `act`, and a table that says how often each of its actions is tried. Rules of Hypothesis' own are chosen
evenly, and three of four examples would end without a single task claimed.
"""

import uuid
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, ClassVar

from hypothesis import note
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from .dice import Dice, a_run_input, a_version, an_error, an_output, dice, some_options
from .reference_json import NOTHING, Json, same
from .reference_model import SECOND, Claim, Error, Model, Options, Refused, Version
from .side_by_side import Database, claim_of, differences, worker_id

MOST_VERSIONS = 3
MOST_RUNS = 6
MOST_WORKERS = 12


class EngineMachine(RuleBasedStateMachine):
    """One example: flows, workers and whatever may happen to their runs. After every step both sides must agree."""

    database: ClassVar[Database]

    def __init__(self) -> None:
        super().__init__()
        self.model = Model(0)
        self.claims: list[Claim] = []  # all there ever were
        self.handed_in: list[tuple[str, Any]] = []  # results that were handed in once, for another time
        self.messages: list[tuple[str, int]] = []  # what was read: flow and message
        self.is_agreed = True
        self.database.begin(0)

    def teardown(self) -> None:
        try:
            if self.is_agreed:
                self._check_soundness()
        finally:
            self.database.rollback()

    @initialize(dice=dice(120))
    def begin(self, dice: Dice) -> None:
        self._define(a_version(dice, "f", 1), some_options(dice))
        self._register(self._versions(), dice.pick([2000, 2000, 20]))
        self.start(dice)

    @rule(dice=dice(40))
    def act(self, dice: Dice) -> None:
        """Do something that makes sense at the moment."""
        self.is_agreed = False
        held, live = bool(self._held()), any(not worker.stopped for worker in self.model.workers.values())
        table: list[tuple[int, bool, Callable[[Dice], None]]] = [
            (9, live, self.work),
            (3, live, self.claim),
            (6, held, self.hand_in),
            (4, held, self.fail_for_good),
            (4, True, self.wait),
            (2, len(self.model.runs) < MOST_RUNS, self.start),
            (3, any(run.status != "started" for run in self.model.runs.values()), self.retry),
            (1, bool(self.model.runs), self.retry_strangely),
            (1, bool(self.model.runs), self.cancel),
            (3, held and len(self.model.workers) < MOST_WORKERS, self.lose_a_worker),
            (2, held, self.stall),
            (2, True, self.sweep),
            (2, bool(self.model.runs), self.read),
            (1, bool(self.messages), self.start_what_was_read),
            (1, held, self.release),
            (1, bool(self.handed_in), self.hand_in_again),
            (3, bool(self.claims), self.hand_in_whatever),
            (1, bool(self.claims), self.ask_what_is_lost),
            (1, True, self.start_strangely),
            (1, True, self.change_options),
            (1, len(self._versions()) < MOST_VERSIONS, self.define_more),
            (1, len(self.model.workers) < MOST_WORKERS, self.register),
            (1, bool(self.model.runs), self.call_the_transitions),
        ]
        dice.pick([action for times, makes_sense, action in table if makes_sense for _ in range(times)])(dice)
        self.is_agreed = True

    # --- definitions and workers ---

    def define_more(self, dice: Dice) -> None:
        """A new version of a flow, or another flow; somebody serves it, or nobody does yet."""
        flow = dice.pick(["f", "f", "g"])
        known = self.model.flows.get(flow)
        version = a_version(dice, flow, len(known.versions) + 1 if known else 1)
        self._define(version, known.options if known else some_options(dice))
        if not dice.happens(3):
            self._register([version], 2000)

    def _define(self, version: Version, options: Options) -> None:
        self._step(f"define {version}\n    {options}")
        self.database.define(version, options)
        self.model.define(version, options)

    def change_options(self, dice: Dice) -> None:
        flow, options = dice.pick(sorted(self.model.flows)), some_options(dice)
        # a priority is a lane of its own, and waiting tasks move there: that is tested in tests/sql
        options = replace(options, priority=self.model.flows[flow].options.priority)
        self._step(f"set options of {flow}: {options}")
        self.database.set_options(flow, options)
        self.model.set_options(flow, options)
        self._compare()

    def register(self, dice: Dice) -> None:
        self._register(dice.some(self._versions(), 3), dice.pick([2000, 20]))

    def _register(self, versions: Sequence[Version], lease: int) -> str:
        name = f"w{len(self.model.workers) + 1}"
        self._step(f"register {name} for {[v.fingerprint for v in versions]}, lease {lease} s")
        self.database.register(name, versions, lease)
        self.model.register(name, [v.fingerprint for v in versions], lease)
        return name

    def _beat(self, worker: str) -> None:
        self._step(f"heartbeat {worker}")
        self._both(
            lambda: self.model.heartbeat(worker),
            lambda: self.database.conn.execute("select pgflow.heartbeat_worker(%s)", (worker_id(worker),)),
        )

    def _die(self, worker: str) -> None:
        self._step(f"{worker} stops")
        self.database.conn.execute("select pgflow.mark_worker_stopped(%s)", (worker_id(worker),))
        self.model.stop(worker)

    # --- runs ---

    def start(self, dice: Dice) -> None:
        flow = dice.pick(sorted(self.model.flows))
        version = self.model.flows[flow].versions[-1]
        first = len(self.model.runs) + 1
        ids = list(range(first, first + dice.pick([1, 1, 2, 3])))
        self._start(flow, [a_run_input(dice, version) for _ in ids], ids)

    def start_strangely(self, dice: Dice) -> None:
        """Inputs that are perhaps no arrays, run ids that are perhaps taken."""
        flow = dice.pick(sorted(self.model.flows))
        run_id = dice.pick(range(1, len(self.model.runs) + 2))
        known = self.model.runs.get(run_id)
        value = known.input if known and dice.happens(2) else dice.pick([1, {"ok": True}, [1, 2], None])
        self._start(flow, [value], [run_id])

    def _start(self, flow: str, inputs: list[Json], run_ids: list[int]) -> None:
        self._step(f"start {flow}: {dict(zip(run_ids, inputs, strict=True))}")
        self._both(
            lambda: self.model.start(flow, inputs, run_ids),
            lambda: self.database.start_runs(flow, inputs, run_ids),
        )

    def cancel(self, dice: Dice) -> None:
        run_id, reason = dice.pick(sorted(self.model.runs)), dice.pick([None, "enough"])
        self._step(f"cancel run {run_id}: {reason}")
        self._both(
            lambda: self.model.cancel(run_id, reason),
            lambda: self.database.call_on_run("cancel_run", run_id, reason),
        )

    def retry(self, dice: Dice) -> None:
        run_id = dice.pick([run_id for run_id, run in self.model.runs.items() if run.status != "started"])
        slugs = [step.slug for step in self.model.runs[run_id].version.steps]
        self._retry(run_id, dice.pick(slugs) if self.model.runs[run_id].status == "completed" else dice.maybe(3, slugs))

    def retry_strangely(self, dice: Dice) -> None:
        """Runs that are open, steps that do not exist."""
        self._retry(dice.pick(sorted(self.model.runs)), dice.pick([None, "a", "unknown"]))

    def _retry(self, run_id: int, from_step: str | None) -> None:
        self._step(f"retry run {run_id}" + (f" from {from_step}" if from_step else ""))
        self._both(
            lambda: self.model.retry(run_id, from_step),
            lambda: self.database.call_on_run("retry_run", run_id, from_step),
        )

    def call_the_transitions(self, dice: Dice) -> None:
        """The contract's transitions, one by one: there is never anything left for them to do."""
        run_id = dice.pick(sorted(self.model.runs))
        self._step(f"all transitions of run {run_id}")
        self.database.call_transitions(run_id)
        self._compare()

    # --- work ---

    def work(self, dice: Dice) -> None:
        """What a worker does all day: hand in what it holds, and take the next."""
        worker, most = self._live_worker(dice), dice.pick([100, 1, 2, 3])
        results = [(claim, self._output(dice, claim)) for claim, _ in self.model.held(worker)]
        self._step(f"{worker} completes {_told(results)}, and claims {most}")
        if results:
            self.handed_in.append(("complete", results))
        refused, rows = self.database.complete_and_claim(worker, most, results)
        assert refused == self._as_told(self.model.complete(results), refused)
        self._claimed(worker, most, rows)

    def claim(self, dice: Dice) -> None:
        worker, most = dice.pick(sorted(self.model.workers)), dice.pick([100, 1, 2, 0])
        self._step(f"{worker} claims {most}")
        if self.model.workers[worker].stopped and most > 0:
            assert self.database.refused(lambda: self.database.claim_rows(worker, most)) == "PF412"
            self._compare()
        else:
            self._claimed(worker, most, self.database.claim_rows(worker, most))

    def _claimed(self, worker: str, most: int, rows: list[dict[str, Any]]) -> None:
        claims = [claim_of(row) for row in rows]
        note(f"    got {', '.join(map(_short, claims)) or 'nothing'}")
        assert len({claim.fence for claim in claims}) <= 1
        assert not {claim.fence for claim in claims} & {claim.fence for claim in self.claims}, "fences are new"
        self.model.claim(worker, most, claims)
        self.claims += claims
        self._compare()
        given = set()
        for row, claim in zip(rows, claims, strict=True):
            run = self.model.runs[claim.run]
            task = run.states[claim.step].tasks[claim.index]
            options = self.model.options_of(run, claim.step)
            assert (row["attempt"], row["max_attempts"]) == (task.attempts, options.max_attempts)
            assert (row["timeout"], row["flow_version"]) == (options.timeout, run.version.number)
            assert same(NOTHING if row["element_text"] is None else row["element"], task.element)
            if row["input"] is not None or (claim.run, claim.step) not in given:
                assert same(row["input"], self.model.input_of(claim)), "the first task of a step carries its input"
            given.add((claim.run, claim.step))

    def hand_in(self, dice: Dice) -> None:
        """Some of what is held, by whomever: outputs and errors."""
        claims = self._some_held(dice)
        failing = [claim for claim in claims if dice.happens(3)]
        if failing:
            self._fail([(claim, an_error(dice)) for claim in failing])
        if len(failing) < len(claims):
            self._complete([(claim, self._output(dice, claim)) for claim in claims if claim not in failing])

    def fail_for_good(self, dice: Dice) -> None:
        self._fail([(claim, Error("enough", retryable=False)) for claim in self._some_held(dice)])

    def release(self, dice: Dice) -> None:
        self._release(self._some_held(dice))

    def _complete(self, results: list[tuple[Claim, Json]]) -> None:
        self._step(f"complete {_told(results)}")
        self.handed_in.append(("complete", results))
        self._agree_on_refusals(self.model.complete(results), self.database.complete_claims(results))

    def _fail(self, results: list[tuple[Claim, Error]]) -> None:
        self._step(f"fail {_told(results)}")
        self.handed_in.append(("fail", results))
        self._agree_on_refusals(self.model.fail(results), self.database.fail_claims(results))

    def _release(self, claims: list[Claim]) -> None:
        self._step("release " + ", ".join(map(_short, claims)))
        self._agree_on_refusals(self.model.release(claims), self.database.release_claims(claims))

    # --- foreign workers ---

    def read(self, dice: Dice) -> None:
        """Reserve tasks in the first phase; mostly the second follows at once."""
        flow, seconds, most = dice.pick(sorted(self.model.flows)), dice.pick([30, 0, 3]), dice.pick([100, 1, 2])
        self._step(f"read {most} of {flow} for {seconds} s")
        rows = self.database.read(flow, seconds, most)
        taken = {
            (uuid.UUID(m["run_id"]).int, m["step_slug"], m["task_index"]): row for row in rows for m in [row["message"]]
        }
        note(f"    got {taken.keys() or 'nothing'}")
        self.model.read(flow, seconds, most, {key: row["msg_id"] for key, row in taken.items()})
        self._compare()
        for (run_id, slug, i), row in taken.items():
            assert row["read_ct"] == self.model.runs[run_id].states[slug].tasks[i].reads, "times that it was read"
        self.messages += [(flow, row["msg_id"]) for row in rows]
        if rows and not dice.happens(3):
            self._start_messages(dice, flow, dice.some([row["msg_id"] for row in rows], 100))

    def start_what_was_read(self, dice: Dice) -> None:
        flow = dice.pick(self.messages[:-9:-1])[0]
        self._start_messages(dice, flow, dice.some([message for of, message in self.messages if of == flow][:-9:-1], 3))

    def _start_messages(self, dice: Dice, flow: str, messages: list[int]) -> None:
        """By a worker without a lease, which was registered by an insert, or by one of ours."""
        worker = "by hand" if dice.happens(2) else dice.pick(sorted(self.model.workers))
        if worker not in self.model.workers:
            self.database.register_by_hand(worker)
            self.model.register(worker, [], None)
        self._step(f"{worker} starts messages {messages}")
        if self.model.workers[worker].stopped:
            assert self.database.refused(lambda: self.database.start_messages(flow, messages, worker)) == "PF412"
            return
        rows = self.database.start_messages(flow, messages, worker)
        claims = [claim_of(row) for row in rows]
        self.claims += claims
        expected = self.model.start_tasks(flow, messages, worker, claims[0].fence if claims else 0)
        self._agree(sorted(map(_short, expected)), sorted(map(_short, claims)))
        for row, claim in zip(rows, claims, strict=True):
            run = self.model.runs[claim.run]
            options = self.model.options_of(run, claim.step)
            given = None if row["input_text"] is None else row["input"]
            if options.map_over is None:
                assert same(given, run.dep_outputs(options))
                assert options.deps or same(row["flow_input"], run.input)
            else:
                assert same(given, run.states[claim.step].tasks[claim.index].element)

    # --- too late, and twice ---

    def hand_in_again(self, dice: Dice) -> None:
        """A reply that got lost: the same call once more."""
        what, results = dice.pick(self.handed_in[:-8:-1])
        (self._complete if what == "complete" else self._fail)(results)

    def hand_in_whatever(self, dice: Dice) -> None:
        """Claims old and new in one batch, perhaps one of them twice."""
        stale = [claim for claim in self.claims if self.model.is_superseded(claim)]
        claims = dice.some(stale if stale and dice.happens(2) else self.claims[:-16:-1], 4)
        if dice.happens(4):
            claims.append(claims[0])
        results = {claim: self._output(dice, claim) for claim in claims}
        how = dice.pick(["complete", "fail", "release"])
        if how == "complete":
            self._complete([(claim, results[claim]) for claim in claims])
        elif how == "fail":
            error = an_error(dice)
            self._fail([(claim, error) for claim in claims])
        else:
            self._release(list(results))

    def ask_what_is_lost(self, dice: Dice) -> None:
        """What a worker asks with each heartbeat."""
        claims = dice.some(self.claims[:-16:-1], 6)
        self._step("lost of " + ", ".join(map(_short, claims)))
        self._agree_on_refusals(self.model.lost(claims), self.database.lost_claims(claims))

    # --- time and loss ---

    def wait(self, dice: Dice) -> None:
        self._wait(dice.pick([4, 11, 1, 31, 100, 1000]))
        if dice.happens(2):
            self._sweep(*dice.pick(self._sweeps()))

    def _wait(self, seconds: int) -> None:
        """Never exactly as long as some option: what happens at the very moment is not worth a rule."""
        self.model.now += seconds * SECOND + 1000
        self._step(f"wait until {self.model.now / SECOND} s")
        self.database.set_now(self.model.now)

    def _sweeps(self) -> list[tuple[str, Callable[[], int]]]:
        return [
            ("recover_tasks", self.model.recover),
            ("requeue_stalled_tasks", self.model.requeue_stalled),
            ("enforce_deadlines", self.model.enforce_deadlines),
            ("promote_due_tasks", self.model.promote_due_tasks),
        ]

    def sweep(self, dice: Dice) -> None:
        self._sweep(*dice.pick(self._sweeps()))

    def _sweep(self, function: str, sweep: Callable[[], int]) -> None:
        self._step(function)
        self._agree(sweep(), self.database.call(function))

    def lose_a_worker(self, dice: Dice) -> None:
        """Workers die with what they hold, are recovered, and another one takes their place: thrice is poison."""
        claim = dice.pick(self._held())
        worker = self.model.runs[claim.run].states[claim.step].tasks[claim.index].worker
        assert worker is not None
        shapes = self.model.workers[worker].shapes
        for _ in range(dice.pick([1, 2, 3, 4])):
            self._die(worker)
            self._sweep("recover_tasks", self.model.recover)
            worker = self._register([v for v in self._versions() if v.fingerprint in shapes], 2000)
            self._step(f"{worker} claims 2")
            self._claimed(worker, 2, self.database.claim_rows(worker, 2))

    def stall(self, dice: Dice) -> None:
        """Nobody hands in anything for so long that everything goes back to the queue, and is taken again."""
        for _ in range(dice.pick([1, 1, 2, 4])):
            self._wait(100)
            self._sweep("requeue_stalled_tasks", self.model.requeue_stalled)
            worker = self._live_worker(dice) if dice.happens(2) else ""
            if worker:
                self._step(f"{worker} claims 3")
                self._claimed(worker, 3, self.database.claim_rows(worker, 3))

    # --- helpers ---

    def _versions(self) -> list[Version]:
        return [version for flow in self.model.flows.values() for version in flow.versions]

    def _live_worker(self, dice: Dice) -> str:
        """A worker that has not stopped; most of the time it has not slept either."""
        workers = [name for name, worker in self.model.workers.items() if worker.shapes and not worker.stopped]
        worker = dice.pick(workers[::-1]) if workers else self._register(self._versions(), 2000)
        if self.model.has_lost_its_lease(self.model.workers[worker]) and not dice.happens(6):
            self._beat(worker)
        return worker

    def _held(self) -> list[Claim]:
        return [claim for worker in self.model.workers for claim, _ in self.model.held(worker)]

    def _some_held(self, dice: Dice) -> list[Claim]:
        held = self._held()
        return held if dice.happens(2) else dice.some(held, 3)

    def _output(self, dice: Dice, claim: Claim) -> Json:
        return an_output(dice, self.model.runs[claim.run].version, claim.step)

    def _step(self, what: str) -> None:
        self.model.operation += 1
        note(f"{self.model.operation}. {what}")

    def _both(self, of_model: Callable[[], object], of_database: Callable[[], object]) -> None:
        """Make one call on both sides; what one refuses, the other has to refuse."""
        refusal = None
        try:
            of_model()
        except Refused as refused:
            refusal = str(refused)
        if refusal is None:
            of_database()
        else:
            note(f"    refused: {refusal}")
            assert self.database.refused(of_database) == refusal
        self._compare()

    def _agree(self, of_model: object, of_database: object) -> None:
        note(f"    answer: {of_database}")
        assert of_database == of_model, f"the core answers {of_database}, should be {of_model}"
        self._compare()

    def _agree_on_refusals(self, of_model: dict[Claim, str], of_database: dict[Claim, str]) -> None:
        self._agree(self._as_told(of_model, of_database), of_database)

    def _as_told(self, of_model: dict[Claim, str], of_database: dict[Claim, str]) -> dict[Claim, str]:
        """A late result of a run that has ended by this very call may be told either way."""
        ended = {claim for claim in of_model if self.model.runs[claim.run].status != "started"}
        return {
            c: of_database.get(c, why) if c in ended and why == "lease_lost" else why for c, why in of_model.items()
        }

    def _compare(self) -> None:
        found = differences(self.model, self.database)
        assert not found, "\n".join(["the core and the model differ:", *found])

    def _check_soundness(self) -> None:
        found = self.database.broken_invariants()
        assert not found, f"check_invariants() reports: {found}"


def _short(claim: Claim) -> str:
    return f"{claim.run}/{claim.step}[{claim.index}]#{claim.fence}"


def _told(results: Sequence[tuple[Claim, object]]) -> str:
    return ", ".join(f"{_short(claim)}: {result!r}" for claim, result in results) or "nothing"
