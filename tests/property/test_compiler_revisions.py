"""Whatever flows are compiled in whatever order: the tree tells them back, and a downgrade undoes each change exactly."""

import ast
import copy
import json
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from flowdsl.compiler.baseline import read_baseline
from flowdsl.compiler.checksum import checksum, code_of
from flowdsl.compiler.compilation import plan
from flowdsl.compiler.diff import FlowChange, diff, removal
from flowdsl.compiler.migration import downgrade_statements, flow_revision, record, upgrade_statements
from flowdsl.compiler.operations import (
    AddStep,
    CreateFlow,
    DropFlow,
    DropFlowVersion,
    RestoreFlow,
    RetireFlow,
    SetFlowOptions,
    SetStepOptions,
    Statement,
)
from flowdsl.compiler.revision import open_tree
from flowdsl.compiler.scaffold import initialise
from flowdsl.compiler.statements import split_statements
from flowdsl.compiler.versions import FlowVersion
from flowdsl.model.shape import FlowShape

from .compiler_strategies import pairs, shapes


class Definitions:
    """What the SQL functions keep of a flow, in a few lines of Python."""

    def __init__(self) -> None:
        self.options: Any = None
        self.versions: dict[int, dict[str, Any]] = {}
        self.is_retired = False

    def apply(self, statements: Sequence[Statement]) -> None:
        for statement in statements:
            match statement:
                case CreateFlow():
                    self.options = self.options if statement.options is None else statement.options
                    assert statement.version == len(self.versions) + 1
                    self.versions[statement.version] = {
                        "fingerprint": statement.fingerprint,
                        "output_step": statement.output_step,
                        "schemas": (statement.input_schema, statement.output_schema),
                        "reach": (statement.serves_from, statement.accepts_from),
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
                        self.__init__()  # type: ignore[misc] # nothing is left of the flow
                case RetireFlow() | RestoreFlow():
                    assert self.versions
                    self.is_retired = isinstance(statement, RetireFlow)
                case DropFlow():
                    self.__init__()  # type: ignore[misc]

    def holds(self, version: FlowVersion) -> bool:
        found, shape = self.versions[version.version], version.shape
        return (
            not self.is_retired
            and max(self.versions) == version.version
            and self.options == shape.options
            and found["fingerprint"] == version.fingerprint
            and found["output_step"] == shape.output_step
            and found["schemas"] == (shape.input_schema, shape.output_schema)
            and found["reach"] == (version.serves_from, version.accepts_from)
            and [*found["steps"].values()] == [[each.structure(), each.options] for each in shape.steps]
        )


class Code:
    """What the migrations know of one flow, change by change, like the baseline of a tree."""

    def __init__(self) -> None:
        self.history: list[FlowVersion] = []
        self.is_retired = False

    def change(self, new: FlowShape | None, *, drop: bool) -> FlowChange | None:
        if new is None and drop and self.history:
            change: FlowChange | None = removal(self.history, is_retired=self.is_retired)
            self.history, self.is_retired = [], False
            return change
        change = diff(self.history, new, is_retired=self.is_retired)
        if change is not None:
            self.is_retired = change.new is None
        if change is not None and change.new is not None:
            self.history = [*(one for one in self.history if one.version != change.version), change.new]
        return change


@given(history=st.lists(st.tuples(st.none() | shapes(), st.booleans()), min_size=1, max_size=5))
def test_operations_lead_to_the_new_shape_and_their_reverse_leads_back(
    history: list[tuple[FlowShape | None, bool]],
) -> None:
    definitions, code = Definitions(), Code()
    undo: list[tuple[Definitions, FlowChange]] = []
    for new, drop in history:
        change = code.change(new, drop=drop)
        if change is not None:
            undo.append((copy.deepcopy(definitions), change))
            definitions.apply(change.operations)
        assert definitions.is_retired == code.is_retired
        if new is not None:
            assert definitions.holds(code.history[-1])
            assert code.history[-1].shape == new
        assert code.change(new, drop=False) is None
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


@given(both=pairs(), is_new=st.booleans(), message=st.none() | st.text())
def test_the_file_holds_the_statements_unchanged_one_by_one(
    both: tuple[FlowShape, FlowShape], is_new: bool, message: str | None
) -> None:
    change = diff([] if is_new else [FlowVersion.of(1, both[0])], both[1])
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
    written = json.loads(constants["PGFLOW"])
    assert written.pop("checksum") == checksum(constants["UPGRADE"], constants["DOWNGRADE"], written, code_of(module))
    assert written == json.loads(json.dumps(record([change])))
    text.encode("utf-8")
    # One physical line per line: nothing in the text can end a line for an editor but not for Python.
    assert text.splitlines() == text.split("\n")[:-1]
