"""A project of the first released core: its migrations upgrade it, online and as SQL, down and up again."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import psycopg
import pytest

from flowdsl.compiler import migration
from flowdsl.compiler.records import core_record
from flowdsl.compiler.revision import open_tree
from flowdsl.compiler.scaffold import initialise
from flowdsl.compiler.statements import split_statements
from flowdsl.compiler.upgrade import plan_core_upgrade
from flowdsl.core.manifest import FIRST_VERSION, SCHEMA_VERSION
from tests.unit.compiler.shapes import PLAIN
from tests.upgrades.support import RELEASED

from .migration_support import MigratedProject, catalogue, psql

CORE = f"{FIRST_VERSION} to {SCHEMA_VERSION}"


@pytest.fixture
def project(tmp_path: Path, empty_dsn: str) -> MigratedProject:
    """A project that was set up with the first release, and has not run its migrations yet."""
    initialise(tmp_path)
    (present,) = tmp_path.glob("migrations/versions/*.py")
    present.unlink()
    first = migration._revision(
        parent=None,
        message="pgflow: SQL core 1",
        notes=("Installs the SQL core of flowdsl, schema version 1, in the schema `pgflow`.",),
        compiled=core_record(1),
        upgrade=split_statements(RELEASED[0].read_text()),
        downgrade=split_statements(RELEASED[0].with_name("uninstall_1.sql").read_text()),
        upgrade_summary="Install the SQL core.",
        downgrade_summary="Remove the SQL core with all flows and runs.",
        generator="flowdsl 0.1.0",
    )
    (present.parent / f"{first.revision}_pgflow_sql_core_1.py").write_text(first.text)
    return MigratedProject(directory=tmp_path, url=empty_dsn)


def write_upgrade(project: MigratedProject) -> Path:
    path = plan_core_upgrade(project.directory).write()
    assert path is not None
    return path


def version(url: str) -> int:
    with psycopg.connect(url) as conn:
        row = conn.execute("select pgflow.core_version()").fetchone()
        assert row is not None
        return int(row[0])


def core_of(found: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """The core's own objects, without definitions and without functions kept for calls under way."""
    definitions = ("flows", "flow_versions", "steps", "deps")
    functions = [row for row in found["functions"] if not str(row[-1]).startswith("Gone: ")]
    return {name: rows for name, rows in {**found, "functions": functions}.items() if name not in definitions}


def test_upgrade_downgrade_and_upgrade_again(project: MigratedProject, dsn: str) -> None:
    project.alembic("upgrade", "head")
    assert version(project.url) == 1
    write_upgrade(project)
    project.alembic("upgrade", "head")
    upgraded = project.catalogue()
    assert core_of(upgraded) == core_of(catalogue(dsn))
    project.alembic("downgrade", "-1")
    assert project.catalogue() == upgraded, "the newer core stays"
    project.alembic("upgrade", "head")
    assert core_of(project.catalogue()) == core_of(upgraded)
    assert project.alembic("current").strip().endswith("(head)")
    project.alembic("downgrade", "base")
    assert project.catalogue()["functions"] == []
    project.alembic("upgrade", "head")
    assert core_of(project.catalogue()) == core_of(catalogue(dsn))


def test_from_nothing_to_the_present_version_leaves_nothing_old(project: MigratedProject, dsn: str) -> None:
    write_upgrade(project)
    project.alembic("upgrade", "head")
    assert project.catalogue() == catalogue(dsn)


def test_the_sql_mode_leaves_the_same_catalogue(project: MigratedProject, dsn: str) -> None:
    project.alembic("upgrade", "head")
    write_upgrade(project)
    first, second = (file.revision for file in open_tree(project.directory).files)
    text = project.alembic("upgrade", f"{first}:{second}", "--sql", database=False)
    down = project.alembic("downgrade", f"{second}:{first}", "--sql", database=False)
    psql(project.url, text)
    assert core_of(project.catalogue()) == core_of(catalogue(dsn))
    assert second in project.alembic("current")
    psql(project.url, down)
    psql(project.url, text)
    assert project.catalogue() == catalogue(dsn)


def test_flows_are_compiled_on_top_and_runs_go_on(project: MigratedProject) -> None:
    project.alembic("upgrade", "head")
    with psycopg.connect(project.url) as conn:
        conn.execute("select pgflow.create_flow('old', fingerprint => 'x')")
        conn.execute("select pgflow.add_step('old', 'a')")
        conn.execute("select * from pgflow.start_flow('old', '1')")
    write_upgrade(project)
    project.compile(PLAIN)
    project.alembic("upgrade", "head")
    with psycopg.connect(project.url) as conn:
        assert conn.execute("select flow_slug from pgflow.flows order by 1").fetchall() == [("hello",), ("old",)]
        assert conn.execute("select status from pgflow.runs").fetchall() == [("started",)]


def test_the_printed_sql_upgrades_without_alembic(project: MigratedProject, dsn: str) -> None:
    def pgflow(*arguments: str) -> str:
        command = [sys.executable, "-m", "flowdsl.cli.app", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, cwd=project.directory).stdout

    project.alembic("upgrade", "head")
    psql(project.url, pgflow("core", "upgrade", "--sql"))
    assert core_of(project.catalogue()) == core_of(catalogue(dsn))
    assert pgflow("core", "upgrade").endswith(f"\n  SQL core: version {CORE}\n")
    assert pgflow("core", "upgrade").startswith("nothing to do")
    project.alembic("upgrade", "head")
    assert project.catalogue() == catalogue(dsn)


def test_a_command_of_this_version_names_both_versions_and_the_way_up(project: MigratedProject) -> None:
    project.alembic("upgrade", "head")
    command = [sys.executable, "-m", "flowdsl.cli.app", "runs", "--database-url", project.url]
    refused = subprocess.run(command, capture_output=True, text=True, check=False, cwd=project.directory)
    assert refused.returncode == 4
    assert f"has version 1, this package needs version {SCHEMA_VERSION}" in refused.stderr
    assert "pgflow core upgrade, then alembic upgrade head" in refused.stderr
