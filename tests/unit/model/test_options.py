import asyncio
import doctest
import json
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from flowdsl.model import options
from flowdsl.model.flow import Flow
from flowdsl.model.options import (
    MAX_INT,
    FlowOptions,
    StepOptions,
    error_name,
    flow_options,
    step_options,
)

DURATIONS = ("base_delay", "max_delay", "timeout", "start_delay")


class CustomError(Exception):
    class InnerError(Exception):
        pass


def bad_names(given: dict[str, Any], flow: FlowOptions = FlowOptions(max_delay=MAX_INT)) -> list[str]:  # noqa: B008
    return [bad.name for bad in step_options(given, flow)[1]]


def test_options_that_are_not_given_are_the_defaults() -> None:
    assert flow_options({}) == (FlowOptions(), ())
    assert FlowOptions() == FlowOptions(
        max_attempts=3, base_delay=5, max_delay=3600, timeout=60, queue=None, priority=0
    )
    assert step_options({}, FlowOptions()) == (StepOptions(), ())
    assert StepOptions().start_delay == 0


@pytest.mark.parametrize("name", DURATIONS)
def test_durations_are_seconds_or_timedeltas_of_whole_seconds(name: str) -> None:
    for given, seconds in ((30, 30), (timedelta(minutes=2), 120), (timedelta(days=1), 86400)):
        good, bad = step_options({name: given}, FlowOptions(base_delay=0, max_delay=MAX_INT))
        assert bad == ()
        assert getattr(good, name) == seconds
    for wrong in (1.5, "3", timedelta(seconds=1.5), timedelta(microseconds=1), True, -1, timedelta(seconds=-1), [3]):
        assert bad_names({name: wrong}) == [name], wrong


@pytest.mark.parametrize(
    ("name", "least", "most"),
    [
        ("max_attempts", 1, MAX_INT),
        ("base_delay", 0, MAX_INT),
        ("max_delay", 5, MAX_INT),
        ("timeout", 1, MAX_INT),
        ("start_delay", 0, MAX_INT),
        ("priority", -32768, 32767),
    ],
)
def test_bounds_are_inclusive(name: str, least: int, most: int) -> None:
    assert bad_names({name: least}) == []
    assert bad_names({name: most}) == []
    assert bad_names({name: least - 1}) == [name]
    assert bad_names({name: most + 1}) == [name]
    assert bad_names({name: True}) == [name]
    assert bad_names({name: str(least)}) == [name]


@pytest.mark.parametrize("queue", ["web", "a" * 128, "with space", "ünïcode", "a'b:c%d{{e}}"])
def test_queues_may_have_any_name_that_is_not_blank(queue: str) -> None:
    assert step_options({"queue": queue}, FlowOptions())[0].queue == queue


@pytest.mark.parametrize("queue", ["", "  ", "a" * 129, 7, b"web", "a\0b", ["web"]])
def test_other_queues_are_refused(queue: object) -> None:
    assert bad_names({"queue": queue}) == ["queue"]


@pytest.mark.parametrize("given", [[ValueError], (ValueError, CustomError), {TimeoutError}, frozenset([OSError])])
def test_retry_on_takes_collections_of_exception_classes(given: Any) -> None:
    assert step_options({"retry_on": given}, FlowOptions())[0].retry_on == tuple(given)


@pytest.mark.parametrize(
    "given", [ValueError, "ValueError", ["ValueError"], [ValueError()], [asyncio.CancelledError], [int], [], 7]
)
def test_retry_on_refuses_anything_else(given: Any) -> None:
    assert bad_names({"retry_on": given}) == ["retry_on"]


