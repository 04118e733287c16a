"""What was compiled last is read from the files, whatever else the tree holds, and damage is named."""

import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from flowdsl.compiler.baseline import Baseline, CompiledTwice, read_baseline
from flowdsl.compiler.diff import FlowChange, diff, removal
from flowdsl.compiler.jsontext import json_text
from flowdsl.compiler.migration import core_revision, flow_revision
from flowdsl.compiler.records import flow_record
from flowdsl.compiler.revision import open_tree
from flowdsl.compiler.versions import FlowVersion
from flowdsl.core.manifest import SCHEMA_VERSION
from flowdsl.errors import CompileError
from flowdsl.model.shape import FlowShape

from .alembic_trees import environment, revision
from .shapes import AWKWARD, CONDITIONAL, PLAIN, flow, step

OTHER = flow("hello", step("greet"))


def change(old: FlowShape | None, new: FlowShape | None, version: int = 1) -> FlowChange:
    """The change from a version of a flow to its next state; `new` None retires it."""
    found = diff(() if old is None else [FlowVersion.of(version, old)], new)
    assert found is not None
    return found


def record(*versions: FlowVersion, **more: Any) -> str:
    """A constant PGFLOW about these versions."""
    return f"PGFLOW = {json_text(flow_record(versions, **more))!r}"


def baseline(directory: Path) -> Baseline:
    return read_baseline(open_tree(directory).files)


def write(versions: Path, text: str, name: str = "x") -> Path:
    path = versions / f"{name}.py"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_tree_without_revisions_of_ours_is_an_empty_baseline(tmp_path: Path) -> None:
    versions = environment(tmp_path)
    revision(versions, "a")
    revision(versions, "b", "a", extra="# PGFLOW is only mentioned here\nclass PGFLOW:\n    x = 'PGFLOW = 1'")
    assert baseline(tmp_path) == Baseline()


def test_the_last_word_about_each_flow_counts(tmp_path: Path) -> None:
    versions = environment(tmp_path)
    core = core_revision(None)
    first = flow_revision(core.revision, [change(None, PLAIN), change(None, AWKWARD)])
    # The name of the file says nothing about the order.
    second = flow_revision(first.revision, [change(PLAIN, OTHER)])
    write(versions, second.text, "a")
    write(versions, first.text, "b")
    write(versions, core.text, "c")
    found = baseline(tmp_path)
    assert found.core is not None
    assert found.core.schema_version == SCHEMA_VERSION
    assert {slug: (entry.version, entry.fingerprint, entry.shape) for slug, entry in found.flows.items()} == {
        "hello": (2, OTHER.fingerprint, OTHER),
        "awkward": (1, AWKWARD.fingerprint, AWKWARD),
    }


def test_reading_executes_nothing(tmp_path: Path) -> None:
    versions = environment(tmp_path)
    path = write(versions, core_revision(None).text)
    files = open_tree(tmp_path).files
    path.write_text(path.read_text() + "\nraise SystemExit('executed')\n")
    assert read_baseline(files).core is not None


@pytest.mark.parametrize(
    ("constant", "expected"),
    [
        ("PGFLOW = 1 + x", "ValueError"),
        ("PGFLOW = {'a': 1}", "TypeError"),
        ("PGFLOW: str", None),
        ("PGFLOW = '{'", "JSONDecodeError"),
        ("PGFLOW = '[]'", "TypeError"),
        ("PGFLOW = '{}'", "KeyError: 'format'"),
        ('PGFLOW = \'{"format": 1, "flows": [{}]}\'', "KeyError: 'version'"),
        ('PGFLOW = \'{"format": 1, "flows": [{"version": 0, "fingerprint": "f", "shape": {}}]}\'', "0 is no version"),
        (
            'PGFLOW = \'{"format": 1, "flows": [{"version": 1, "fingerprint": "f", "shape": {"slug": "x"}}]}\'',
            "not the shape of a flow",
        ),
        ('PGFLOW = \'{"format": 1, "core": "1"}\'', "'1' is no version"),
        ('PGFLOW = \'{"format": 2, "retired": "hello"}\'', "'retired' is no list of flows"),
        ("def upgrade():\n    PGFLOW = '{'", "JSONDecodeError"),
    ],
)
def test_a_damaged_constant_is_named_with_its_line(tmp_path: Path, constant: str, expected: str | None) -> None:
    versions = environment(tmp_path)
    path = revision(versions, "a")
    files = open_tree(tmp_path).files
    path.write_text(f"revision = 'a'\n{constant}\n")
    if expected is None:
        assert read_baseline(files) == Baseline()
        return
    with pytest.raises(
        CompileError, match=rf"PGFLOW of the migration {path} \(line [23]\) cannot be read: .*{expected}"
    ):
        read_baseline(files)


