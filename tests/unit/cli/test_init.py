"""`pgflow init` adds what is missing, keeps what is there, and says which is which."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from flowdsl.core.manifest import SCHEMA_VERSION

from .compiling import HELLO, Project, new_project


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    return new_project(tmp_path, monkeypatch)


def test_an_empty_folder_becomes_a_project_that_compiles(project: Project) -> None:
    outcome = project.ok("init")
    created = [line.split()[1] for line in outcome.out.splitlines()]
    core = project.revisions()[0].relative_to(project.directory).as_posix()
    assert created == [
        "alembic.ini",
        "migrations/env.py",
        "migrations/script.py.mako",
        "flows.py",
        "pyproject.toml",
        core,
    ]
    assert all(line.startswith("created ") for line in outcome.out.splitlines())
    assert outcome.err.splitlines() == [
        "next:",
        "  pgflow compile",
        "  alembic upgrade head",
        "  pgflow worker",
        """  pgflow start hello --input '{"name": "Ada"}' --wait   (in another terminal)""",
    ]
    assert "hello: new flow, 3 steps" in project.ok("compile").out
    assert project.ok("compile").out == "nothing to compile: the migrations are up to date\n"


def test_running_it_again_changes_no_byte(project: Project) -> None:
    project.ok("init")
    before = project.contents()
    outcome = project.ok("init")
    assert project.contents() == before
    assert all(line.startswith("kept ") for line in outcome.out.splitlines())
    assert "nothing to do" in outcome.err


def test_two_projects_get_the_same_bytes(project: Project) -> None:
    project.ok("init", "one")
    project.ok("init", "two")
    contents = project.contents()
    one = {path.removeprefix("one/"): text for path, text in contents.items() if path.startswith("one/")}
    two = {path.removeprefix("two/"): text for path, text in contents.items() if path.startswith("two/")}
    assert one == two
    assert len(one) == 6


def test_a_missing_folder_is_made_and_the_next_commands_go_there(project: Project) -> None:
    outcome = project.ok("init", "deep/er one")
    assert (project.directory / "deep/er one/alembic.ini").is_file()
    assert "cd 'deep/er one'" in outcome.err


def test_an_existing_pyproject_is_extended_and_not_a_byte_of_it_changes(project: Project) -> None:
    before = '# mine\n[project]\nname    = "x"   # odd spacing stays\n\n[tool.ruff]\nline-length = 100'
    path = project.write("pyproject.toml", before)
    outcome = project.ok("init")
    assert path.read_text() == before + '\n\n[tool.pgflow]\nflows = ["flows"]\n'
    assert "extended  pyproject.toml" in outcome.out


def test_windows_line_ends_are_kept(project: Project) -> None:
    path = project.directory / "pyproject.toml"
    path.write_bytes(b'[project]\r\nname = "x"\r\n')
    project.ok("init")
    assert path.read_bytes() == b'[project]\r\nname = "x"\r\n\r\n[tool.pgflow]\r\nflows = ["flows"]\r\n'


def test_configured_flows_are_used_and_no_first_flow_is_written(project: Project) -> None:
    text = '[tool.pgflow]\nflows = ["shop.work"]\n'
    path = project.write("pyproject.toml", text)
    project.ok("init")
    assert path.read_text() == text
    assert not (project.directory / "flows.py").exists()


@pytest.mark.parametrize("header", ["[tool.pgflow]", "  [ tool . pgflow ]  # ours"])
def test_a_table_without_flows_gets_them(project: Project, header: str) -> None:
    path = project.write("pyproject.toml", f'{header}\ndatabase-url = "postgresql://h/d"\n\n[tool.x]\na = 1\n')
    assert "extended  pyproject.toml" in project.ok("init").out
    added = f'{header}\nflows = ["flows"]\ndatabase-url = "postgresql://h/d"\n\n[tool.x]\na = 1\n'
    assert path.read_text() == added
    assert "hello" in project.ok("compile").out


def test_a_table_at_the_very_end_with_windows_line_ends_gets_them(project: Project) -> None:
    path = project.directory / "pyproject.toml"
    path.write_bytes(b"[x]\r\n[tool.pgflow]")
    project.ok("init")
    assert path.read_bytes() == b'[x]\r\n[tool.pgflow]\r\nflows = ["flows"]\r\n'


def test_an_empty_list_of_flows_is_respected(project: Project) -> None:
    path = project.write("pyproject.toml", "[tool.pgflow]\nflows = []\n")
    project.ok("init")
    assert path.read_text() == "[tool.pgflow]\nflows = []\n"
    assert not (project.directory / "flows.py").exists()


def test_existing_flows_are_never_overwritten(project: Project) -> None:
    path = project.write("flows.py", HELLO)
    assert "kept      flows.py" in project.ok("init").out
    assert path.read_text() == HELLO


@pytest.mark.parametrize("root", ["", "src/"])
def test_the_first_flow_goes_into_the_projects_package(project: Project, root: str) -> None:
    project.write("pyproject.toml", '[project]\nname = "My-Shop"\n')
    project.write(f"{root}my_shop/__init__.py", "")
    project.ok("init")
    assert (project.directory / f"{root}my_shop/flows.py").is_file()
    assert tomllib.loads((project.directory / "pyproject.toml").read_text())["tool"]["pgflow"]["flows"] == [
        "my_shop.flows"
    ]


def test_an_existing_environment_is_used_untouched(project: Project) -> None:
    project.write("db/env.py", "raise SystemExit('env.py is not run offline')\n")
    project.write("db/script.py.mako", "mine")
    project.write("alembic.ini", "[alembic]\nscript_location = db\nfile_template = %%(slug)s\n")
    project.write("db/versions/first.py", "revision = 'first'\ndown_revision = None\n")
    before = project.contents()
    outcome = project.ok("init")
    after = project.contents()
    assert {path: after[path] for path in before} == before
    assert "kept      alembic.ini" in outcome.out
    assert b'\ndown_revision = "first"\n' in after[f"db/versions/pgflow_sql_core_{SCHEMA_VERSION}.py"]
    assert "hello" in project.ok("compile").out
    assert "db/versions/pgflow_hello_v1.py" in project.contents()


def test_an_environment_in_a_subfolder_is_recorded(project: Project) -> None:
    project.write("backend/alembic.ini", "[alembic]\nscript_location = %(here)s/db\n")
    project.write("backend/db/env.py", "")
    outcome = project.ok("init")
    settings = tomllib.loads((project.directory / "pyproject.toml").read_text())["tool"]["pgflow"]
    assert settings == {"flows": ["flows"], "alembic-config": "backend/alembic.ini"}
    assert "alembic -c backend/alembic.ini upgrade head" in outcome.err
    assert "hello" in project.ok("compile").out


def test_alembic_settings_in_pyproject_are_used(project: Project) -> None:
    project.write("pyproject.toml", '[tool.alembic]\nscript_location = "%(here)s/db"\n')
    project.write("db/env.py", "")
    project.ok("init")
    assert not (project.directory / "alembic.ini").exists()
    assert len(list((project.directory / "db/versions").glob("*core*.py"))) == 1


def test_a_folder_migrations_of_somebody_else_is_left_alone(project: Project) -> None:
    project.write("migrations/0001_initial.py", "# Django's")
    project.ok("init")
    assert sorted(path for path in project.contents() if path.startswith("migrations/")) == [
        "migrations/0001_initial.py"
    ]
    assert (project.directory / "alembic_migrations/env.py").is_file()


def test_no_free_folder_is_said(project: Project) -> None:
    project.write("migrations/x", "")
    project.write("alembic_migrations/x", "")
    outcome = project.pgflow("init")
    assert outcome.code == 3
    assert "folders migrations and alembic_migrations are taken\nSet Alembic up yourself" in outcome.err


def test_several_heads_ask_for_one(project: Project) -> None:
    project.write("alembic.ini", "[alembic]\nscript_location = db\n")
    project.write("db/env.py", "")
    project.write("db/versions/a.py", "revision = 'aa'\ndown_revision = None\n")
    project.write("db/versions/b.py", "revision = 'bb'\ndown_revision = None\n")
    outcome = project.pgflow("init")
    assert (outcome.code, "alembic merge heads" in outcome.err) == (3, True)
    assert "(the SQL core" in project.ok("init", "--head", "aa").out


@pytest.mark.parametrize("text", ["[tool", "\0", 'x = "\udc80"'])
def test_a_broken_pyproject_is_named(project: Project, text: str) -> None:
    (project.directory / "pyproject.toml").write_bytes(text.encode("utf-8", "surrogateescape"))
    outcome = project.pgflow("init")
    assert outcome.code == 3
    assert "pyproject.toml is not valid TOML" in outcome.err
    assert set(project.contents()) == {"pyproject.toml"}


def test_a_pyproject_that_takes_no_table_says_what_to_write(project: Project) -> None:
    for text in ("tool = {}\n", "tool.pgflow = {}\n", "[tool]\npgflow = {}\n"):
        path = project.write("pyproject.toml", text)
        outcome = project.pgflow("init")
        assert outcome.code == 3
        assert outcome.err.endswith('yourself:\nflows = ["flows"]')
        assert path.read_text() == text


def test_a_place_that_is_no_folder_is_named(project: Project) -> None:
    project.write("file", "")
    outcome = project.pgflow("init", "file/project")
    assert outcome.code == 3
    assert "cannot make the folder" in outcome.err or "cannot read" in outcome.err


def test_json_tells_the_same(project: Project) -> None:
    report = project.ok("init", "--json").json
    assert report["changed"] is True
    assert report["flows"] == ["flows"]
    assert [file["deed"] for file in report["files"]] == ["created"] * 6
    assert project.ok("init", "--json").json["changed"] is False


def test_importing_a_migration_loads_neither_jinja_nor_typer(project: Project) -> None:
    project.ok("init")
    code = (
        "import sys, runpy; runpy.run_path(sys.argv[1]);"
        "print(sorted(m for m in ('jinja2', 'typer', 'psycopg') if m in sys.modules))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, str(project.revisions()[0])],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ,
    )
    assert result.stdout == "[]\n"


def test_a_new_environment_takes_flows_into_autogenerate_and_says_nothing_of_it(project: Project) -> None:
    outcome = project.ok("init")
    assert "\nimport flowdsl.compiler.autogenerate" in (project.directory / "migrations/env.py").read_text()
    assert "autogenerate" not in outcome.err
    assert project.ok("init", "--json").json["env_lines"] == []


def test_an_existing_environment_is_told_the_lines_to_add(project: Project) -> None:
    project.write("alembic.ini", "[alembic]\nscript_location = db\n")
    env = project.write("db/env.py", "from alembic import context\n")
    lines = [
        "# Flows become part of `alembic revision --autogenerate` and `alembic check`.",
        "import flowdsl.compiler.autogenerate  # noqa: F401",
    ]
    outcome = project.ok("init")
    told = "for `alembic revision --autogenerate` to compile flows too, add to db/env.py:\n  " + "\n  ".join(lines)
    assert told in outcome.err
    assert project.ok("init", "--json").json["env_lines"] == lines
    env.write_text(env.read_text() + "\n".join(lines))
    assert "autogenerate" not in project.ok("init").err


def test_the_core_may_go_on_a_branch_of_its_own(project: Project) -> None:
    project.write("alembic.ini", "[alembic]\nscript_location = db\n")
    project.write("db/env.py", "")
    project.write("db/versions/a.py", "revision = 'aa'\ndown_revision = None\n")
    project.ok("init", "--head", "base", "--branch-label", "flows")
    (core,) = (project.directory / "db/versions").glob("*core*.py")
    assert '\ndown_revision = None\nbranch_labels = "flows"\ndepends_on = None\n' in core.read_text()
    assert "hello" in project.ok("compile", "--head", "flows@head").out


def test_the_first_flow_goes_through_autogenerate_with_the_environment_that_was_written(project: Project) -> None:
    # Its env.py must import: what it says of `include_name` and of errors is run in tests/integration.
    project.ok("init")
    compile((project.directory / "migrations/env.py").read_text(), "env.py", "exec")
