import json
import pickle
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flowdsl import DefinitionError, Flow
from flowdsl.model.shape import FlowShape
from flowdsl.model.step import RUN, is_valid_slug

from .model_strategies import flows, handler_of, slugs

relaxed = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


@relaxed
@given(flows())
def test_every_shape_survives_json_and_pickle(flow: Flow[Any, Any]) -> None:
    shape = flow.shape()
    back = FlowShape.from_json(json.loads(json.dumps(shape.to_json())))
    assert back == shape
    assert back.fingerprint == shape.fingerprint
    assert pickle.loads(pickle.dumps(shape)) == shape  # noqa: S301 - our own bytes


@relaxed
@given(flows())
def test_steps_come_after_the_steps_they_depend_on(flow: Flow[Any, Any]) -> None:
    seen: set[str] = set()
    for step in flow.shape().steps:
        assert set(step.deps) <= seen
        assert len(set(step.deps)) == len(step.deps)
        assert step.map_over is None or step.map_over == RUN or step.map_over in step.deps
        seen.add(step.slug)


@relaxed
@given(flows())
def test_every_step_has_an_input_model_with_its_whole_dependencies(flow: Flow[Any, Any]) -> None:
    for step in flow.steps:
        properties = flow.input_model(step.ref).model_json_schema().get("properties", {})
        assert list(properties) == [dep.slug for dep in step.deps]
        assert flow.step_for(step.ref) is step
        assert flow.step_by_slug(step.slug) is step


@relaxed
@given(flows(), slugs)
def test_one_more_step_is_another_structure(flow: Flow[Any, Any], slug: str) -> None:
    if slug in {step.slug for step in flow.steps}:
        return
    untyped: Any = flow
    longer = untyped.step(handler_of("more", [list[int]], int), slug=slug)
    assert longer.shape().fingerprint != flow.shape().fingerprint
    assert longer.shape().steps[:-1] == flow.shape().steps


@relaxed
@given(st.lists(st.sampled_from(["good", "type", "count", "unknown", "option", "annotation"]), min_size=1, max_size=8))
def test_each_planted_mistake_is_found_and_no_other(plan: list[str]) -> None:
    codes = {
        "type": "PF-E105",
        "count": "PF-E106",
        "unknown": "PF-E102",
        "option": "PF-E112",
        "annotation": "PF-E110",
    }
    flow: Any = Flow("planted", str)
    problems: list[str] = []
    for index, kind in enumerate(plan):
        name = f"step_{index}"
        handler = handler_of(name, [int if kind == "type" else str], int)
        deps: list[Any] = []
        options: dict[str, Any] = {}
        if kind == "count":
            handler = handler_of(name, [str, str], int)
        if kind == "unknown":
            deps = [handler_of("nowhere", [str], str)]
        if kind == "option":
            options = {"timeout": 0}
        if kind == "annotation":
            del handler.__annotations__["return"]
        try:
            flow.step(handler, *deps, **options)
        except DefinitionError as error:
            problems.extend(problem.code for problem in error.problems)
    assert problems == [codes[kind] for kind in plan if kind != "good"]


@given(st.text())
def test_a_slug_is_valid_exactly_when_a_flow_takes_it(slug: str) -> None:
    if is_valid_slug(slug):
        assert Flow(slug, str).slug == slug
    else:
        with pytest.raises(DefinitionError, match="PF-E101"):
            Flow(slug, str)


@given(slugs)
def test_valid_slugs_survive_as_they_are(slug: str) -> None:
    untyped: Any = Flow(slug, str).step(handler_of("it", [str], int))
    shape = untyped.shape()
    assert shape.slug == slug
    assert shape.to_json()["slug"] == slug