def test_a_record_of_a_later_flowdsl_asks_for_an_upgrade(tmp_path: Path) -> None:
    revision(environment(tmp_path), "a", extra="PGFLOW = '{\"format\": 3}'")
    with pytest.raises(CompileError, match="format 3, this flowdsl reads up to format 2\nUpgrade flowdsl"):
        baseline(tmp_path)


def test_a_file_that_is_not_python_any_more_is_named(tmp_path: Path) -> None:
    path = revision(environment(tmp_path), "a")
    files = open_tree(tmp_path).files
    path.write_text("PGFLOW = (")
    with pytest.raises(CompileError, match=f"{path} is not valid Python"):
        read_baseline(files)
    path.unlink()
    with pytest.raises(CompileError, match=f"cannot read the migration {path}"):
        read_baseline(files)


@pytest.mark.parametrize("merged", [True, False])
@pytest.mark.parametrize(
    "right",
    [
        pytest.param(change(PLAIN, flow("hello", step("other"))), id="another version"),
        pytest.param(change(PLAIN, replace(PLAIN, options=flow("x", timeout=9).options)), id="options"),
        pytest.param(change(PLAIN, None), id="retired"),
        pytest.param(removal([FlowVersion.of(1, PLAIN)], is_retired=False), id="dropped"),
    ],
)
def test_a_flow_compiled_on_two_branches_is_an_error_that_names_both(
    tmp_path: Path, right: FlowChange, merged: bool
) -> None:
    versions = environment(tmp_path)
    core = core_revision(None)
    first = flow_revision(core.revision, [change(None, PLAIN)])
    one = flow_revision(first.revision, [change(PLAIN, OTHER)])
    two = flow_revision(first.revision, [right])
    texts = {"c": core.text, "f": first.text, "l": one.text, "r": two.text}
    paths = {name: write(versions, text, name) for name, text in texts.items()}
    if merged:
        revision(versions, "merge", (one.revision, two.revision))
    with pytest.raises(CompiledTwice, match="'hello' was compiled on two branches") as caught:
        baseline(tmp_path)
    assert {file.path for file in caught.value.files} == {paths["l"], paths["r"]}
    assert str(paths["l"]) in str(caught.value)
    assert str(paths["r"]) in str(caught.value)
    assert "Keep one of them: downgrade each database that has run the other" in str(caught.value)
    again = pickle.loads(pickle.dumps(caught.value))  # noqa: S301 - our own
    assert (str(again), again.slug) == (str(caught.value), "hello")


def test_different_flows_on_two_branches_are_fine_and_go_on_after_the_merge(tmp_path: Path) -> None:
    versions = environment(tmp_path)
    core = core_revision(None)
    left = flow_revision(core.revision, [change(None, PLAIN)])
    right = flow_revision(core.revision, [change(None, AWKWARD)])
    for name, text in (("c", core.text), ("l", left.text), ("r", right.text)):
        write(versions, text, name)
    revision(versions, "merge", (left.revision, right.revision))
    later = flow("hello", step("later"))
    write(versions, flow_revision("merge", [change(PLAIN, later)]).text, "later")
    assert {slug: entry.version for slug, entry in baseline(tmp_path).flows.items()} == {"hello": 2, "awkward": 1}


def test_conditions_and_a_deadline_come_back_as_they_were_compiled(tmp_path: Path) -> None:
    write(environment(tmp_path), flow_revision(None, [change(None, CONDITIONAL)]).text)
    found = baseline(tmp_path).flows["conditional"]
    assert (found.shape, found.fingerprint) == (CONDITIONAL, CONDITIONAL.fingerprint)


