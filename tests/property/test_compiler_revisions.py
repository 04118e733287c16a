"""Whatever flows are compiled in whatever order: the tree tells them back, and a downgrade undoes each change exactly."""

import ast
import copy
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from flowdsl.compiler.baseline import read_baseline
from flowdsl.compiler.compilation import plan
from flowdsl.compiler.diff import FlowChange, diff
from flowdsl.compiler.migration import downgrade_statements, flow_revision, upgrade_statements
from flowdsl.compiler.operations import (
    AddStep,
    CreateFlow,
    DropFlowVersion,
    SetFlowOptions,
    SetStepOptions,
    Statement,
)
from flowdsl.compiler.revision import open_tree
from flowdsl.compiler.scaffold import initialise
from flowdsl.compiler.statements import split_statements
from flowdsl.model.conditions import SKIP_MODES, SkipMode
from flowdsl.model.shape import FlowShape, StepShape
from tests.unit.compiler.shapes import AWKWARD_TEXTS, flow, step

SLUGS = ["a", "b", "c", "d", "E", "_f"]
QUEUES = (
    st.none()
    | st.sampled_from(AWKWARD_TEXTS)
    | st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=12)
)


MODES: st.SearchStrategy[SkipMode] = st.sampled_from(SKIP_MODES)
PATTERNS = st.none() | st.dictionaries(
    st.sampled_from(AWKWARD_TEXTS),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | QUEUES,
        lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(AWKWARD_TEXTS), inner, max_size=2),
        max_leaves=4,
    ),
    max_size=2,
)


@st.composite
def shapes(draw: st.DrawFn, slug: str = "flow") -> FlowShape:
    steps: list[StepShape] = []
    for name in draw(st.lists(st.sampled_from(SLUGS), min_size=1, max_size=5, unique=True)):
        earlier = [each.slug for each in steps]
        deps = draw(st.lists(st.sampled_from(earlier), unique=True, max_size=3)) if earlier else []
        over = draw(st.sampled_from([None, "run", *(name for name in earlier if name not in deps)]))
        steps.append(
            step(
                name,
                *deps,
                over=over,
                run=draw(st.booleans()),
                timeout=draw(st.none() | st.integers(1, 2**31 - 1)),
                queue=draw(QUEUES),
                priority=draw(st.none() | st.integers(-32768, 32767)),
                retry_on=draw(st.none() | st.just(("ValueError", "a.b.C"))),
                when=draw(PATTERNS),
                unless=draw(PATTERNS),
                when_unmet=draw(MODES),
                when_exhausted=draw(MODES),
            )
        )
    returns = draw(st.none() | st.sampled_from([each.slug for each in steps]))
    deadline = draw(st.none() | st.integers(1, 2**31 - 1))
    return flow(
        slug, *steps, returns=returns, queue=draw(QUEUES), max_attempts=draw(st.integers(1, 9)), deadline=deadline
    )


class Definitions:
    """What the SQL functions keep of a flow, in a few lines of Python."""

    def __init__(self) -> None:
        self.options: Any = None
        self.versions: dict[int, dict[str, Any]] = {}

    def apply(self, statements: Sequence[Statement]) -> None:
        for statement in statements:
            match statement:
                case CreateFlow():
                    self.options = self.options if statement.options is None else statement.options
                    self.versions[statement.version] = {
                        "fingerprint": statement.fingerprint,
                        "output_step": statement.output_step,
                        "steps": {},
                    }
                case AddStep():
                    steps = self.versions[statement.version]["steps"]
                    assert set(statement.step.deps) <= set(steps), "a dependency is added before its dependents"
                    steps[statement.step.slug] = [statement.step.structure(), statement.step.options]
                case SetFlowOptions():
                    assert self.options == statement.old
                    self.options = statement.new
                case SetStepOptions():
                    entry = self.versions[statement.version]["steps"][statement.step_slug]
                    assert entry[1] == statement.old
                    entry[1] = statement.new
                case DropFlowVersion():
                    del self.versions[statement.version]
                    if not self.versions:
                        self.options = None

    def holds(self, version: int, shape: FlowShape) -> bool:
        found = self.versions[version]
        return (
            max(self.versions) == version
            and self.options == shape.options
            and found["fingerprint"] == shape.fingerprint
            and found["output_step"] == shape.output_step
            and [*found["steps"].values()] == [[each.structure(), each.options] for each in shape.steps]
        )


@given(history=st.lists(shapes(), min_size=1, max_size=5))
def test_operations_lead_to_the_new_shape_and_their_reverse_leads_back(history: list[FlowShape]) -> None:
    definitions = Definitions()
    undo: list[tuple[Definitions, FlowChange]] = []
    old, version = None, 0
    for new in history:
        change = diff(old, new, version=version)
        if change is not None:
            undo.append((copy.deepcopy(definitions), change))
            definitions.apply(change.operations)
            version = change.version
        assert definitions.holds(version, new)
        assert diff(new, new, version=version) is None
        old = new
    for before, change in reversed(undo):
        for operation in reversed(change.operations):
            definitions.apply(operation.reverse())
        assert vars(definitions) == vars(before)


@settings(max_examples=25, deadline=None)
@given(history=st.lists(st.tuples(shapes("one"), shapes("two")), min_size=1, max_size=4))
def test_the_tree_tells_back_what_was_compiled(history: list[tuple[FlowShape, FlowShape]]) -> None:
    with TemporaryDirectory() as name:
        directory = Path(name).resolve()
        initialise(directory)
        for both in history:
            change = plan(both, directory)
            if change.changes:
                path = change.write().path
                again = path.read_bytes()
                path.unlink()
                assert plan(both, directory).write().path == path
                assert path.read_bytes() == again
            assert plan(both, directory).changes == ()
        flows = read_baseline(open_tree(directory).files).flows
        assert {slug: compiled.shape for slug, compiled in flows.items()} == {each.slug: each for each in history[-1]}


@given(old=st.none() | shapes(), new=shapes(), message=st.none() | st.text())
def test_the_file_holds_the_statements_unchanged_one_by_one(
    old: FlowShape | None, new: FlowShape, message: str | None
) -> None:
    change = diff(old, new, version=0 if old is None else 1)
    if change is None:
        return
    text = flow_revision("parent", [change], message=message).text
    module = ast.parse(text)
    constants = {
        statement.targets[0].id: ast.literal_eval(statement.value)
        for statement in module.body
        if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name)
    }
    for constant, statements in (
        ("UPGRADE", upgrade_statements([change])),
        ("DOWNGRADE", downgrade_statements([change])),
    ):
        assert constants[constant] == tuple(f"\n{statement}\n" for statement in statements)
        assert all(split_statements(statement) == (statement,) for statement in statements)
    text.encode("utf-8")
    # One physical line per line: nothing in the text can end a line for an editor but not for Python.
    assert text.splitlines() == text.split("\n")[:-1]
