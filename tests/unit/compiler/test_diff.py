"""Two shapes become the operations between them: nothing, options in place, or a next version."""

from dataclasses import replace

from flowdsl.compiler.diff import ChangeKind, Impact, diff
from flowdsl.compiler.operations import AddStep, CreateFlow, DropFlowVersion, Operation, SetFlowOptions, SetStepOptions
from flowdsl.types import StepSlug

from .shapes import AWKWARD, PLAIN, flow, step


def test_equal_shapes_need_nothing() -> None:
    assert diff(PLAIN, PLAIN, version=1) is None
    assert diff(AWKWARD, replace(AWKWARD), version=4) is None


def test_a_new_flow_is_created_with_its_steps_in_order() -> None:
    change = diff(None, PLAIN)
    assert change is not None
    assert (change.kind, change.version, change.impact) == (ChangeKind.NEW, 1, Impact.SAFE)
    expected: tuple[Operation, ...] = (
        CreateFlow(
            flow_slug=PLAIN.slug,
            version=1,
            fingerprint=PLAIN.fingerprint,
            output_step=StepSlug("shout"),
            options=PLAIN.options,
        ),
        *(AddStep(flow_slug=PLAIN.slug, version=1, step=each) for each in PLAIN.steps),
    )
    assert change.operations == expected


def test_a_changed_structure_is_the_next_version_and_leaves_the_flows_options_alone() -> None:
    new = flow("hello", step("greet"), step("whisper", "greet"), returns="whisper")
    change = diff(PLAIN, new, version=3)
    assert change is not None
    assert (change.kind, change.version, change.impact) == (ChangeKind.VERSION, 4, Impact.NEEDS_DRAIN)
    create, *steps = change.operations
    assert isinstance(create, CreateFlow)
    assert (create.version, create.options) == (4, None)
    assert [operation.step.slug for operation in steps if isinstance(operation, AddStep)] == ["greet", "whisper"]
    assert change.details == ("added: whisper", "removed: shout", "returns whisper, was shout")
    assert change.reason == "runs in flight end on version 3: keep workers with that code until they have"


def test_a_fingerprint_that_was_computed_differently_is_a_new_version_too() -> None:
    # Workers are compared with what the database has, so an equal shape does not help.
    change = diff(PLAIN, PLAIN, version=1, fingerprint="0123456789abcdef")
    assert change is not None
    assert (change.kind, change.version) == (ChangeKind.VERSION, 2)
    assert change.details == (f"fingerprint 0123456789abcdef -> {PLAIN.fingerprint}",)
    assert diff(PLAIN, PLAIN, version=1, fingerprint=PLAIN.fingerprint) is None


def test_options_changed_together_with_the_structure_are_set_first() -> None:
    new = flow("hello", step("greet"), step("shout", "greet"), timeout=9)
    change = diff(PLAIN, new, version=1)
    assert change is not None
    assert [type(operation) for operation in change.operations] == [SetFlowOptions, CreateFlow, AddStep, AddStep]
    assert change.details == ("returns the leaf steps, was shout", "timeout 60 -> 9")


def test_changed_options_are_updates_in_place() -> None:
    new = flow("hello", step("greet"), step("shout", "greet", timeout=7, queue="loud"), returns="shout", priority=1)
    change = diff(PLAIN, new, version=2)
    assert change is not None
    assert (change.kind, change.version, change.impact) == (ChangeKind.OPTIONS, 2, Impact.SAFE)
    assert change.operations == (
        SetFlowOptions(flow_slug=new.slug, old=PLAIN.options, new=new.options),
        SetStepOptions(
            flow_slug=new.slug,
            version=2,
            step_slug=StepSlug("shout"),
            old=PLAIN.steps[1].options,
            new=new.steps[1].options,
        ),
    )
    assert change.details == ("priority 0 -> 1", "shout: queue default -> 'loud'", "shout: timeout default -> 7")


def test_the_details_name_changed_edges_and_a_changed_order() -> None:
    old = flow("f", step("a"), step("b"), step("c", "a"))
    new = flow("f", step("b"), step("a"), step("c", "a", "b", run=True))
    change = diff(old, new, version=1)
    assert change is not None
    assert change.details == ("changed: c is single(run, a, b), was single(a)", "order: b, a, c")
    mapped = flow("f", step("a"), step("b"), step("c", over="a"))
    change = diff(old, mapped, version=1)
    assert change is not None
    assert change.details == ("changed: c is map over a(a), was single(a)",)


def test_operations_know_how_they_are_undone() -> None:
    change = diff(PLAIN, flow("hello", step("greet"), timeout=9), version=1)
    assert change is not None
    undone = [undo for operation in reversed(change.operations) for undo in operation.reverse()]
    assert undone == [
        DropFlowVersion(flow_slug=PLAIN.slug, version=2),
        SetFlowOptions(flow_slug=PLAIN.slug, old=change.new.options, new=PLAIN.options),
    ]


def test_the_label_and_the_summary_are_short() -> None:
    new = diff(None, flow("one", step("a")))
    options = diff(PLAIN, replace(PLAIN, options=flow("hello", timeout=1).options), version=2)
    assert new is not None
    assert options is not None
    assert (new.label, new.summary) == ("one v1", "one: new flow, 1 step")
    assert (options.label, options.summary) == ("hello options", "hello: options of version 2")


def test_conditions_are_structure_and_told_in_plain_words() -> None:
    old = flow("f", step("judge"), step("escalate", "judge"), step("tell", "judge", unless={"judge": {"quiet": True}}))
    new = flow(
        "f",
        step("judge"),
        step("escalate", "judge", when={"judge": {"label": "bad"}}, when_unmet="fail"),
        step("tell", "judge", run=True, when_exhausted="skip-cascade"),
    )
    change = diff(old, new, version=1)
    assert change is not None
    assert (change.kind, change.impact) == (ChangeKind.VERSION, Impact.NEEDS_DRAIN)
    assert change.details == (
        'changed: escalate runs when {"judge": {"label": "bad"}}, was always',
        "changed: if the condition of escalate is unmet: fail the run, was: skip it",
        "changed: tell is single(run, judge), was single(judge)",
        'changed: tell runs always, was unless {"judge": {"quiet": true}}',
        "changed: if tell has no attempts left: skip it and all that depend on it, was: fail the run",
    )


def test_a_deadline_is_an_option_set_in_place() -> None:
    bounded = replace(PLAIN, options=flow("hello", deadline=60).options)
    change = diff(PLAIN, bounded, version=1)
    assert change is not None
    assert (change.kind, change.details) == (
        ChangeKind.OPTIONS,
        ("deadline default -> 60 (of runs that start from now on)",),
    )
    (operation,) = change.operations
    assert isinstance(operation, SetFlowOptions)
    assert "  deadline => 60,\n" in operation.sql()
    (undo,) = operation.reverse()
    assert "deadline" not in undo.sql()
