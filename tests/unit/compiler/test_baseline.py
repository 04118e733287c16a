"""What was compiled last is read from the files, whatever else the tree holds, and damage is named."""

from pathlib import Path

import pytest

from flowdsl.compiler.baseline import Baseline, read_baseline
from flowdsl.compiler.diff import FlowChange, diff
from flowdsl.compiler.migration import core_revision, flow_revision
from flowdsl.compiler.revision import open_tree
from flowdsl.core.manifest import SCHEMA_VERSION
from flowdsl.errors import CompileError
from flowdsl.model.shape import FlowShape

from .alembic_trees import environment, revision
from .shapes import AWKWARD, CONDITIONAL, PLAIN, flow, step


def change(old: FlowShape | None, new: FlowShape, version: int = 0) -> FlowChange:
    found = diff(old, new, version=version)
    assert found is not None
    return found


def baseline(directory: Path) -> Baseline:
    return read_baseline(open_tree(directory).files)


def write(versions: Path, text: str, name: str = "x") -> Path:
    path = versions / f"{name}.py"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_tree_without_revisions_of_ours_is_an_empty_baseline(tmp_path: Path) -> None:
    versions = environment(tmp_path)
    revision(versions, "a")
    revision(versions, "b", "a", extra="# PGFLOW is only mentioned here\ndef f():\n    PGFLOW = 1\n    return PGFLOW")
    assert baseline(tmp_path) == Baseline(core=None, flows={})


def test_the_last_word_about_each_flow_counts(tmp_path: Path) -> None:
    versions = environment(tmp_path)
    other = flow("hello", step("greet"))
    core = core_revision(None)
    first = flow_revision(core.revision, [change(None, PLAIN), change(None, AWKWARD)])
    # The name of the file says nothing about the order.
    second = flow_revision(first.revision, [change(PLAIN, other, 1)])
    write(versions, second.text, "a")
    write(versions, first.text, "b")
    write(versions, core.text, "c")
    found = baseline(tmp_path)
    assert found.core is not None
    assert found.core.schema_version == SCHEMA_VERSION
    assert {slug: (entry.version, entry.fingerprint, entry.shape) for slug, entry in found.flows.items()} == {
        "hello": (2, other.fingerprint, other),
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
    ],
)
def test_a_damaged_constant_is_named_with_its_line(tmp_path: Path, constant: str, expected: str | None) -> None:
    versions = environment(tmp_path)
    path = revision(versions, "a")
    files = open_tree(tmp_path).files
    path.write_text(f"revision = 'a'\n{constant}\n")
    if expected is None:
        assert read_baseline(files) == Baseline(flows={})
        return
    with pytest.raises(CompileError, match=rf"PGFLOW of the migration {path} \(line 2\) cannot be read: .*{expected}"):
        read_baseline(files)


def test_a_record_of_a_later_flowdsl_asks_for_an_upgrade(tmp_path: Path) -> None:
    revision(environment(tmp_path), "a", extra="PGFLOW = '{\"format\": 2}'")
    with pytest.raises(CompileError, match="format 2, this flowdsl reads format 1\nUpgrade flowdsl"):
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


def test_a_flow_compiled_on_two_branches_is_an_error_that_names_both(tmp_path: Path) -> None:
    versions = environment(tmp_path)
    core = core_revision(None)
    left = flow_revision(core.revision, [change(None, PLAIN)])
    right = flow_revision(core.revision, [change(None, flow("hello", step("other")))])
    paths = [write(versions, text, name) for name, text in (("c", core.text), ("l", left.text), ("r", right.text))]
    revision(versions, "merge", (left.revision, right.revision))
    with pytest.raises(CompileError, match="'hello' was compiled on two branches") as caught:
        baseline(tmp_path)
    assert str(paths[1]) in str(caught.value)
    assert str(paths[2]) in str(caught.value)


def test_different_flows_on_two_branches_are_fine_and_go_on_after_the_merge(tmp_path: Path) -> None:
    versions = environment(tmp_path)
    core = core_revision(None)
    left = flow_revision(core.revision, [change(None, PLAIN)])
    right = flow_revision(core.revision, [change(None, AWKWARD)])
    for name, text in (("c", core.text), ("l", left.text), ("r", right.text)):
        write(versions, text, name)
    revision(versions, "merge", (left.revision, right.revision))
    later = flow("hello", step("later"))
    write(versions, flow_revision("merge", [change(PLAIN, later, 1)]).text, "later")
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
    assert diff(found.shape, flow("old", step("only")), version=1, fingerprint=found.shape.fingerprint) is None
