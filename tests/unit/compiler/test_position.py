"""Where a revision goes: after the core and the flow's last change, on the branch that was asked for."""

from pathlib import Path

import pytest

from flowdsl.compiler.baseline import CoreRevision, read_baseline
from flowdsl.compiler.jsontext import json_text
from flowdsl.compiler.position import Position, Wish, database_of, find_position
from flowdsl.compiler.records import core_record, flow_record
from flowdsl.compiler.revision import MigrationTree, RevisionFile, open_tree
from flowdsl.compiler.versions import FlowVersion
from flowdsl.errors import CompileError, ConfigError

from .alembic_trees import environment, revision
from .shapes import PLAIN

CORE = f"PGFLOW = {json_text(core_record(1))!r}"
HELLO = f"PGFLOW = {json_text(flow_record([FlowVersion.of(1, PLAIN)]))!r}"


def tree(directory: Path) -> MigrationTree:
    """Core, then two heads: `left1` compiled the flow hello, `right1` has the label starboard."""
    versions = environment(directory)
    revision(versions, "core1", extra=CORE)
    revision(versions, "left1", "core1", extra=HELLO)
    revision(versions, "right1", "core1", labels="starboard")
    return open_tree(directory)


def position(found: MigrationTree, *slugs: str, wish: Wish | None = None) -> Position:
    return find_position(found, read_baseline(found.files), slugs, wish)


def test_several_heads_ask_for_a_choice(tmp_path: Path) -> None:
    with pytest.raises(CompileError, match="2 heads"):
        position(tree(tmp_path), "other")


def test_a_new_flow_may_go_on_either_branch(tmp_path: Path) -> None:
    found = tree(tmp_path)
    assert position(found, "other", wish=Wish(head="left1")) == Position(parent="left1")
    assert position(found, "other", wish=Wish(head="starboard")) == Position(parent="right1")


def test_a_known_flow_goes_on_after_its_last_change(tmp_path: Path) -> None:
    found = tree(tmp_path)
    assert position(found, "hello", wish=Wish(head="left1")).parent == "left1"
    with pytest.raises(
        CompileError,
        match=r"'hello' was compiled last in .*left1_x.py, which is not before --head right1\nBuild on left1 \(left1_x.py\)",
    ):
        position(found, "hello", wish=Wish(head="right1"))


def test_a_new_base_depends_on_the_core(tmp_path: Path) -> None:
    found = tree(tmp_path)
    placed = position(found, "other", wish=Wish(head="base", branch_label="billing"))
    assert placed == Position(parent=None, branch_label="billing", depends_on="core1")
    with pytest.raises(CompileError, match="not before a new base"):
        position(found, "hello", wish=Wish(head="base"))


def test_a_branch_may_begin_at_a_revision_that_is_no_head_if_asked_for(tmp_path: Path) -> None:
    found = tree(tmp_path)
    with pytest.raises(CompileError, match=r"--head core1 is not a head.*\n.*--splice"):
        position(found, "other", wish=Wish(head="core1"))
    placed = position(found, "other", wish=Wish(head="core1", splice=True, branch_label="billing"))
    assert placed == Position(parent="core1", branch_label="billing")


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        ("starboard", r"taken by right1 \(right1_x.py\)\n.*--head starboard@head"),
        ("left1", "taken by left1"),
        ("a-b", "cannot name a branch"),
        ("a@head", "cannot name a branch"),
        ("", "cannot name a branch"),
    ],
)
def test_a_label_that_alembic_would_not_take_is_refused(tmp_path: Path, label: str, expected: str) -> None:
    with pytest.raises(CompileError, match=expected):
        position(tree(tmp_path), "other", wish=Wish(head="left1", branch_label=label))


def core(directory: Path, database: str | None) -> CoreRevision:
    return CoreRevision(
        schema_version=1,
        file=RevisionFile(revision="c", parents=(), path=directory / "c.py"),
        database=database,
    )


def test_one_database_needs_no_name(tmp_path: Path) -> None:
    found = tree(tmp_path)
    assert database_of(found, None, None) is None
    assert database_of(found, core(tmp_path, None), None) is None
    with pytest.raises(ConfigError, match="has no database 'main'"):
        database_of(found, None, "main")


def test_of_several_databases_the_cores_counts(tmp_path: Path) -> None:
    environment(tmp_path, "databases = main, billing")
    found = open_tree(tmp_path)
    assert found.databases == ("main", "billing")
    with pytest.raises(ConfigError, match=r"several databases: main, billing\n.*--database NAME"):
        database_of(found, None, None)
    assert database_of(found, None, "billing") == "billing"
    with pytest.raises(ConfigError, match=r"no database 'biling'\nDid you mean 'billing'\? Those"):
        database_of(found, None, "biling")
    assert database_of(found, core(tmp_path, "billing"), None) == "billing"
    with pytest.raises(ConfigError, match="in the database 'billing', not in 'main'"):
        database_of(found, core(tmp_path, "billing"), "main")
    with pytest.raises(ConfigError, match="several databases"):
        database_of(found, core(tmp_path, None), None)
