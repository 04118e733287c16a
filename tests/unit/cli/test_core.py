"""`pgflow core upgrade` writes one revision for an older core, and says clearly when there is none to write."""

from pathlib import Path

import pytest

from flowdsl.compiler.jsontext import json_text
from flowdsl.compiler.records import core_record
from flowdsl.core.manifest import SCHEMA_VERSION, install_sql, upgrade_sql

from .compiling import HELLO, Project, new_project


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project whose migrations install version 1."""
    project = new_project(tmp_path, monkeypatch)
    project.write("flows.py", HELLO)
    project.ok("init")
    core(project, 1)
    return project


def core(project: Project, version: int) -> None:
    """Make the core's revision one of this version."""
    (path,) = project.revisions()
    head, _, _ = path.read_text().partition("\n# What this revision compiled")
    path.write_text(f"{head}\nPGFLOW = {json_text(core_record(version))!r}\n")


def test_an_older_core_is_upgraded_once(project: Project) -> None:
    outcome = project.ok("core", "upgrade")
    wrote, detail = outcome.out.splitlines()
    assert wrote.startswith("wrote migrations/versions/")
    assert wrote.endswith(f"_pgflow_sql_core_1_to_{SCHEMA_VERSION}.py")
    assert detail == f"  SQL core: version 1 to {SCHEMA_VERSION}"
    assert outcome.err == "next: alembic upgrade head\n"
    before = project.contents()
    assert project.ok("core", "upgrade").out.startswith("nothing to do: ")
    assert project.contents() == before


def test_check_writes_nothing_and_tells_by_its_exit_code(project: Project) -> None:
    before = project.contents()
    outcome = project.pgflow("core", "upgrade", "--check")
    assert outcome.code == 1
    assert outcome.out.startswith("a migration is missing")
    assert "pgflow core upgrade" in outcome.err
    report = project.pgflow("core", "upgrade", "--check", "--json")
    assert (report.code, report.json["status"]) == (1, "missing")
    assert project.contents() == before
    project.ok("core", "upgrade")
    assert project.ok("core", "upgrade", "--check").out.startswith("nothing to do")


def test_json_reports_what_was_written(project: Project) -> None:
    report = project.ok("core", "upgrade", "--json").json
    assert (report["status"], report["installed"], report["packaged"]) == ("written", 1, SCHEMA_VERSION)
    assert Path(report["path"]).is_file()
    again = project.ok("core", "upgrade", "--json").json
    assert (again["status"], again["installed"], again["path"]) == ("unchanged", SCHEMA_VERSION, None)


def test_init_writes_the_upgrade_as_well_and_once(project: Project) -> None:
    outcome = project.ok("init")
    assert f"(upgrades the SQL core to schema version {SCHEMA_VERSION})" in outcome.out
    before = project.contents()
    assert "nothing to do" in project.ok("init").err
    assert project.contents() == before
    assert project.ok("core", "upgrade").out.startswith("nothing to do")


def test_compile_asks_for_the_upgrade_before_it_writes_for_a_core_it_does_not_know(project: Project) -> None:
    outcome = project.pgflow("compile")
    assert outcome.code == 3
    assert f"the SQL core in version 1, this package needs {SCHEMA_VERSION}" in outcome.err
    assert "pgflow core upgrade" in outcome.err
    project.ok("core", "upgrade")
    assert "hello: new flow" in project.ok("compile").out


def test_a_newer_core_asks_for_a_newer_package(project: Project) -> None:
    core(project, 99)
    for command in (("core", "upgrade"), ("init",), ("compile",)):
        outcome = project.pgflow(*command)
        assert outcome.code == 3
        assert "version 99" in outcome.err
        assert "Upgrade this installation of flowdsl" in outcome.err


def test_a_project_without_the_core_is_sent_to_init(project: Project) -> None:
    for path in project.revisions():
        path.unlink()
    outcome = project.pgflow("core", "upgrade")
    assert outcome.code == 3
    assert "pgflow init" in outcome.err


def test_sql_prints_the_upgrade_in_one_transaction(project: Project) -> None:
    before = project.contents()
    assert project.ok("core", "upgrade", "--sql").out == f"begin;\n{upgrade_sql(1).strip()}\ncommit;\n"
    assert project.ok("core", "upgrade", "--sql", "--from", "1").out == project.ok("core", "upgrade", "--sql").out
    outcome = project.ok("core", "upgrade", "--sql", "--from", str(SCHEMA_VERSION))
    assert (outcome.out, outcome.err.startswith("nothing to do")) == ("", True)
    assert project.contents() == before


@pytest.mark.parametrize(
    "arguments",
    [
        ("upgrade", "--sql", "--from", "0"),
        ("upgrade", "--sql", "--from", "99"),
        ("upgrade", "--from", "1"),
        ("upgrade", "--sql", "--check"),
        ("upgrade", "--sql", "--json"),
        ("--sql", "upgrade"),
        ("--uninstall",),
        ("--sql", "--json"),
        ("upgrad",),
    ],
)
def test_options_that_do_not_fit_are_a_usage_error(project: Project, arguments: tuple[str, ...]) -> None:
    assert project.pgflow("core", *arguments).code == 2


def test_core_alone_prints_its_version_and_its_sql_as_ever(project: Project) -> None:
    assert project.ok("core").out == f"schema version {SCHEMA_VERSION} (print its SQL with: pgflow core --sql)\n"
    assert project.ok("core", "--json").json == {"schema_version": SCHEMA_VERSION}
    assert project.ok("core", "--sql").out == f"begin;\n{install_sql().strip()}\ncommit;\n"
