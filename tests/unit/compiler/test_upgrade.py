"""The revision that upgrades the core: written once, from the version that the migrations install."""

import ast
from pathlib import Path

import pytest

from flowdsl.compiler.baseline import read_baseline
from flowdsl.compiler.jsontext import json_text
from flowdsl.compiler.migration import core_upgrade_revision
from flowdsl.compiler.records import core_record
from flowdsl.compiler.revision import RevisionFile
from flowdsl.compiler.statements import split_statements
from flowdsl.core.manifest import SCHEMA_VERSION, upgrade_sql


def constants(text: str) -> dict[str, object]:
    return {
        statement.targets[0].id: ast.literal_eval(statement.value)
        for statement in ast.parse(text).body
        if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name)
    }


def core_file(folder: Path, name: str, version: int, *parents: str) -> RevisionFile:
    path = folder / f"{name}.py"
    path.write_text(f"PGFLOW = {json_text(core_record(version))!r}\n")
    return RevisionFile(revision=name, parents=parents, path=path)


def test_the_revision_holds_the_whole_upgrade_and_its_downgrade_does_nothing() -> None:
    revision = core_upgrade_revision("abc", 1, generator="flowdsl 0.0.0")
    found = constants(revision.text)
    statements = found["UPGRADE"]
    assert isinstance(statements, tuple)
    assert tuple(statement.strip() for statement in statements) == split_statements(upgrade_sql(1))
    assert found["DOWNGRADE"] == ()
    assert (found["revision"], found["down_revision"]) == (revision.revision, "abc")
    assert core_upgrade_revision("abc", 1) == core_upgrade_revision("abc", 1)
    assert "leaves the newer core in place" in (ast.get_docstring(ast.parse(revision.text)) or "")


def test_the_next_baseline_reads_the_new_version(tmp_path: Path) -> None:
    old = core_file(tmp_path, "old", 1)
    path = tmp_path / "new.py"
    path.write_text(core_upgrade_revision("old", 1).text)
    core = read_baseline([old, RevisionFile(revision="new", parents=("old",), path=path)]).core
    assert core is not None
    assert (core.schema_version, core.file.path) == (SCHEMA_VERSION, path)


@pytest.mark.parametrize("order", [(1, 2), (2, 1)])
def test_of_several_branches_the_newest_core_counts(tmp_path: Path, order: tuple[int, int]) -> None:
    files = [core_file(tmp_path, f"r{version}", version) for version in order]
    core = read_baseline(files).core
    assert core is not None
    assert core.schema_version == 2
