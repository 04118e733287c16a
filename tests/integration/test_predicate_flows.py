"""Predicates as the author of a flow meets them: compiled, judged by the database when a step is ready, run to the end."""

import uuid
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb
from pydantic import BaseModel, Field

from flowdsl import Flow, RunFailed, all_, any_, collect, count, in_, is_none, matches, maybe, not_, startswith
from flowdsl.client import Client
from flowdsl.compiler.diff import diff
from flowdsl.compiler.migration import upgrade_statements
from flowdsl.types import StepStatus
from tests.conftest import Run
from tests.integration.runtime_support import working
from tests.sql.engine import Engine


class Letter(BaseModel):
    text: str = Field(alias="the text")
    tags: list[str] = []


class Mood(BaseModel):
    score: float
    label: str


def judge(letter: Letter) -> Mood:
    return Mood(score=-len(letter.text) / 10, label="bad" if letter.text else "none")


def words(letter: Letter) -> list[str]:
    return letter.text.split()


def shout(word: str, mood: Mood) -> str:
    return f"{word.upper()}{mood.score}"


def escalate(letter: Letter, mood: Mood) -> str:
    return f"escalated {mood.label}"


def answer(shouted: list[str] | None, ticket: str | None) -> str:
    return f"{shouted} {ticket}"


def thank(mood: Mood, ticket: str | None) -> str:
    return f"thanks for {ticket}"


LETTERS = (
    Flow("letters", Letter, max_attempts=1)
    .step(judge, when=lambda letter: not_(startswith(letter.text, "spam")), when_unmet="fail")
    .array(words)
    .map(shout, words, judge, when=lambda words, mood: (count(words) >= 2) & any_(words, lambda word: word == "now"))
    .step(escalate, Letter, judge, when=lambda letter, mood: mood.score < -1, unless={"run": {"tags": ["quiet"]}})
    .step(thank, judge, maybe(escalate), unless=lambda mood, ticket: is_none(ticket))
    .step(answer, maybe(collect(shout)), maybe(escalate))
    .returns(answer)
)


def double(number: int) -> int:
    return number * 2


NUMBERS = (
    Flow("numbers", list[int]).map(double, when=lambda numbers: count(numbers) > 1).returns(maybe(collect(double)))
)


def compiled_into(dsn: str, *flows: Flow[Any, Any]) -> None:
    """Put flows into the database by what their migrations hold."""
    changes = [change for flow in flows if (change := diff((), flow.shape())) is not None]
    with psycopg.connect(dsn, autocommit=True) as conn:
        for statement in upgrade_statements(changes):
            conn.execute(statement.encode())


def test_predicates_decide_what_runs_on_roots_dependents_maps_and_after_skipped_steps(dsn: str, run: Run) -> None:
    compiled_into(dsn, LETTERS, NUMBERS)

    async def scenario() -> None:
        async with working(LETTERS, NUMBERS, dsn=dsn), Client(dsn) as client:

            async def result(text: str, tags: list[str]) -> tuple[Any, set[str]]:
                started = await client.start(LETTERS, Letter.model_validate({"the text": text, "tags": tags}))
                output = await started.result(30)
                steps = (await started.status()).steps
                return output, {step.slug for step in steps if step.status is StepStatus.SKIPPED}

            assert await result("send it", []) == ("None None", {"shout", "escalate", "thank"})
            long = "send the money now"
            assert await result("now !", []) == ("['NOW-0.5', '!-0.5'] None", {"escalate", "thank"})
            assert await result(long, []) == (
                "['SEND-1.8', 'THE-1.8', 'MONEY-1.8', 'NOW-1.8'] escalated bad", set()
            )  # fmt: skip
            assert (await result(long, ["quiet"]))[1] == {"escalate", "thank"}
            with pytest.raises(RunFailed) as caught:
                await result("spam", [])
            assert (caught.value.step_slug, caught.value.error_class) == ("judge", "ConditionNotMet")
            assert await (await client.start(NUMBERS, [1, 2])).result(30) == [2, 4]
            assert await (await client.start(NUMBERS, [1])).result(30) is None

    run(scenario())