def test_max_delay_is_compared_with_what_holds_for_the_step() -> None:
    assert [bad.name for bad in flow_options({"base_delay": 10, "max_delay": 5})[1]] == ["max_delay"]
    assert [bad.name for bad in flow_options({"base_delay": 4000})[1]] == ["base_delay"]
    flow = FlowOptions(base_delay=10, max_delay=20)
    assert bad_names({"max_delay": 9}, flow) == ["max_delay"]
    assert bad_names({"base_delay": 21}, flow) == ["base_delay"]
    assert bad_names({"base_delay": 21, "max_delay": 21}, flow) == []
    assert bad_names({"timeout": 5}, FlowOptions(base_delay=10, max_delay=5)) == []


def test_an_unknown_option_suggests_a_known_one() -> None:
    (bad,) = step_options({"timeuot": 3}, FlowOptions())[1]
    assert (bad.what, bad.fix) == ("unknown option 'timeuot'", "Did you mean 'timeout'?")
    (bad,) = step_options({"xyz": 3}, FlowOptions())[1]
    assert bad.fix.startswith("Options: base_delay, executor, max_attempts,")


@pytest.mark.parametrize("name", ["when", "unless", "when_unmet", "when_exhausted"])
def test_options_the_engine_does_not_honour_do_not_exist(name: str) -> None:
    assert bad_names({name: "skip"}) == [name]


def test_a_bad_option_keeps_the_good_ones() -> None:
    good, bad = step_options({"timeout": 0, "queue": "web"}, FlowOptions())
    assert (good.queue, good.timeout, len(bad)) == ("web", None, 1)


@pytest.mark.parametrize(
    ("cls", "name"),
    [
        (ValueError, "ValueError"),
        (TimeoutError, "TimeoutError"),
        (json.JSONDecodeError, "json.decoder.JSONDecodeError"),
        (CustomError.InnerError, f"{__name__}.CustomError.InnerError"),
        (ValidationError, "pydantic_core._pydantic_core.ValidationError"),
    ],
)
def test_error_classes_are_stored_by_qualified_name(cls: type[Exception], name: str) -> None:
    assert error_name(cls) == name


def test_examples_hold() -> None:
    assert doctest.testmod(options).failed == 0


def test_an_executor_is_a_name_or_an_object() -> None:
    with ThreadPoolExecutor(1) as pool:
        for given in ("async", "thread", "process", pool):
            assert step_options({"executor": given}, FlowOptions())[0].executor is given
            assert flow_options({"executor": given})[0].executor is given


@pytest.mark.parametrize("given", ["proces", "Thread", 4, True, ThreadPoolExecutor, ["thread"], object()])
def test_whatever_else_is_given_as_executor_is_refused(given: object) -> None:
    assert bad_names({"executor": given}) == ["executor"]


@pytest.mark.parametrize(
    ("given", "mended", "module"),
    [
        ("dask:tcp://host:8786", 'DaskExecutor("tcp://host:8786")', "dask"),
        ("tls://host:8786", 'DaskExecutor("tls://host:8786")', "dask"),
        ("dask", 'DaskExecutor("tcp://HOST:8786")', "dask"),
        ("ray:head:6379", 'RayExecutor("head:6379")', "ray"),
        ("ray:ray://head:10001", 'RayExecutor("ray://head:10001")', "ray"),
        ("ray://head:10001", 'RayExecutor("ray://head:10001")', "ray"),
    ],
)
def test_a_cluster_named_as_for_the_command_is_refused_with_the_executor_that_stands_for_it(
    given: str, mended: str, module: str
) -> None:
    _, (bad,) = flow_options({"executor": given})
    assert bad.what == f"executor={given!r} is no executor"
    assert bad.fix == f"Give {mended}, from flowdsl.clusters.{module}. The short form is for: pgflow worker --executor"
    assert bad.mended == mended


def double(number: int) -> int:
    return 2 * number


def test_the_executor_is_no_part_of_a_shape() -> None:
    plain = Flow("shapes", int).step(double)
    chosen = Flow("shapes", int, executor="thread").step(double, executor="process")
    assert chosen.fingerprint == plain.fingerprint
    assert chosen.shape() == plain.shape()
