"""The flows that are tortured, and what must come out of them.

Between them they use everything: chains, diamonds, fan-outs, maps over maps, a map over the run's input, empty maps,
conditions, skips, attempts that run out, sync and async handlers, slow ones that outlive a lease, retries with and without
a delay, deadlines, and runs that must fail.

Every value follows from the run's input by `mix`, so `expected` knows the output of every step without running anything.
Beside its value each output names the attempt that made it (`token`) and the outputs it was made from (`saw`).
"""

import asyncio
import random
import time
from collections.abc import Callable
from typing import Any, Literal, TypeAlias

from pydantic import BaseModel

from flowdsl.errors import NonRetryable
from flowdsl.model.context import Context
from flowdsl.model.flow import Flow
from flowdsl.model.refs import collect, maybe
from flowdsl.torture.journal import journal

QUICK_SECONDS = 0.02


class Job(BaseModel):
    """A run's input."""

    seed: int
    size: int = 3
    turn: Literal["left", "right"] = "left"
    slow: float = 2.5
    """How many seconds the slow handlers take: longer than a lease."""


class Mark(BaseModel):
    """An output: its value, the attempt that made it, and those whose outputs it was made from."""

    value: int
    token: str
    saw: list[str] = []


def mix(salt: int, *numbers: int) -> int:
    """Return a number that depends on all of these, and on their order."""
    value = salt
    for number in numbers:
        value = (value * 31 + number * 7 + 1) % 1_000_003
    return value


async def _begin(context: Context, seconds: float = QUICK_SECONDS) -> str:
    token = await asyncio.to_thread(journal().begin, context)
    await asyncio.sleep(seconds * random.random())  # noqa: S311 - spreads the moments, keeps no secret
    return token


def _begin_in_thread(context: Context) -> str:
    token = journal().begin(context)
    time.sleep(QUICK_SECONDS * random.random())  # noqa: S311
    return token


def _mark(token: str, value: int, *seen: Mark) -> Mark:
    return Mark(value=value, token=token, saw=[mark.token for mark in seen])


class Unlucky(Exception):  # noqa: N818 - no error of ours; handlers fail with it on purpose
    """An attempt that fails by plan; a later one succeeds."""


# ---- a chain with a shortcut, one step of it sync -------------------------------------------------------------------


async def first(job: Job, context: Context) -> Mark:
    """Begin a chain."""
    return _mark(await _begin(context), mix(1, job.seed))


def second(mark: Mark, context: Context) -> Mark:
    """Go on in a thread."""
    return _mark(_begin_in_thread(context), mix(2, mark.value), mark)


async def third(job: Job, one: Mark, two: Mark, context: Context) -> Mark:
    """End a chain."""
    return _mark(await _begin(context), mix(3, job.seed, one.value, two.value), one, two)


CHAIN = Flow("torture_chain", Job, base_delay=0).step(first).step(second, first).step(third, Job, first, second)
CHAIN_OUT = CHAIN.returns(third)


def _chain(job: Job) -> dict[str, Any]:
    one = mix(1, job.seed)
    two = mix(2, one)
    return {"first": one, "second": two, "third": mix(3, job.seed, one, two)}


# ---- a fan-out whose elements fail at first -------------------------------------------------------------------------


async def split(job: Job, context: Context) -> list[Mark]:
    """Make the elements; with size 0, none."""
    token = await _begin(context)
    return [_mark(token, mix(10 + index, job.seed)) for index in range(job.size)]


async def press(mark: Mark, context: Context) -> Mark:
    """Fail up to twice, as the element says."""
    token = await _begin(context)
    if context.attempt <= mark.value % 3:
        raise Unlucky(f"attempt {context.attempt} of {context.max_attempts}")
    return _mark(token, mix(20, mark.value), mark)


async def gather(marks: list[Mark], context: Context) -> Mark:
    """Put the elements together."""
    return _mark(await _begin(context), mix(30, *(mark.value for mark in marks)), *marks)