@pytest.mark.parametrize(("score", "status"), [(-2.0, "started"), (-0.5, "skipped")])
def test_the_verdict_falls_in_the_transaction_that_makes_the_step_ready(dsn: str, score: float, status: str) -> None:
    compiled_into(dsn, LETTERS)
    with psycopg.connect(dsn, autocommit=True) as conn, psycopg.connect(dsn, autocommit=True) as other:
        engine, onlooker = Engine(conn), Engine(other)
        worker_id = uuid.uuid4()
        conn.execute(
            "select pgflow.register_worker(%s, %s, %s, lease_seconds => 1000)",
            (worker_id, ["letters"], [LETTERS.shape().fingerprint]),
        )
        run_id = engine.value("select run_id from pgflow.start_flow('letters', %s)", Jsonb({"the text": "x"}))
        judging = [task for task in engine.claim(worker_id=worker_id) if task["step_slug"] == "judge"]
        with conn.transaction():
            engine.complete(judging, {"score": score, "label": "bad"})
            # Judged already, and nobody else has seen it: both are one commit.
            assert engine.states(run_id)["escalate"] == status
            assert onlooker.states(run_id)["escalate"] == "created"
        assert onlooker.states(run_id)["escalate"] == status


AWKWARD = ["it's", 'say "x"', "back\\slash", ":name %(x)s %%", "\u00e9\U0001f600", "$$ $1", "a\nb", "{{ x }}"]


def first(text: str) -> str:
    return text


def test_awkward_texts_reach_the_database_as_they_are(dsn: str) -> None:
    flow = Flow("awkward", str).step(first, when=lambda text: in_(text, AWKWARD) | matches(text, r"^\d+\.\\\"'$"))
    compiled_into(dsn, flow)
    predicate = flow.shape().steps[0].input_predicate
    assert predicate is not None
    with psycopg.connect(dsn, autocommit=True) as conn:
        stored = conn.execute(
            "select input_predicate::text = %s::jsonpath::text from pgflow.steps", (predicate.jsonpath,)
        )
        assert stored.fetchone() == (True,)
        for text, verdict in [*((text, True) for text in AWKWARD), ("12.\\\"'", True), ("its", False), ("back", False)]:
            judged = conn.execute("select %s @@ input_predicate from pgflow.steps", (Jsonb(text),)).fetchone()
            assert judged == (verdict,), text


def some_numbers(count_: int) -> list[int]:
    return list(range(count_))


def doubled(number: int) -> int:
    return 2 * number


@pytest.mark.parametrize(
    ("condition", "verdicts"),
    [
        (lambda numbers: count(numbers) < 2, {0: True, 1: True, 3: False}),
        (lambda numbers: count(numbers) == 0, {0: True, 1: False, 3: False}),
        (lambda numbers: not_(any_(numbers, lambda number: number > 1)), {0: True, 1: True, 3: False}),
        (lambda numbers: all_(numbers, lambda number: number > 1), {0: True, 1: False, 3: False}),
        (lambda numbers: not_(count(numbers) > 0), {0: True, 1: False, 3: False}),
    ],
)
def test_a_map_over_a_step_that_was_skipped_is_judged_by_an_empty_list(
    dsn: str, condition: Callable[[list[int]], bool], verdicts: dict[int, bool]
) -> None:
    flow = (
        Flow("numbers", int)
        .array(some_numbers, when=lambda number: number > 0)
        .map(doubled, some_numbers, when=condition)
    )
    compiled_into(dsn, flow)
    with psycopg.connect(dsn, autocommit=True) as conn:
        engine = Engine(conn)
        conn.execute(
            "select pgflow.register_worker(%s, %s, %s, lease_seconds => 1000)",
            (engine.worker_id, ["numbers"], [flow.shape().fingerprint]),
        )
        for number, verdict in verdicts.items():
            run_id = engine.start("numbers", number)
            engine.complete(engine.claim(), list(range(number)))
            assert (engine.states(run_id)["doubled"] != "skipped") is verdict, number
            assert condition(list(range(number))) is verdict
            engine.conn.execute("select pgflow.cancel_run(%s)", (run_id,))
