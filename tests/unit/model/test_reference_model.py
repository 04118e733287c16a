"""What a written reference sends: what was given, and nothing in the place of what was left out."""

import json
from typing import Any

import pytest

from flowdsl.model.adapters import ValueAdapter
from flowdsl.model.reference_model import LEFT_OUT, ReferenceModel


class Options(ReferenceModel):
    size: int = LEFT_OUT


class Other(ReferenceModel):
    name: str


class Node(ReferenceModel):
    child: "Node" = LEFT_OUT
    value: int = LEFT_OUT


class Input(ReferenceModel):
    name: str
    options: Options = LEFT_OUT
    either: Options | Other = LEFT_OUT
    node: Node = LEFT_OUT
    known: Options | None = None


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (Input(name="x"), {"name": "x"}),
        (Input(name="x", options=Options()), {"name": "x", "options": {}}),
        (Input(name="x", options=Options(size=1)), {"name": "x", "options": {"size": 1}}),
        (Input(name="x", either=Other(name="y")), {"name": "x", "either": {"name": "y"}}),
        (Input(name="x", node=Node(child=Node(value=1))), {"name": "x", "node": {"child": {"value": 1}}}),
        (Input(name="x", known=None), {"name": "x", "known": None}),
        (Node(), {}),
    ],
)
@pytest.mark.filterwarnings("error")
def test_what_was_left_out_is_not_sent(value: Any, written: object) -> None:
    assert json.loads(ValueAdapter(type(value)).encode(value)) == written
