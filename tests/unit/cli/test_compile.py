"""`pgflow compile` writes one revision for what changed, once, and says clearly why when it cannot."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from flowdsl.core.manifest import SCHEMA_VERSION

from .compiling import HELLO, Project, new_project

OTHER = """
from flowdsl import Flow

def one(name: str) -> str:
    return name

other = Flow("other", str).step(one)
"""


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    return new_project(tmp_path, monkeypatch)


@pytest.fixture
def project(empty: Project) -> Project:
    """A project with the flow `hello`, set up and compiled."""
    empty.write("flows.py", HELLO)
    empty.ok("init")
    empty.ok("compile")
    return empty


def test_the_revision_follows_the_head_and_holds_the_flow(project: Project) -> None:
    path = next(path for path in project.revisions() if "hello" in path.name)
    constants = {
        statement.targets[0].id: ast.literal_eval(statement.value)
        for statement in ast.parse(path.read_text()).body
        if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name)
    }
    core = next(path for path in project.revisions() if "core" in path.name)
    assert core.name.startswith(constants["down_revision"])
    assert path.name == f"{constants['revision']}_pgflow_hello_v1.py"
    assert [statement.split("(")[0].split(".")[1] for statement in constants["UPGRADE"]] == [
        "create_flow",
        "add_step",
        "add_step",
    ]


def test_compiling_twice_writes_once(project: Project) -> None:
    before = project.contents()
    outcome = project.ok("compile")
    assert (outcome.out, outcome.err) == ("nothing to compile: the migrations are up to date\n", "")
    assert project.contents() == before


def test_the_same_input_gives_the_same_bytes(project: Project) -> None:
    path = next(path for path in project.revisions() if "hello" in path.name)
    before = path.read_bytes()
    path.unlink()
    project.ok("compile")
    assert path.read_bytes() == before


def test_a_changed_structure_is_the_next_version(project: Project) -> None:
    project.write("flows.py", HELLO.replace(".returns(shout)", ""))
    outcome = project.ok("compile")
    wrote, *summary = outcome.out.splitlines()
    assert wrote.startswith("wrote migrations/versions/")
    assert summary == [
        "  hello: version 2",
        "    returns the leaf steps, was shout",
        "    needs drain: runs in flight end on version 1: keep workers with that code until they have",
    ]
    assert outcome.err == "next: alembic upgrade head\n"


def test_changed_options_are_an_update_in_place(project: Project) -> None:
    project.write("flows.py", HELLO.replace(".step(shout, greet)", ".step(shout, greet, timeout=9)"))
    outcome = project.ok("compile")
    assert "  hello: options of version 1\n    shout: timeout default -> 9\n    safe:" in outcome.out
    assert project.revisions()[-1].parent.name == "versions"
    text = "".join(path.read_text() for path in project.revisions() if "hello_options" in path.name)
    assert "set_step_options" in text
    assert "create_flow" not in text


def test_going_back_to_an_earlier_structure_is_one_more_version(project: Project) -> None:
    project.write("flows.py", HELLO.replace(".returns(shout)", ""))
    project.ok("compile")
    project.write("flows.py", HELLO)
    assert "hello: version 3" in project.ok("compile").out
    assert "nothing to compile" in project.ok("compile").out


def test_several_flows_share_one_revision(project: Project) -> None:
    project.write("other.py", OTHER)
    project.write("third.py", OTHER.replace("other", "third"))
    count = len(project.revisions())
    outcome = project.ok("compile", "other", "third.py:third")
    assert "other: new flow, 1 step" in outcome.out
    assert "third: new flow, 1 step" in outcome.out
    assert len(project.revisions()) == count + 1


def test_flows_named_on_the_command_line_leave_the_others_alone(project: Project) -> None:
    project.write("other.py", OTHER)
    assert "no longer" not in project.ok("compile", "other").err
    outcome = project.ok("compile")
    assert "no longer among the flows: other (left as they are)" in outcome.err
    assert "nothing to compile" in outcome.out


def test_a_message_names_the_revision(project: Project) -> None:
    project.write("other.py", OTHER)
    project.ok("compile", "other", "-m", 'the "other" one: 100 % \\ {{ x }}')
    path = next(path for path in project.revisions() if path.name.endswith("_the_other_one_100_x.py"))
    assert ast.get_docstring(ast.parse(path.read_text()), clean=False) is not None
    assert path.read_text().startswith('"""the "other" one: 100 % \\\\ {{ x }}\n')


def test_check_writes_nothing_and_tells_by_its_exit_code(project: Project) -> None:
    assert project.pgflow("compile", "--check").code == 0
    project.write("flows.py", HELLO.replace("max", "x").replace(".returns(shout)", ""))
    before = project.contents()
    outcome = project.pgflow("compile", "--check")
    assert outcome.code == 1
    assert outcome.out.startswith("a migration is missing:\n  hello: version 2\n")
    assert project.contents() == before
    report = project.pgflow("compile", "--check", "--json")
    assert (report.code, report.json["status"]) == (1, "missing")


def test_sql_prints_the_upgrade_and_writes_nothing(project: Project) -> None:
    project.write("flows.py", HELLO.replace(".returns(shout)", ""))
    before = project.contents()
    outcome = project.ok("compile", "--sql")
    assert project.contents() == before
    assert outcome.out.startswith("-- hello: version 2 (fingerprint ")
    assert "\nbegin;\nselect pgflow.create_flow(\n  'hello',\n  version => 2," in outcome.out
    assert outcome.out.endswith("\n);\ncommit;\n")
    project.write("flows.py", HELLO)
    outcome = project.ok("compile", "--sql")
    assert (outcome.out, outcome.err) == ("", "nothing to compile\n")


