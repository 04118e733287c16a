"""What a compile of a large flow may do, counted and not timed: the times themselves are measured by bench/compile.py."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pydantic.json_schema import GenerateJsonSchema

from bench import compile as bench
from flowdsl.compiler.compilation import plan
from flowdsl.compiler.scaffold import initialise
from flowdsl.model.shape import FlowShape

STEPS = 60


@contextmanager
def counted(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str) -> Iterator[Counter[str]]:
    """Count the calls of a method while the block runs."""
    calls: Counter[str] = Counter()
    original = getattr(owner, name)

    def counting(*args: Any, **kwargs: Any) -> Any:
        calls[name] += 1
        return original(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, counting)
        yield calls


def test_a_type_that_many_steps_share_is_described_once_each_way(monkeypatch: pytest.MonkeyPatch) -> None:
    flow = bench.chain(STEPS)
    with counted(monkeypatch, GenerateJsonSchema, "generate") as calls:
        flow.shape()
    assert 0 < calls["generate"] <= 2, "as it is read and as it is written"


def test_defining_steps_of_one_type_judges_the_type_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with counted(monkeypatch, GenerateJsonSchema, "generate") as calls:
        bench.wide(STEPS)
    # The type is that of the other tests, too, which may have been judged before this one runs.
    assert calls["generate"] <= 1


def test_types_of_their_own_are_described_once_each_way(monkeypatch: pytest.MonkeyPatch) -> None:
    flow = bench.typed(STEPS)
    with counted(monkeypatch, GenerateJsonSchema, "generate") as calls:
        flow.shape()
    assert STEPS < calls["generate"] <= 2 * (STEPS + 1)


def test_reading_the_baseline_parses_each_shape_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    initialise(tmp_path)
    for steps in (2, 3, 4):
        plan([bench.chain(steps).shape()], tmp_path).write()
    shape = bench.chain(4).shape()
    calls = 0
    original = FlowShape.from_json

    def counting(data: Any) -> FlowShape:
        nonlocal calls
        calls += 1
        return original(data)

    monkeypatch.setattr(FlowShape, "from_json", counting)
    assert plan([shape], tmp_path).changes == ()
    assert calls == 3
