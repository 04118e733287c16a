# mypy: disable-error-code="empty-body"
import json
import pickle
from typing import Any

import pytest

from flowdsl import Flow, collect, named
from flowdsl.errors import CompileError
from flowdsl.model.shape import FLOW_OPTIONS, STEP_OPTIONS, FlowShape, OptionValues

from .handlers_for_tests import Page, Site, fetch, links, save, sentiment, shout, summary, website


def analyze(**options: Any) -> Flow[Site, bool]:
    return (
        Flow("analyze", Site, timeout=10, queue="web")
        .step(website, **options)
        .step(sentiment, website, timeout=30, retry_on=[ValueError, ConnectionError])
        .step(summary, website)
        .array(links, website)
        .map(fetch, links, start_delay=5)
        .step(save, Site, sentiment, summary, collect(fetch))
        .returns(save)
    )


def test_a_shape_holds_steps_edges_and_options() -> None:
    shape = analyze().shape()
    assert (shape.slug, shape.output_step) == ("analyze", "save")
    assert [(s.slug, s.step_type.value, s.deps, s.map_over, s.uses_run_input) for s in shape.steps] == [
        ("website", "single", (), None, True),
        ("sentiment", "single", ("website",), None, False),
        ("summary", "single", ("website",), None, False),
        ("links", "single", ("website",), None, False),
        ("fetch", "map", ("links",), "links", False),
        ("save", "single", ("sentiment", "summary", "fetch"), None, True),
    ]
    assert dict(shape.options) == {
        "base_delay": 5,
        "deadline": None,
        "max_attempts": 3,
        "max_delay": 3600,
        "priority": 0,
        "queue": "web",
        "timeout": 10,
    }
    assert dict(shape.steps[1].options) == {
        "base_delay": None,
        "max_attempts": None,
        "max_delay": None,
        "priority": None,
        "queue": None,
        "retry_on": ("ConnectionError", "ValueError"),
        "start_delay": 0,
        "timeout": 30,
    }
    assert tuple(shape.options) == FLOW_OPTIONS
    assert set(shape.steps[0].options) == set(STEP_OPTIONS)


def test_root_maps_and_maps_over_the_run_input_are_told() -> None:
    def repeat(word: str, count: int) -> str: ...
    def count(words: list[str]) -> int: ...
    def all_of(word: str, loud: list[str]) -> int: ...

    shape = (
        Flow("words", list[str])
        .map(shout)
        .step(count)
        .map(repeat, list[str], count)
        .map(named("loud", shout), collect(shout))
        .map(all_of, list[str], collect(repeat))
        .shape()
    )
    assert [(s.slug, s.deps, s.map_over, s.uses_run_input) for s in shape.steps] == [
        ("shout", (), "run", False),
        ("count", (), None, True),
        ("repeat", ("count",), "run", False),
        ("loud", ("shout",), "shout", False),
        ("all_of", ("repeat",), "run", False),
    ]


def test_a_map_may_take_the_run_input_whole() -> None:
    def find(link: str, site: Site) -> bool: ...

    step = Flow("find", Site).step(website).array(links, website).map(find, links, Site).shape().steps[-1]
    assert (step.deps, step.map_over, step.uses_run_input) == (("links",), "links", True)


def test_a_shape_survives_json_and_pickle() -> None:
    shape = analyze().shape()
    assert FlowShape.from_json(json.loads(json.dumps(shape.to_json()))) == shape
    assert pickle.loads(pickle.dumps(shape)) == shape  # noqa: S301 - our own bytes
    assert hash(shape) == hash(analyze().shape())


def test_the_json_of_a_shape_is_sorted_and_leaves_out_what_was_not_given() -> None:
    data = analyze().shape().to_json()
    assert list(data) == sorted(data)
    for step in data["steps"]:
        assert list(step) == sorted(step)
    assert data["steps"][0]["options"] == {"start_delay": 0}
    assert data["steps"][1]["options"] == {
        "retry_on": ["ConnectionError", "ValueError"],
        "start_delay": 0,
        "timeout": 30,
    }


def test_the_fingerprint_is_pinned() -> None:
    # Compiled migrations hold fingerprints: should this change, every flow in the world looks changed.
    assert analyze().shape().fingerprint == "dce3ae84712c2e94"


def test_options_leave_the_fingerprint_alone() -> None:
    plain = analyze().shape()
    tuned = analyze(timeout=99, queue="slow", priority=3).shape()
    assert plain != tuned
    assert plain.fingerprint == tuned.fingerprint


def test_structure_changes_the_fingerprint() -> None:
    def other(page: Page) -> str: ...

    base = Flow("analyze", Site).step(website)
    flows: list[Flow[Any, Any]] = [
        base,
        base.step(summary, website),
        base.step(other, website),
        base.step(named("again", summary), website),
        base.array(links, website),
        base.array(links, website).map(fetch, links),
        base.returns(website),
        Flow("analyze2", Site).step(website),
    ]
    assert len({flow.shape().fingerprint for flow in flows}) == len(flows)


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"slug": "a"},
        {"slug": "a", "output_step": None, "options": {}, "steps": [{}]},
        {"slug": "a", "output_step": None, "options": [], "steps": []},
        {"slug": "a", "output_step": None, "options": {}, "steps": None},
        {"slug": "a", "output_step": None, "options": {}, "steps": [7]},
    ],
)
def test_anything_else_is_no_shape(data: dict[str, Any]) -> None:
    with pytest.raises(CompileError, match="not the shape of a flow"):
        FlowShape.from_json(data)


def test_option_values_are_a_mapping() -> None:
    values = OptionValues.of({"timeout": 3, "queue": None})
    assert values["timeout"] == 3
    assert values.get("queue", 7) is None
    assert (len(values), list(values)) == (2, ["queue", "timeout"])
    assert values == OptionValues.of({"queue": None, "timeout": 3})
    with pytest.raises(KeyError):
        values["nothing"]
