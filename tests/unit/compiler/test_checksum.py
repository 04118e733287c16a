"""The checksum sees every change of what a revision does, and no change of how its file is laid out."""

import json

import pytest

from flowdsl.compiler.checksum import KEY, checksum
from flowdsl.types import JsonValue

UPGRADE = ("select 1;", "select ':a %';")
DOWNGRADE = ("select 2;",)
RECORD: dict[str, JsonValue] = {"format": 2, "flows": [{"version": 1}], "retired": ["é"]}


def test_the_layout_and_the_order_of_keys_do_not_count() -> None:
    expected = checksum(UPGRADE, DOWNGRADE, RECORD)
    framed = [f"\n{statement}\n" for statement in UPGRADE]
    turned = dict(reversed(json.loads(json.dumps(RECORD)).items()))
    assert checksum(framed, DOWNGRADE, {**turned, KEY: expected}) == expected


@pytest.mark.parametrize(
    ("upgrade", "downgrade", "record"),
    [
        (UPGRADE[:1], DOWNGRADE, RECORD),
        (UPGRADE, (), RECORD),
        ((*UPGRADE, *DOWNGRADE), (), RECORD),
        (("select 1;", "select ':b %';"), DOWNGRADE, RECORD),
        (UPGRADE, DOWNGRADE, {**RECORD, "retired": []}),
    ],
)
def test_what_a_revision_does_counts(upgrade: tuple[str, ...], downgrade: tuple[str, ...], record: dict[str, JsonValue]) -> None:  # fmt: skip
    assert checksum(upgrade, downgrade, record) != checksum(UPGRADE, DOWNGRADE, RECORD)
