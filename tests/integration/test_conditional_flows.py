"""Conditions and skipping as the author of a flow meets them: from the definition to what a run returns."""

from typing import Any

import pytest

from flowdsl import Flow, RunFailed, collect, maybe
from flowdsl.client import Client
from flowdsl.types import StepStatus
from tests.conftest import Run
from tests.integration.runtime_support import compile_into, working


def halve(number: dict[str, int]) -> int:
    return number["value"] // 2


def odd(number: dict[str, int]) -> list[int]:
    return [number["value"]]


async def each(number: int) -> int:
    return number + 1


def told(half: int | None, numbers: list[int]) -> str:
    return f"{half} {numbers}"


def without(half: int | None) -> str:
    return f"without {half}"


def alone(half: int) -> int:
    return half


def after(half: int) -> str:
    return f"after {half}"


def fails(number: dict[str, int]) -> int:
    raise ValueError("never")


Value = dict[str, int]

SKIPPING = (
    Flow("skipping", Value, max_attempts=1)
    .step(halve, when={"value": 8})
    .array(odd, unless={"value": 8})
    .map(each, odd)
    .step(told, maybe(halve), collect(each))
    .step(without, maybe(halve), when={"run": {"value": 8}}, unless={"halve": 5})
    .returns(told)
)
CASCADING = (
    Flow("cascading", Value, max_attempts=1)
    .step(halve, when={"value": 8}, when_unmet="skip-cascade")
    .step(alone, halve)
    .step(after, alone, when={"alone": 4}, when_unmet="fail")
    .returns(maybe(after))
)
GIVING_UP = (
    Flow("giving_up", Value, max_attempts=1).step(fails, when_exhausted="skip-cascade").step(alone, fails).step(halve)
)
STRICT = Flow("strict", Value, max_attempts=1).step(halve, when={"value": 8}, when_unmet="fail").returns(halve)


def test_what_a_run_returns_follows_from_what_was_skipped(dsn: str, run: Run) -> None:
    flows: list[Flow[Value, Any]] = [SKIPPING, CASCADING, GIVING_UP, STRICT]
    compile_into(dsn, *flows)

    async def scenario() -> None:
        async with working(*flows, dsn=dsn), Client(dsn) as client:

            async def result(flow: Flow[Value, Any], value: int) -> Any:
                return await (await client.start(flow, {"value": value})).result(30)

            # A map over a skipped step has no elements; a pattern finds the outputs that are there.
            assert await result(SKIPPING, 8) == "4 []"
            assert await result(SKIPPING, 7) == "None [8]"
            # All that depends on the skipped step goes with it, the output as well.
            assert await result(CASCADING, 8) == "after 4"
            assert await result(CASCADING, 7) is None
            # Without an output step, what was skipped is missing.
            assert await result(GIVING_UP, 8) == {"halve": 4}
            assert await result(STRICT, 8) == 4
            with pytest.raises(RunFailed) as caught:
                await result(STRICT, 7)
            assert (caught.value.step_slug, caught.value.error_class) == ("halve", "ConditionNotMet")

            started = await client.start(SKIPPING, {"value": 7})
            await started.result(30)
            steps = (await started.status()).steps
            skipped = {step.slug: step.skip_reason for step in steps if step.status is StepStatus.SKIPPED}
            assert skipped == {"halve": "condition_unmet", "without": "condition_unmet"}

    run(scenario())
