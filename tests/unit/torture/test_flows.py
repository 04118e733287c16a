"""The tortured flows, told apart from what tortures them."""

import pytest

from flowdsl.torture.flows import FLOWS, ORACLES, Job, expected, mix


@pytest.mark.parametrize("flow", FLOWS, ids=lambda flow: flow.slug)
def test_the_oracle_knows_every_step(flow: object) -> None:
    for slug, (known, _) in ORACLES.items():
        if known is flow:
            given = [1, 2] if slug == "torture_root" else Job(seed=1)
            assert set(expected(slug, given)) == {step.slug for step in known.steps}


def test_what_comes_out_depends_on_the_input_and_its_order() -> None:
    assert mix(1, 2, 3) != mix(1, 3, 2)
    assert expected("torture_chain", Job(seed=1)) != expected("torture_chain", Job(seed=2))


def test_a_turn_skips_the_other_side() -> None:
    left, right = (expected("torture_turns", Job(seed=1, turn=turn)) for turn in ("left", "right"))
    assert {slug for slug, value in left.items() if value is None} == {"right", "astray", "beyond", "hopeless"}
    assert {slug for slug, value in right.items() if value is None} == {"left", "boughs", "hopeless"}
    assert right["widen"] == []
