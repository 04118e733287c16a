"""What was compiled and what is in the code become the operations between them: in place, a next version, retired, dropped."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from flowdsl.compiler.diff import ChangeKind, FlowChange, diff, removal
from flowdsl.compiler.impact import ImpactClass
from flowdsl.compiler.operations import (
    AddStep,
    CreateFlow,
    DropFlow,
    DropFlowVersion,
    Operation,
    RestoreFlow,
    RetireFlow,
    SetFlowOptions,
    SetStepOptions,
    Statement,
)
from flowdsl.compiler.versions import FlowVersion
from flowdsl.errors import CompileError
from flowdsl.model.shape import FlowShape
from flowdsl.types import StepSlug

from .shapes import AWKWARD, PLAIN, STRING, flow, objects, step, versions

OTHER = flow("hello", step("greet"), step("whisper", "greet"), returns="whisper")
LOUD = flow("hello", step("greet"), step("shout", "greet", timeout=7, queue="loud"), returns="shout", priority=1)


def changed(history: Sequence[FlowVersion], new: FlowShape | None, *, is_retired: bool = False) -> FlowChange:
    found = diff(history, new, is_retired=is_retired)
    assert found is not None
    return found


def undone(change: FlowChange) -> list[Statement]:
    return [undo for operation in reversed(change.operations) for undo in operation.reverse()]


def test_equal_shapes_need_nothing() -> None:
    assert diff(versions(PLAIN), PLAIN) is None
    assert diff(versions(PLAIN, AWKWARD), replace(AWKWARD)) is None


def test_a_new_flow_is_created_with_its_steps_in_order() -> None:
    change = changed((), PLAIN)
    assert (change.kind, change.version, change.impact.level) == (ChangeKind.NEW, 1, ImpactClass.SAFE)
    expected: tuple[Operation, ...] = (
        CreateFlow(
            flow_slug=PLAIN.slug,
            version=1,
            fingerprint=PLAIN.fingerprint,
            output_step=StepSlug("shout"),
            options=PLAIN.options,
            input_schema=None,
            output_schema=None,
            serves_from=1,
            accepts_from=1,
        ),
        *(AddStep(flow_slug=PLAIN.slug, version=1, step=each) for each in PLAIN.steps),
    )
    assert change.operations == expected


def test_schemas_are_part_of_the_statements() -> None:
    shape = flow("f", step("a", takes={"run": STRING}, gives=objects(x=STRING)), takes=STRING, gives=objects(a=STRING))
    create, add = (operation.sql() for operation in changed((), shape).operations)
    assert 'input_schema => \'{"type": "string"}\'::jsonb,\n' in create
    assert 'output_schema => \'{"properties": {"a": {"type": "string"}},' in create
    assert 'input_schema => \'{"properties": {"run": {"type": "string"}},' in add
    assert 'output_schema => \'{"properties": {"x": {"type": "string"}},' in add


def test_a_changed_structure_is_the_next_version_and_leaves_the_flows_options_alone() -> None:
    change = changed(versions(PLAIN, PLAIN, PLAIN), OTHER)
    assert (change.kind, change.version) == (ChangeKind.VERSION, 4)
    create, *steps = change.operations
    assert isinstance(create, CreateFlow)
    assert (create.version, create.options) == (4, None)
    assert [operation.step.slug for operation in steps if isinstance(operation, AddStep)] == ["greet", "whisper"]


def test_how_far_a_version_reaches_back_is_told_where_it_is_further_than_itself() -> None:
    wider = flow("hello", *PLAIN.steps, step("log", "greet"), returns="shout")
    change = changed(versions(PLAIN), wider)
    assert change.new is not None
    assert (change.new.serves_from, change.new.accepts_from) == (1, 1)
    assert "  serves_from => 1,\n  accepts_from => 1,\n  version => 2,\n" in change.operations[0].sql()
    alone = changed(versions(PLAIN), OTHER)
    assert "serves_from" not in alone.operations[0].sql()


def test_a_fingerprint_that_was_computed_differently_is_a_new_version_too() -> None:
    # Workers are compared with what the database has, so an equal shape does not help.
    old = replace(FlowVersion.of(1, PLAIN), fingerprint="0123456789abcdef")
    change = changed([old], LOUD)
    assert (change.kind, change.version) == (ChangeKind.VERSION, 2)
    assert change.details[0].text == f"fingerprint: {PLAIN.fingerprint}; was 0123456789abcdef"
    assert [detail.subject for detail in change.details[1:]] == ["priority", "queue", "timeout"]


def test_options_changed_together_with_the_structure_are_set_first() -> None:
    change = changed(versions(PLAIN), flow("hello", step("greet"), step("shout", "greet"), timeout=9))
    assert [type(operation) for operation in change.operations] == [SetFlowOptions, CreateFlow, AddStep, AddStep]


def test_changed_options_are_updates_in_place() -> None:
    change = changed(versions(PLAIN, PLAIN), LOUD)
    assert (change.kind, change.version, change.impact.level) == (ChangeKind.OPTIONS, 2, ImpactClass.SAFE)
    assert change.operations == (
        SetFlowOptions(flow_slug=LOUD.slug, old=PLAIN.options, new=LOUD.options),
        SetStepOptions(
            flow_slug=LOUD.slug,
            version=2,
            step_slug=StepSlug("shout"),
            old=PLAIN.steps[1].options,
            new=LOUD.steps[1].options,
        ),
    )
    assert change.new is not None
    assert (change.new.shape, change.new.fingerprint) == (LOUD, PLAIN.fingerprint)


def test_options_in_place_leave_alone_how_far_a_version_reaches_back() -> None:
    old = FlowVersion.of(3, PLAIN, 1, 2)
    change = changed([old], LOUD)
    assert change.new is not None
    assert (change.new.serves_from, change.new.accepts_from) == (1, 2)


def test_a_flow_that_is_gone_is_retired_once() -> None:
    change = changed(versions(PLAIN), None)
    assert (change.kind, change.impact.level, change.new) == (ChangeKind.RETIRED, ImpactClass.NEEDS_DRAIN, None)
    assert change.operations == (RetireFlow(flow_slug=PLAIN.slug),)
    assert undone(change) == [RestoreFlow(flow_slug=PLAIN.slug)]
    assert diff(versions(PLAIN), None, is_retired=True) is None
    assert diff((), None) is None


def test_a_flow_that_is_back_is_restored() -> None:
    change = changed(versions(PLAIN), PLAIN, is_retired=True)
    assert (change.kind, change.impact.level, change.version) == (ChangeKind.RESTORED, ImpactClass.SAFE, 1)
    assert change.operations == (RestoreFlow(flow_slug=PLAIN.slug),)
    assert undone(change) == [RetireFlow(flow_slug=PLAIN.slug)]


def test_a_flow_that_is_back_with_other_options_or_another_structure_is_both() -> None:
    options = changed(versions(PLAIN), LOUD, is_retired=True)
    assert (options.kind, options.is_restored) == (ChangeKind.RESTORED, True)
    assert [type(operation) for operation in options.operations] == [RestoreFlow, SetFlowOptions, SetStepOptions]
    structure = changed(versions(PLAIN), OTHER, is_retired=True)
    assert (structure.kind, structure.is_restored) == (ChangeKind.VERSION, True)
    assert [type(operation) for operation in structure.operations] == [RestoreFlow, CreateFlow, AddStep, AddStep]
    assert undone(structure) == [DropFlowVersion(flow_slug=PLAIN.slug, version=2), RetireFlow(flow_slug=PLAIN.slug)]


@pytest.mark.parametrize("is_retired", [False, True])
def test_undoing_a_drop_defines_all_versions_again_with_the_options_they_had_last(is_retired: bool) -> None:
    history = (FlowVersion.of(1, PLAIN), FlowVersion.of(2, OTHER, 1, 1), FlowVersion.of(3, LOUD))
    change = removal(history, is_retired=is_retired)
    assert (change.kind, change.impact.level, change.new) == (ChangeKind.DROPPED, ImpactClass.BREAKING, None)
    assert change.operations == (DropFlow(flow_slug=PLAIN.slug, history=history, is_retired=is_retired),)
    assert change.operations[0].sql() == "select pgflow.delete_flow_and_data('hello');"
    back = undone(change)
    created = [statement for statement in back if isinstance(statement, CreateFlow)]
    assert [(one.version, one.fingerprint, one.serves_from) for one in created] == [
        (1, PLAIN.fingerprint, 1),
        (2, OTHER.fingerprint, 1),
        (3, LOUD.fingerprint, 3),
    ]
    assert [one.options for one in created] == [LOUD.options, None, None]
    steps = [(one.version, one.step) for one in back if isinstance(one, AddStep)]
    assert steps == [(one.version, each) for one in history for each in one.shape.steps]
    assert (back[-1] == RetireFlow(flow_slug=PLAIN.slug)) == is_retired


def test_operations_know_how_they_are_undone() -> None:
    change = changed(versions(PLAIN), flow("hello", step("greet"), timeout=9))
    assert undone(change) == [
        DropFlowVersion(flow_slug=PLAIN.slug, version=2),
        SetFlowOptions(flow_slug=PLAIN.slug, old=change.current.shape.options, new=PLAIN.options),
    ]


def test_the_label_and_the_summary_are_short() -> None:
    history = versions(PLAIN, PLAIN)
    found = [
        changed((), flow("one", step("a"))),
        changed(history, OTHER),
        changed(history, OTHER, is_retired=True),
        changed(history, LOUD),
        changed(history, LOUD, is_retired=True),
        changed(history, None),
        removal(history, is_retired=True),
    ]
    assert [(change.label, change.summary) for change in found] == [
        ("one v1", "one: new flow, 1 step"),
        ("hello v3", "hello: version 3, was 2"),
        ("hello v3", "hello: version 3, was 2, no longer retired"),
        ("hello options", "hello: options of version 2"),
        ("hello restored", "hello: restored in version 2, new runs may start again"),
        ("hello retired", "hello: retired, no longer among the flows"),
        ("hello dropped", "hello: dropped with all runs and their data, versions 1 to 2"),
    ]


def test_the_notes_tell_all_of_it() -> None:
    new = flow("hello", step("greet"), step("count_it", over="greet", run=True), timeout=9)
    assert changed(versions(PLAIN), new).notes == (
        f"hello: version 2, was 1 (fingerprint {new.fingerprint})",
        "  steps",
        "    + count_it: a map over greet, takes run",
        "    - shout: takes greet",
        "  returns",
        "    ~ the leaf steps; was shout",
        "  options",
        "    ~ timeout 60 -> 9",
        "  needs drain",
        "    step 'shout' is gone, and runs of version 1 may still need it",
        "    keep workers with the code of version 1 until the runs of version 1 have ended",
        "    safe: runs in flight go on without what is added (count_it)",
        "    safe: callers that read the output of step 'shout' find none in new runs",
    )
    assert changed(versions(PLAIN), None).notes[0] == "hello: retired, no longer among the flows"


def test_a_deadline_is_an_option_set_in_place() -> None:
    bounded = replace(PLAIN, options=flow("hello", deadline=60).options)
    change = changed(versions(PLAIN), bounded)
    assert change.kind is ChangeKind.OPTIONS
    assert [detail.text for detail in change.details] == [
        "deadline default -> 60 (of runs that start from now on)",
    ]
    (operation,) = change.operations
    assert "  deadline => 60,\n" in operation.sql()
    (undo,) = operation.reverse()
    assert "deadline" not in undo.sql()


def test_a_text_that_cannot_be_stored_is_told_with_its_flow_and_step() -> None:
    shape = flow("f", step("a", gives={"enum": ["\0"]}), gives={"enum": ["\0"]})
    create, add = changed((), shape).operations
    with pytest.raises(CompileError, match=r"^flow 'f': the text .* holds the character NUL"):
        create.sql()
    with pytest.raises(CompileError, match=r"^flow 'f', step 'a': the text .* holds the character NUL"):
        add.sql()
