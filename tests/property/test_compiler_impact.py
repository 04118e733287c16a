"""Classes of changes, for whatever two or three shapes of a flow: what always holds of them."""

from dataclasses import replace
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from flowdsl.compiler.diff import FlowChange, diff
from flowdsl.compiler.impact import ImpactClass, judge
from flowdsl.compiler.versions import FlowVersion
from flowdsl.model.shape import FlowShape, OptionValues
from tests.unit.compiler.shapes import DEFAULTS

from .compiler_strategies import FLOW_OPTIONS, pairs, shapes, variants


@st.composite
def chains(draw: st.DrawFn) -> list[FlowShape]:
    """Three to five shapes of a flow, each not far from the one before."""
    found = [draw(shapes())]
    for _ in range(draw(st.integers(2, 4))):
        found.append(draw(variants(found[-1])))
    return found


def compiled(chain: list[FlowShape]) -> list[FlowVersion]:
    """Return the versions that compiling one after the other makes."""
    history: list[FlowVersion] = []
    for shape in chain:
        change: FlowChange | None = diff(history, shape)
        if change is not None and change.new is not None:
            history = [*(one for one in history if one.version != change.version), change.new]
    return history


@given(shape=shapes())
def test_the_same_shape_is_no_change_and_would_be_safe(shape: FlowShape) -> None:
    history = [FlowVersion.of(1, shape)]
    assert diff(history, shape) is None
    impact = judge(history, shape)
    assert (impact.level, impact.serves_from, impact.accepts_from) == (ImpactClass.SAFE, 1, 1)


@given(shape=shapes(), options=FLOW_OPTIONS)
def test_options_alone_are_safe_and_no_new_version(shape: FlowShape, options: dict[str, int]) -> None:
    new = replace(shape, options=OptionValues.of({**DEFAULTS, **options}))
    change = diff([FlowVersion.of(1, shape)], new)
    if change is not None:
        assert (change.impact.level, change.version) == (ImpactClass.SAFE, 1)


@given(both=pairs())
def test_every_change_says_what_it_is_and_why(both: tuple[FlowShape, FlowShape]) -> None:
    old, new = both
    change = diff([FlowVersion.of(1, old)], new)
    if change is None:
        assert old == new
        return
    assert change.details
    assert change.impact.reasons or change.impact.level is ImpactClass.SAFE
    levels = {reason.level for reason in change.impact.reasons}
    expected = ImpactClass.BREAKING in levels, ImpactClass.NEEDS_DRAIN in levels
    if change.version == 2:
        assert expected == (change.impact.accepts_from == 2, change.impact.serves_from == 2)
    assert all("\n" not in note for note in change.notes)


@given(both=pairs())
def test_a_step_that_is_gone_is_never_safe(both: tuple[FlowShape, FlowShape]) -> None:
    old, new = both
    impact = judge([FlowVersion.of(1, old)], new)
    if {step.slug for step in old.steps} - {step.slug for step in new.steps}:
        assert impact.level is not ImpactClass.SAFE
        assert impact.serves_from == 2


@given(chain=chains())
def test_a_version_reaches_back_to_versions_that_it_fits_each_by_itself(chain: list[FlowShape]) -> None:
    history = compiled(chain)
    for position, version in enumerate(history):
        for old in history[:position]:
            alone = judge([FlowVersion.of(old.version, old.shape)], version.shape)
            if old.version >= version.serves_from:
                assert alone.serves_from == old.version
            if old.version >= version.accepts_from:
                assert alone.accepts_from == old.version


@given(chain=chains())
def test_a_version_reaches_back_no_further_than_the_one_before(chain: list[FlowShape]) -> None:
    history = compiled(chain)
    for before, after in pairwise(history):
        assert before.serves_from <= after.serves_from <= after.version
        assert before.accepts_from <= after.accepts_from <= after.version