FAN = Flow("torture_fan", Job, base_delay=0, max_attempts=4).array(split).map(press, split)
FAN_OUT = FAN.step(gather, collect(press)).returns(gather)


def _fan(job: Job) -> dict[str, Any]:
    parts = [mix(10 + index, job.seed) for index in range(job.size)]
    pressed = [mix(20, part) for part in parts]
    return {"split": parts, "press": pressed, "gather": mix(30, *pressed)}


# ---- maps over maps, one with a delay between attempts --------------------------------------------------------------


def widen(mark: Mark, context: Context) -> Mark:
    """Be an element of a map, in a thread."""
    return _mark(_begin_in_thread(context), mix(40, mark.value), mark)


async def deepen(mark: Mark, job: Job, context: Context) -> Mark:
    """Be an element of a map over a map, and now and then wait for the backoff."""
    token = await _begin(context)
    if context.attempt == 1 and mark.value % 5 == 0:
        raise Unlucky("the first time")
    return _mark(token, mix(50, mark.value, job.seed), mark)


NESTED = Flow("torture_nested", Job, base_delay=1).array(split).map(widen, split).map(deepen, collect(widen), Job)
NESTED_OUT = NESTED.step(gather, collect(deepen)).returns(gather)


def _nested(job: Job) -> dict[str, Any]:
    parts = [mix(10 + index, job.seed) for index in range(job.size)]
    wide = [mix(40, part) for part in parts]
    deep = [mix(50, part, job.seed) for part in wide]
    return {"split": parts, "widen": wide, "deepen": deep, "gather": mix(30, *deep)}


# ---- a map over the run's input -------------------------------------------------------------------------------------


async def square(number: int, context: Context) -> Mark:
    """Be an element of the run's input."""
    return _mark(await _begin(context), mix(60, number))


ROOT = Flow("torture_root", list[int], base_delay=0).map(square).returns(collect(square))


def _root(numbers: list[int]) -> dict[str, Any]:
    return {"square": [mix(60, number) for number in numbers]}


# ---- handlers that outlive a lease ----------------------------------------------------------------------------------


async def doze(job: Job, context: Context) -> Mark:
    """Take longer than a lease."""
    token = await _begin(context)
    await asyncio.sleep(job.slow)
    return _mark(token, mix(70, job.seed))


def drowse(job: Job, mark: Mark, context: Context) -> Mark:
    """Take long in a thread."""
    token = _begin_in_thread(context)
    time.sleep(job.slow / 2)
    return _mark(token, mix(71, mark.value), mark)


SLOW = Flow("torture_slow", Job, base_delay=0).step(doze).step(drowse, Job, doze).returns(drowse)


def _slow(job: Job) -> dict[str, Any]:
    dozed = mix(70, job.seed)
    return {"doze": dozed, "drowse": mix(71, dozed)}


# ---- runs that fail until they are mended ---------------------------------------------------------------------------


async def doom(mark: Mark, context: Context) -> Mark:
    """Fail for good, unless the run has been mended."""
    token = await _begin(context)
    if not await asyncio.to_thread(journal().is_mended, context):
        raise NonRetryable("not mended")
    return _mark(token, mix(80, mark.value), mark)


async def relief(mark: Mark, context: Context) -> Mark:
    """End a run that has been mended."""
    return _mark(await _begin(context), mix(81, mark.value), mark)


DOOMED = Flow("torture_doomed", Job, base_delay=0).step(first).step(doom, first).step(relief, doom).returns(relief)


def _doomed(job: Job) -> dict[str, Any]:
    doomed = mix(80, mix(1, job.seed))
    return {"first": mix(1, job.seed), "doom": doomed, "relief": mix(81, doomed)}


# ---- conditions, skips, and attempts that run out -------------------------------------------------------------------


async def left(job: Job, mark: Mark, context: Context) -> Mark:
    """Run when the input says so."""
    return _mark(await _begin(context), mix(90, job.seed, mark.value), mark)


async def right(mark: Mark, context: Context) -> Mark:
    """Run when the input does not say otherwise."""
    return _mark(await _begin(context), mix(91, mark.value), mark)