def test_a_revision_from_before_conditions_still_reads(tmp_path: Path) -> None:
    # Word for word what the first release wrote.
    record = (
        '{"flows": [{"fingerprint": "92ec9f94c1f9fcc4", "shape": {"options": {"base_delay": 5, "max_attempts": 3, '
        '"max_delay": 3600, "priority": 0, "timeout": 60}, "output_step": null, "slug": "old", "steps": [{"deps": [], '
        '"map_over": null, "options": {"start_delay": 0}, "slug": "only", "step_type": "single", "uses_run_input": '
        'true}]}, "version": 1}], "format": 1}'
    )
    versions = environment(tmp_path)
    revision(versions, "a", extra=f"PGFLOW = {record!r}")
    found = baseline(tmp_path).flows["old"]
    assert found.shape == flow("old", step("only"))
    assert (found.serves_from, found.accepts_from) == (1, 1)
    same = replace(found, fingerprint=found.shape.fingerprint)
    assert diff([same], flow("old", step("only"))) is None


def test_every_version_is_known_with_how_far_it_reaches_back(tmp_path: Path) -> None:
    versions = environment(tmp_path)
    calmer = replace(PLAIN, options=flow("x", timeout=9).options)
    revision(versions, "a", extra=record(FlowVersion.of(1, PLAIN)))
    revision(versions, "b", "a", extra=record(FlowVersion.of(2, OTHER, 1, 1)))
    revision(versions, "c", "b", extra=record(FlowVersion.of(2, calmer, 1, 1)))
    found = baseline(tmp_path)
    assert [(v.version, v.shape, v.serves_from, v.accepts_from, v.file.revision) for v in found.history["hello"]] == [
        (1, PLAIN, 1, 1, "a"),
        (2, calmer, 1, 1, "c"),
    ]
    assert found.flows["hello"] == found.history["hello"][-1]


def test_flows_retire_come_back_and_are_dropped(tmp_path: Path) -> None:
    versions = environment(tmp_path)
    revision(versions, "a", extra=record(FlowVersion.of(1, PLAIN), FlowVersion.of(1, AWKWARD)))
    revision(versions, "b", "a", extra=record(retired=["hello", "awkward"]))
    found = baseline(tmp_path)
    assert (set(found.retired), set(found.flows)) == ({"hello", "awkward"}, {"hello", "awkward"})
    revision(versions, "c", "b", extra=record(FlowVersion.of(2, OTHER), restored=["hello"]))
    found = baseline(tmp_path)
    assert (set(found.retired), found.flows["hello"].version) == ({"awkward"}, 2)
    revision(versions, "d", "c", extra=record(dropped=["awkward", "hello"]))
    found = baseline(tmp_path)
    assert (found.retired, found.flows, found.history) == (frozenset(), {}, {})
    revision(versions, "e", "d", extra=record(FlowVersion.of(1, OTHER)))
    assert [entry.version for entry in baseline(tmp_path).history["hello"]] == [1]


def test_several_records_of_a_file_count_in_the_order_of_their_lines_also_inside_of_functions(tmp_path: Path) -> None:
    versions = environment(tmp_path)
    first, second, third = (
        record(FlowVersion.of(1, PLAIN)),
        record(FlowVersion.of(2, OTHER), FlowVersion.of(1, AWKWARD)),
        record(retired=["awkward"]),
    )
    text = f"{first}\n\ndef upgrade_main():\n    {second}\n    if True:\n        {third}\n"
    revision(versions, "a", extra=text)
    found = baseline(tmp_path)
    assert [entry.version for entry in found.history["hello"]] == [1, 2]
    assert found.retired == {"awkward"}


def test_a_generated_file_that_was_edited_is_told_and_not_refused(tmp_path: Path) -> None:
    versions = environment(tmp_path)
    core = core_revision(None)
    write(versions, core.text, "core")
    text = flow_revision(core.revision, [change(None, PLAIN)]).text
    path = write(versions, text)
    assert baseline(tmp_path).edited == ()
    for before, after in (
        ("'greet'", "'meet'"),
        ("UPGRADE = (", "UPGRADE = [1]\n_ = ("),
        ("DOWNGRADE = (", "DOWNGRADE = str(\n"),
        ('"timeout": 5', '"timeout": 6'),
        ('"timeout": 60', '"timeout": 61'),
    ):
        if before in text:
            path.write_text(text.replace(before, after), encoding="utf-8")
            assert [file.path for file in baseline(tmp_path).edited] == [path], (before, after)
    # What does not change what the file does, such as a formatter's work or a word in its docstring, is no edit.
    path.write_text("# reviewed\n" + text.replace("Generated by", "Reviewed, and generated by"), encoding="utf-8")
    assert baseline(tmp_path).edited == ()
