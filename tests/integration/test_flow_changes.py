"""Changes of flows in a real database with runs in flight: retired, dropped, downgraded, and counted by --live."""

import json
from pathlib import Path
from typing import Any

import psycopg
import pytest

from flowdsl.compiler.compilation import plan
from tests.unit.compiler.shapes import PLAIN, TYPED, TYPED_NEXT, flow, step

from .examples_support import Project
from .migration_support import MigratedProject

LONGER = flow("hello", *PLAIN.steps, step("log", "shout"), timeout=9)
OTHER = flow("other", step("only"))


@pytest.fixture
def project(tmp_path: Path, empty_dsn: str) -> MigratedProject:
    """A project whose flows `hello` (in two versions) and `other` are in the database."""
    made = MigratedProject.new(tmp_path, empty_dsn)
    made.compile(PLAIN, OTHER)
    made.compile(LONGER, OTHER)
    made.alembic("upgrade", "head")
    return made


def query(project: MigratedProject, statement: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(project.url, autocommit=True) as conn:
        cursor = conn.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


def start(project: MigratedProject, slug: str = "hello") -> None:
    query(project, f"select pgflow.start_flow('{slug}', '{{}}')")


def statuses(project: MigratedProject) -> list[tuple[Any, ...]]:
    return query(project, "select flow_slug, flow_version, status from pgflow.runs order by 1, 2, 3")


def test_a_retired_flow_starts_nothing_and_its_open_runs_go_on(project: MigratedProject) -> None:
    start(project)
    before = project.catalogue()
    plan([OTHER], project.directory, complete=True).write()
    project.alembic("upgrade", "head")
    with pytest.raises(psycopg.Error) as caught:
        start(project)
    assert caught.value.sqlstate == "PF416"
    assert statuses(project) == [("hello", 2, "started")]
    # No runs are lost by it, so nothing is in the way of the downgrade.
    project.alembic("downgrade", "-1")
    assert project.catalogue() == before
    start(project)


def test_a_flow_that_is_back_starts_runs_of_its_next_version(project: MigratedProject) -> None:
    plan([OTHER], project.directory, complete=True).write()
    plan([OTHER, PLAIN], project.directory, complete=True).write()
    project.alembic("upgrade", "head")
    start(project)
    assert statuses(project) == [("hello", 3, "started")]
    retired = project.try_alembic("downgrade", "-1")
    assert "flow 'hello' version 3 has 1 open run" in retired.err
    assert statuses(project) == [("hello", 3, "started")]


def test_a_dropped_flow_goes_with_its_open_runs_and_comes_back_without_them(project: MigratedProject) -> None:
    start(project)
    start(project, "other")
    before = project.catalogue()
    change = plan([OTHER], project.directory, complete=True, drop=["hello"]).write()
    assert "The runs of hello stay gone." in change.path.read_text()
    project.alembic("upgrade", "head")
    assert statuses(project) == [("other", 1, "started")]
    dropped = project.catalogue()
    project.alembic("downgrade", "-1")
    assert project.catalogue() == before
    assert statuses(project) == [("other", 1, "started")]
    start(project)
    project.alembic("upgrade", "head")
    assert project.catalogue() == dropped


def test_one_open_run_keeps_all_flows_of_a_revision_where_they_are(project: MigratedProject) -> None:
    project.compile(PLAIN, TYPED)
    project.alembic("upgrade", "head")
    start(project, "typed")
    before = project.catalogue()
    refused = project.try_alembic("downgrade", "-1")
    assert refused.code != 0
    assert "flow 'typed' version 1 has 1 open run\n" in refused.err
    assert project.catalogue() == before


def test_types_and_reach_are_kept_with_the_definition(project: MigratedProject) -> None:
    project.compile(TYPED)
    project.compile(TYPED_NEXT)
    project.alembic("upgrade", "head")
    found = query(
        project,
        "select input_schema, output_schema, serves_from, accepts_from from pgflow.flow_versions"
        " where flow_slug = 'typed' order by flow_version",
    )
    schemas = [(shape.input_schema, shape.output_schema) for shape in (TYPED, TYPED_NEXT)]
    assert [row[:2] for row in found] == [tuple(schema and schema.value for schema in pair) for pair in schemas]
    # Null is the version itself.
    assert [row[2:] for row in found] == [(None, None), (None, None)]
    steps = query(
        project,
        "select input_schema, output_schema from pgflow.steps where flow_slug = 'typed' order by flow_version, step_index",
    )
    expected = [
        (step.input_schema and step.input_schema.value, step.output_schema and step.output_schema.value)
        for shape in (TYPED, TYPED_NEXT)
        for step in shape.steps
    ]
    assert steps == expected


HELLO = """
from flowdsl import Flow

def greet(name: str) -> str:
    return name

hello = Flow("hello", str).step(greet)
"""


def test_live_counts_the_open_runs_of_each_version(tmp_path: Path, empty_dsn: str) -> None:
    project = Project(tmp_path, empty_dsn)
    flows = tmp_path / "flows.py"
    flows.write_text(HELLO)
    project.run("pgflow", "init")
    project.run("pgflow", "compile")
    said = project.run("pgflow", "compile", "--check", "--live", code=0)
    assert "nothing to compile" in said
    flows.write_text(HELLO.replace("str)", "str, timeout=9)"))
    # The core is not there yet: that is no answer.
    assert "pgflow SQL core is not installed" in project.run("pgflow", "compile", "--live", code=4)
    project.run("alembic", "upgrade", "head")
    for count, text in enumerate((HELLO, HELLO.replace(".step(greet)", ".step(greet).returns(greet)")), 1):
        flows.write_text(text)
        project.run("pgflow", "compile")
        project.run("alembic", "upgrade", "head")
        for _ in range(count):
            project.run("pgflow", "start", "hello", "--input", '"x"')
    flows.write_text(HELLO.replace("hello", "hallo"))
    report = json.loads(project.run("pgflow", "compile", "--live", "--json"))
    assert {change["flow"]: (change["kind"], change["open_runs"]) for change in report["changes"]} == {
        "hallo": ("new", []),
        "hello": ("retired", [{"version": 1, "count": 1}, {"version": 2, "count": 2}]),
    }