async def astray(mark: Mark, context: Context) -> Mark:
    """Run when the input does not say otherwise; if not, take `beyond` along."""
    return _mark(await _begin(context), mix(96, mark.value), mark)


def beyond(mark: Mark, context: Context) -> Mark:
    """Run after `astray`, if that runs."""
    return _mark(_begin_in_thread(context), mix(92, mark.value), mark)


async def hopeless(mark: Mark, context: Context) -> Mark:
    """Fail until the step is skipped."""
    await _begin(context)
    raise Unlucky(f"hopeless, {mark.value}")


async def boughs(job: Job, context: Context) -> list[Mark]:
    """Make elements, if the input says so; if not, the map over them has none."""
    token = await _begin(context)
    return [_mark(token, mix(93 + index, job.seed)) for index in range(job.size)]


async def join(one: Mark, a: Mark | None, b: Mark | None, c: Mark | None, twigs: list[Mark], context: Context) -> Mark:
    """Make do with what there is."""
    seen = [one, *(mark for mark in (a, b, c) if mark is not None), *twigs]
    return _mark(await _begin(context), mix(94, *(mark.value for mark in seen)), *seen)


LEFT = {"run": {"turn": "left"}}
TURNS = (
    Flow("torture_turns", Job, base_delay=0, max_attempts=2)
    .step(first)
    .step(left, Job, first, when=LEFT)
    .step(right, first, unless=LEFT)
    .step(astray, first, unless=LEFT, when_unmet="skip-cascade")
    .step(beyond, astray)
    .step(hopeless, first, when_exhausted="skip")
    .array(boughs, Job, when={"turn": "left"})
    .map(widen, boughs)
    .step(join, first, maybe(left), maybe(right), maybe(hopeless), collect(widen))
    .returns(join)
)


def _turns(job: Job) -> dict[str, Any]:
    is_left = job.turn == "left"
    one = mix(1, job.seed)
    a = mix(90, job.seed, one) if is_left else None
    b = None if is_left else mix(91, one)
    off = None if is_left else mix(96, one)
    far = None if off is None else mix(92, off)
    parts = [mix(93 + index, job.seed) for index in range(job.size)] if is_left else None
    twigs = [mix(40, part) for part in parts or []]
    seen = [one, *(value for value in (a, b) if value is not None), *twigs]
    joined = mix(94, *seen)
    return {
        "first": one, "left": a, "right": b, "astray": off, "beyond": far, "hopeless": None, "boughs": parts, "widen": twigs,
        "join": joined,
    }  # fmt: skip


# ---- runs that exceed their deadline --------------------------------------------------------------------------------


async def linger(job: Job, context: Context) -> Mark:
    """Take longer than the run may."""
    token = await _begin(context)
    await asyncio.sleep(30)
    return _mark(token, mix(95, job.seed))


OVERDUE = Flow("torture_overdue", Job, base_delay=0, deadline=1).step(linger).returns(linger)


def _overdue(job: Job) -> dict[str, Any]:
    return {"linger": mix(95, job.seed)}


# ---- all of them ----------------------------------------------------------------------------------------------------

Oracle: TypeAlias = Callable[[Any], dict[str, Any]]

ORACLES: dict[str, tuple[Flow[Any, Any], Oracle]] = {
    flow.slug: (flow, oracle)
    for flow, oracle in (
        (CHAIN_OUT, _chain),
        (FAN_OUT, _fan),
        (NESTED_OUT, _nested),
        (ROOT, _root),
        (SLOW, _slow),
        (DOOMED, _doomed),
        (TURNS, _turns),
        (OVERDUE, _overdue),
    )
}
FLOWS: list[Flow[Any, Any]] = [flow for flow, _ in ORACLES.values()]


def expected(flow_slug: str, given: Any) -> dict[str, Any]:
    """Return the value of each step's output in a run with this input; None for a step that is skipped."""
    return ORACLES[flow_slug][1](given)
