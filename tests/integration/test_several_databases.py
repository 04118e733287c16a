"""Several databases: one environment that migrates them all (`alembic init -t multidb`), or a section of alembic.ini for each."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from flowdsl.database import sqlalchemy_url
from tests.unit.cli.compiling import HELLO, Project, new_project

from .migration_support import MigratedProject

NEXT_HELLO = HELLO.replace(".step(shout, greet)", ".step(shout, greet, timeout=7)").replace(".returns(shout)", "")


@pytest.fixture
def urls(empty_dsn: str) -> Iterator[tuple[str, str]]:
    """Two empty databases."""
    with psycopg.connect(empty_dsn, autocommit=True) as conn:
        name = f"{conn.info.dbname}_other"
        conn.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
        yield empty_dsn, empty_dsn.replace(f"/{name.removesuffix('_other')}?", f"/{name}?")
        conn.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))


def has_core(url: str) -> bool:
    with psycopg.connect(url) as conn:
        return conn.execute("select to_regnamespace('pgflow') is not null").fetchone() == (True,)


def flows(url: str) -> list[tuple[str, int]]:
    with psycopg.connect(url) as conn:
        return conn.execute("select flow_slug, flow_version from pgflow.flow_versions order by 1, 2").fetchall()


class MultiDb:
    """A project of `alembic init -t multidb` with the databases main and work."""

    def __init__(self, project: Project, urls: tuple[str, str]) -> None:
        self.project, self.urls = project, urls
        self.migrations = MigratedProject(directory=project.directory, url=urls[0])
        command = [sys.executable, "-m", "alembic", "init", "-t", "multidb", "migrations"]
        subprocess.run(command, check=True, capture_output=True, cwd=project.directory)
        for name, url in zip(("main", "work"), urls, strict=True):
            self.edit("alembic.ini", "engine1" if name == "main" else "engine2", name)
            self.edit("alembic.ini", "driver://user:pass@localhost/dbname", sqlalchemy_url(url).replace("%", "%%"))
            self.edit(
                "alembic.ini", f"{sqlalchemy_url(url).replace('%', '%%')}2", "driver://user:pass@localhost/dbname"
            )
        project.write("pyproject.toml", '[tool.pgflow]\nflows = ["hello"]\n')
        project.write("hello.py", HELLO)

    def edit(self, path: str, before: str, after: str) -> None:
        file = self.project.directory / path
        file.write_text(file.read_text().replace(before, after))

    def alembic(self, *arguments: str) -> str:
        return self.migrations.alembic(*arguments)


@pytest.fixture
def multidb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, urls: tuple[str, str]) -> MultiDb:
    return MultiDb(new_project(tmp_path, monkeypatch), urls)


def test_a_tree_of_several_databases_asks_which_one_has_the_flows(multidb: MultiDb) -> None:
    refused = multidb.project.pgflow("init")
    assert refused.code == 3
    assert "runs in several databases: main, work" in refused.err
    assert "--database NAME" in refused.err
    assert "no database 'wrok'" in multidb.project.pgflow("init", "--database", "wrok").err
    assert multidb.project.revisions() == []


def test_the_flows_go_to_the_one_database_and_the_others_files_run_as_ever(multidb: MultiDb) -> None:
    main, work = multidb.urls
    outcome = multidb.project.ok("init", "--database", "work")
    assert "import flowdsl.compiler.autogenerate" in outcome.err
    multidb.project.ok("compile")
    assert "nothing to do" in multidb.project.ok("init").err
    multidb.alembic("revision", "-m", "their own")
    multidb.project.write("hello.py", NEXT_HELLO)
    multidb.project.ok("compile")
    multidb.alembic("upgrade", "head")
    assert (has_core(main), flows(work)) == (False, [("hello", 1), ("hello", 2)])
    multidb.alembic("downgrade", "-1")
    assert flows(work) == [("hello", 1)]
    multidb.alembic("downgrade", "base")
    assert (has_core(main), has_core(work)) == (False, False)
    multidb.alembic("upgrade", "head")
    assert flows(work) == [("hello", 1), ("hello", 2)]


def test_autogenerate_puts_the_flows_into_that_database_alone(multidb: MultiDb) -> None:
    main, work = multidb.urls
    multidb.project.ok("init", "--database", "work")
    multidb.edit(
        "migrations/env.py",
        "from alembic import context",
        "import flowdsl.compiler.autogenerate\nfrom alembic import context",
    )
    metadata = (
        'import sqlalchemy as sa\ntarget_metadata = {"main": sa.MetaData(), "work": sa.MetaData()}\n'
        'sa.Table("notes", target_metadata["main"], sa.Column("id", sa.Integer, primary_key=True))\n'
    )
    multidb.edit("migrations/env.py", "target_metadata = {}\n", metadata)
    multidb.alembic("upgrade", "head")
    multidb.alembic("revision", "--autogenerate", "-m", "both")
    (path,) = (file for file in multidb.project.revisions() if "both" in file.name)
    functions = re.split(r"^def ", path.read_text(), flags=re.MULTILINE)
    (of_main,) = (text for text in functions if text.startswith("upgrade_main"))
    (of_work,) = (text for text in functions if text.startswith("upgrade_work"))
    assert ("create_table('notes'" in of_main, "PGFLOW" in of_main) == (True, False)
    assert ("create_table" in of_work, "pgflow.create_flow" in of_work, "PGFLOW" in of_work) == (False, True, True)
    multidb.alembic("upgrade", "head")
    assert flows(work) == [("hello", 1)]
    assert not has_core(main)
    assert "No new upgrade operations" in multidb.alembic("check")
    assert multidb.project.ok("compile").out == "nothing to compile: the migrations are up to date\n"


def test_a_section_of_the_ini_file_for_each_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, urls: tuple[str, str]
) -> None:
    project = new_project(tmp_path, monkeypatch)
    project.write("hello.py", HELLO)
    project.write("pyproject.toml", '[tool.pgflow]\nflows = ["hello"]\n')
    project.ok("init")
    ini = project.directory / "alembic.ini"
    section = "\n[work]\nscript_location = %(here)s/work\nprepend_sys_path = %(here)s\npath_separator = os\n"
    ini.write_text(ini.read_text() + section)
    for name in ("env.py", "script.py.mako"):
        project.write(f"work/{name}", (project.directory / "migrations" / name).read_text())
    outcome = project.ok("init", "--name", "work")
    assert "alembic -n work upgrade head" in outcome.err
    assert 'alembic-name = "work"' in (project.directory / "pyproject.toml").read_text()
    # The setting makes it the default, and the option goes before the setting.
    project.ok("compile")
    assert len(list(project.directory.glob("work/versions/*.py"))) == 2
    project.ok("compile", "--name", "alembic")
    assert len(project.revisions()) == 2
    for name, url in (("alembic", urls[0]), ("work", urls[1])):
        MigratedProject(directory=project.directory, url=url).alembic("-n", name, "upgrade", "head")
        assert flows(url) == [("hello", 1)]
    refused = project.pgflow("compile", "--name", "wrok")
    assert refused.code == 3
    assert "no section [wrok]\nDid you mean 'work'?" in refused.err
