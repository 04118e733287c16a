"""How long `pgflow compile` takes for large flows: python -m bench.compile [STEPS]

Three flows of 1,000 steps each: a chain, a wide one (one root, all others depend on it) and a chain with pydantic models of
its own for each step. Each is compiled four times in a scratch project: as a new flow, with nothing changed, with the options
of one step changed, and with one step more. No database is asked.
"""

import cProfile
import itertools
import pstats
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import BaseModel, create_model

from flowdsl import Flow
from flowdsl.compiler.compilation import plan
from flowdsl.compiler.scaffold import initialise

STEPS = 1_000
AnyFlow = Flow[Any, Any]


class Page(BaseModel):
    """What the steps of the untyped flows hand on."""

    url: str
    status: int = 200


def chain(steps: int, **options: Any) -> AnyFlow:
    """Each step takes the output of the one before."""
    return _chain("chain", [Page] * (steps + 1), **options)


def typed(steps: int, **options: Any) -> AnyFlow:
    """A chain in which each step has a model of its own, with another one inside."""
    return _chain("typed", [_model(n) for n in range(steps + 1)], **options)


def _model(number: int) -> Any:
    inner: Any = create_model(f"Inner{number}", text=(str, ...), number=(int, 0))
    return create_model(f"Model{number}", name=(str, ...), inner=(inner, ...), many=(list[inner], []))


def wide(steps: int, **options: Any) -> AnyFlow:
    """All steps but the first depend on the first."""
    flow: Any = Flow("wide", Page)
    handlers = [_handler(f"step_{n}", Page, Page) for n in range(steps)]
    flow = flow.step(handlers[0])
    for handler in handlers[1:]:
        flow = flow.step(handler, handlers[0], **(options if handler is handlers[-1] else {}))
    built: AnyFlow = flow
    return built


def _chain(slug: str, models: list[Any], **options: Any) -> AnyFlow:
    flow: Any = Flow(slug, models[0])
    previous: Any = None
    handlers = [_handler(f"step_{n}", taken, made) for n, (taken, made) in enumerate(itertools.pairwise(models))]
    for handler in handlers:
        more = options if handler is handlers[-1] else {}
        flow = flow.step(handler, **more) if previous is None else flow.step(handler, previous, **more)
        previous = handler
    built: AnyFlow = flow
    return built


def _handler(name: str, taken: Any, made: Any) -> Callable[..., Any]:
    def handler(value: Any) -> Any:
        return value

    handler.__name__ = handler.__qualname__ = name
    handler.__annotations__ = {"value": taken, "return": made}
    return handler


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Return how many seconds of processor time it took, and what came out: others may use the machine, too."""
    start = time.process_time()
    found = work()
    return time.process_time() - start, found


def measure(make: Callable[..., AnyFlow], steps: int) -> None:
    """Print the seconds of each part for one flow."""
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        initialise(directory)
        define, flow = timed(lambda: make(steps))
        shape_of, shape = timed(flow.shape)
        new, written = timed(lambda: plan([shape], directory).write())
        unchanged, again = timed(lambda: plan([make(steps).shape()], directory))
        if again.changes:
            raise RuntimeError("compiling the same flow again found a change")
        options = make(steps, timeout=9).shape()
        optioned, _ = timed(lambda: plan([options], directory).write())
        more = make(steps + 1, timeout=9).shape()
        longer, _ = timed(lambda: plan([more], directory).write())
        size = written.path.stat().st_size / 1e6
    print(
        f"{flow.slug:6} define {define:5.2f}  shape {shape_of:5.2f}  new {new:5.2f} ({size:.1f} MB)  "
        f"define, shape and nothing to do {unchanged:5.2f}  options {optioned:5.2f}  next version {longer:5.2f}"
    )
    print(f"       the whole of a first compile: {define + shape_of + new:.2f} s")


def main() -> None:
    """Measure all flows; with --profile print where the time goes."""
    arguments = [argument for argument in sys.argv[1:] if not argument.startswith("--")]
    steps = int(arguments[0]) if arguments else STEPS
    profile = cProfile.Profile() if "--profile" in sys.argv else None
    if profile is not None:
        profile.enable()
    for make in (chain, wide, typed):
        measure(make, steps)
    if profile is not None:
        profile.disable()
        pstats.Stats(profile).sort_stats("cumulative").print_stats(45)


if __name__ == "__main__":
    main()
