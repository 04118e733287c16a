"""Handlers and types that no child process can find, as far as their names tell."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from pydantic import BaseModel

from flowdsl import Flow, named
from flowdsl.errors import DefinitionError


def double(number: int) -> int:
    return 2 * number


def add(other: int, number: int) -> int:
    return other + number


class Adder:
    def add(self, number: int) -> int:
        return number

    def __call__(self, number: int) -> int:
        return number


def local() -> Callable[[int], int]:
    def triple(number: int) -> int:
        return 3 * number

    return triple


def anonymous() -> Callable[[int], int]:
    made: Callable[[int], int] = lambda number: number  # noqa: E731 - what the test is about
    made.__annotations__ = {"number": int, "return": int}
    return made


def local_partial() -> Callable[[int], int]:
    def inner(other: int, number: int) -> int:
        return other + number

    return partial(inner, 1)


def local_types() -> Callable[[int], Any]:
    class Inner(BaseModel):
        number: int

    def pack(number: int) -> list[Inner]:
        return [Inner(number=number)]

    pack.__qualname__ = "pack"
    return pack


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (local, "its handler is a local function"),
        (anonymous, "its handler is a lambda"),
        (local_partial, "its handler is a local function"),
        (local_types, "it takes or returns the local class Inner"),
    ],
)
def test_what_is_local_cannot_run_in_a_child_process(make: Callable[[], Callable[[int], Any]], what: str) -> None:
    for flow in (Flow("f", int, executor="process"), Flow("f", int)):
        choice: Any = {} if flow.options.executor else {"executor": "process"}
        with pytest.raises(DefinitionError) as caught:
            flow.step(named("step", make()), **choice)
        (problem,) = caught.value.problems
        assert (problem.code, problem.step_slug) == ("PF-E135", "step")
        assert problem.what == f'{what}, and executor="process".'


def test_what_is_local_may_run_elsewhere() -> None:
    flow = Flow("f", int, executor="process").step(named("step", local()), executor="thread")
    assert flow.step(named("other", double)).problems() == ()
    assert Flow("f", int).step(named("step", local())).problems() == ()


def test_what_a_module_has_under_its_name_is_no_problem_nor_what_only_pickling_could_judge() -> None:
    flow = Flow("f", int, executor="process")
    flow = flow.step(double).step(named("part", partial(add, 1))).step(named("bound", Adder().add))

    class Local(Adder):
        def __reduce__(self) -> tuple[Any, ...]:
            return Adder, ()

    assert flow.step(named("object", Local())).problems() == ()