def test_sql_works_without_alembic(empty: Project) -> None:
    empty.write("flows.py", HELLO)
    assert "pgflow.create_flow(\n  'hello'," in empty.ok("compile", "flows", "--sql").out
    assert set(empty.contents()) == {"flows.py"}


def test_json_reports_what_was_written(project: Project) -> None:
    project.write("flows.py", HELLO.replace(".returns(shout)", ""))
    report = project.ok("compile", "--json").json
    assert report["status"] == "written"
    assert Path(report["path"]).is_file()
    assert report["revision"] in report["path"]
    (change,) = report["changes"]
    assert (change["flow"], change["kind"], change["version"], change["impact"]) == (
        "hello",
        "version",
        2,
        "needs drain",
    )
    assert project.ok("compile", "--json").json == {
        "status": "unchanged",
        "path": None,
        "revision": None,
        "down_revision": report["revision"],
        "changes": [],
        "gone": [],
    }


def test_commands_work_in_a_subfolder_of_the_project(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    (project.directory / "sub").mkdir()
    monkeypatch.chdir(project.directory / "sub")
    assert "nothing to compile" in project.ok("compile").out


def test_options_that_exclude_each_other_are_a_usage_error(project: Project) -> None:
    assert project.pgflow("compile", "--sql", "--check").code == 2
    assert project.pgflow("compile", "--sql", "--json").code == 2
    assert project.pgflow("core", "--uninstall").code == 2
    assert project.pgflow("core", "--sql", "--json").code == 2


# ---- what can go wrong -----------------------------------------------------------------------------------------------


def refused(project: Project, *arguments: str) -> str:
    before = project.contents()
    outcome = project.pgflow("compile", *arguments)
    assert (outcome.code, outcome.out) == (3, "")
    assert project.contents() == before
    return outcome.err


def test_no_alembic_environment(empty: Project) -> None:
    empty.write("flows.py", HELLO)
    assert "has no Alembic environment\nSet one up with: pgflow init" in refused(empty, "flows")


def test_no_flows_configured(empty: Project) -> None:
    assert "no flows to compile: none are named" in refused(empty)


def test_a_module_that_does_not_exist(project: Project) -> None:
    assert "no_such" in refused(project, "no_such")


def test_a_module_that_fails_to_import(project: Project) -> None:
    path = project.write("flows.py", "import json\n\nraise RuntimeError('boom')\n")
    message = refused(project)
    assert "boom" in message
    assert f"{path.name}:3" in message


def test_a_flow_with_mistakes(project: Project) -> None:
    project.write("flows.py", HELLO.replace(".step(shout, greet)", ".step(shout, grete)"))
    assert "grete" in refused(project)


def test_several_heads(project: Project) -> None:
    project.write("migrations/versions/stray.py", "revision = 'stray'\ndown_revision = None\n")
    project.write("flows.py", HELLO.replace(".returns(shout)", ""))
    message = refused(project)
    assert "2 heads" in message
    assert "alembic merge heads" in message
    head = next(path.name[:12] for path in project.revisions() if "hello" in path.name)
    assert "hello: version 2" in project.ok("compile", "--head", head).out


def test_the_core_revision_is_missing(project: Project) -> None:
    for path in project.revisions():
        path.unlink()
    message = refused(project)
    assert "lack the revision that installs the SQL core\nWrite it with: pgflow init" in message


def test_a_constant_broken_by_hand(project: Project) -> None:
    path = next(path for path in project.revisions() if "hello" in path.name)
    path.write_text(path.read_text().replace('"format": 1', '"format": one'))
    message = refused(project)
    assert f"the constant PGFLOW of the migration {path} (line" in message
    assert "restore the file from version control" in message


def test_a_migration_that_does_not_load(project: Project) -> None:
    project.write("migrations/versions/x.py", "import nonsense_module\n")
    message = refused(project)
    assert "No module named 'nonsense_module'" in message
    assert "x.py:1" in message


def test_a_versions_folder_that_cannot_be_written(project: Project) -> None:
    # Not a matter of permissions, which root does not know: the new file's folder is a file.
    ini = project.directory / "alembic.ini"
    ini.write_text(ini.read_text().replace("path_separator", "file_template = sub/%%(rev)s\npath_separator", 1))
    project.write("migrations/versions/sub", "in the way")
    project.write("flows.py", HELLO.replace(".returns(shout)", ""))
    assert "cannot write" in refused(project)


def test_an_alembic_configuration_that_is_not_there(project: Project) -> None:
    assert "no Alembic configuration" in refused(project, "--alembic-config", "other.ini")


def test_core_prints_its_sql_and_its_version(project: Project) -> None:
    install = project.ok("core", "--sql").out
    assert install.startswith("begin;\n")
    assert install.endswith("commit;\n")
    assert "create schema pgflow;" in install
    assert "drop schema pgflow cascade;" in project.ok("core", "--sql", "--uninstall").out
    assert project.ok("core", "--json").json == {"schema_version": SCHEMA_VERSION}
    assert f"schema version {SCHEMA_VERSION}" in project.ok("core").out


def test_an_error_of_the_real_command_is_a_message_and_no_traceback(empty: Project) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "flowdsl.cli.app", "compile", "nothing_here"],
        capture_output=True,
        text=True,
        check=False,
        cwd=empty.directory,
    )
    assert (result.returncode, result.stdout) == (3, "")
    assert result.stderr.startswith("error: ")
    assert "Traceback" not in result.stderr
