"""Random shapes of flows, with awkward texts wherever a text may stand, and changes of them."""

from dataclasses import replace
from typing import Any

from hypothesis import strategies as st

from flowdsl.compiler.words import sources
from flowdsl.model.conditions import SKIP_MODES, Predicate, SkipMode
from flowdsl.model.schemas import Schema
from flowdsl.model.shape import FlowShape, OptionValues, StepShape
from flowdsl.types import StepSlug
from tests.unit.compiler.shapes import (
    AWKWARD_TEXTS,
    DEFAULTS,
    INTEGER,
    NUMBER,
    STRING,
    flow,
    listed,
    objects,
    step,
    taken,
)

SLUGS = ["a", "b", "c", "d", "E", "_f"]
TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=12)
# The core refuses a name of nothing but blanks.
QUEUES = st.none() | st.sampled_from(AWKWARD_TEXTS) | TEXTS.filter(lambda text: bool(text.strip()))
MODES: st.SearchStrategy[SkipMode] = st.sampled_from(SKIP_MODES)
PATTERNS = st.none() | st.dictionaries(
    st.sampled_from(AWKWARD_TEXTS),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
        lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(AWKWARD_TEXTS), inner, max_size=2),
        max_leaves=4,
    ),
    max_size=2,
)
PREDICATES = st.none() | st.sampled_from(
    [
        Predicate('$."run"."x" < -0.5', "x < -0.5"),
        Predicate('$."it\'s \\"quoted\\"" == ":name % \\\\"', 'quoted == ":name % \\"'),
        Predicate('exists ($."run"[*] ? (@."žluť" like_regex "^a" flag "i"))', "any(žluť)"),
    ]
)
ATOMS: list[dict[str, Any]] = [INTEGER, NUMBER, STRING, {}, {"type": "null"}, {"enum": AWKWARD_TEXTS[:3]}]
SCHEMAS: st.SearchStrategy[dict[str, Any]] = st.recursive(
    st.sampled_from(ATOMS),
    lambda inner: st.one_of(
        inner.map(listed),
        st.dictionaries(st.sampled_from(["x", "y_", "z"]), inner, max_size=2).map(lambda given: objects(**given)),
        st.lists(inner, min_size=2, max_size=2).map(lambda options: {"anyOf": options}),
        inner.map(lambda item: {"type": "object", "additionalProperties": item}),
    ),
    max_leaves=4,
)
STEP_OPTIONS: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {},
    optional={
        "max_attempts": st.integers(1, 2**31 - 1),
        "timeout": st.integers(1, 2**31 - 1),
        "queue": QUEUES,
        "priority": st.integers(-32768, 32767),
        "retry_on": st.just(("ValueError", "a.b.C")),
    },
)
FLOW_OPTIONS: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {},
    optional={
        "max_attempts": st.integers(1, 9),
        "queue": QUEUES,
        "deadline": st.integers(1, 2**31 - 1),
        "priority": st.integers(-32768, 32767),
    },
)


@st.composite
def shapes(draw: st.DrawFn, slug: str = "flow") -> FlowShape:
    """A flow of any shape, with schemas or (as an earlier flowdsl compiled it) without."""
    steps: list[StepShape] = []
    is_typed = draw(st.booleans())
    schemas: st.SearchStrategy[dict[str, Any] | None] = SCHEMAS if is_typed else st.none()
    for name in draw(st.lists(st.sampled_from(SLUGS), min_size=1, max_size=5, unique=True)):
        earlier = [each.slug for each in steps]
        deps = draw(st.lists(st.sampled_from(earlier), unique=True, max_size=3)) if earlier else []
        over = draw(st.sampled_from([None, "run", *(name for name in earlier if name not in deps)]))
        made = step(
            name,
            *deps,
            over=over,
            run=draw(st.booleans()),
            when=draw(PATTERNS),
            unless=draw(PATTERNS),
            predicate=draw(PREDICATES),
            when_unmet=draw(MODES),
            when_exhausted=draw(MODES),
            gives=draw(schemas),
            **draw(STEP_OPTIONS),
        )
        given = {f"{name}?" if draw(st.booleans()) else name: draw(SCHEMAS) for name in sources(made)}
        steps.append(replace(made, input_schema=Schema.of(taken(given)) if is_typed else None))
    returns = draw(st.none() | st.sampled_from([each.slug for each in steps]))
    return flow(slug, *steps, returns=returns, takes=draw(schemas), gives=draw(schemas), **draw(FLOW_OPTIONS))


@st.composite
def variants(draw: st.DrawFn, shape: FlowShape) -> FlowShape:
    """A flow that differs from this one in a few things: options, a step, a schema, what it returns; or in nothing."""
    what = draw(st.sampled_from(["nothing", "options", "step options", "last step gone", "returns", "schemas", "new"]))
    last = shape.steps[-1]
    if what == "options":
        return replace(shape, options=OptionValues.of({**DEFAULTS, **draw(FLOW_OPTIONS)}))
    if what == "step options":
        options = OptionValues.of({**dict.fromkeys(last.options), "start_delay": 0, **draw(STEP_OPTIONS)})
        return replace(shape, steps=(*shape.steps[:-1], replace(last, options=options)))
    if what == "last step gone" and len(shape.steps) > 1:
        output = None if shape.output_step == last.slug else shape.output_step
        return replace(shape, steps=shape.steps[:-1], output_step=output)
    if what == "returns":
        return replace(shape, output_step=draw(st.none() | st.sampled_from([StepSlug(s.slug) for s in shape.steps])))
    if what == "schemas":
        written = Schema.of(draw(SCHEMAS))
        return replace(shape, output_schema=written, steps=(*shape.steps[:-1], replace(last, output_schema=written)))
    return draw(shapes(shape.slug)) if what == "new" else shape


def pairs() -> st.SearchStrategy[tuple[FlowShape, FlowShape]]:
    """Return two shapes of one flow, mostly not far from each other."""
    return shapes().flatmap(lambda old: st.tuples(st.just(old), variants(old)))
