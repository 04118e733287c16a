"""`pgflow compile` writes one revision for what changed, once, and says clearly why when it cannot."""

import ast
import subprocess
import sys
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from flowdsl.compiler.jsontext import json_text
from flowdsl.compiler.records import core_record
from flowdsl.core.manifest import SCHEMA_VERSION

from .compiling import HELLO, Outcome, Project, new_project

OTHER = """
from flowdsl import Flow

def one(name: str) -> str:
    return name

other = Flow("other", str).step(one)
"""

BESIDE = """
def one(name: str) -> str:
    return name

beside = Flow("beside", str).step(one)
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
        "  hello: version 2, was 1",
        "    types",
        "      ~ the run's output $: object (shout), was string",
        "    returns",
        "      ~ the leaf steps; was shout",
        "    breaking",
        "      callers of version 1 cannot read the run's output: $ is object (shout) where string is expected",
        "      callers with the fingerprint of version 1 are refused: replace them",
        "      safe: workers with this code carry out the runs of version 1 too",
    ]
    assert outcome.err == "next: alembic upgrade head\n"


def test_changed_options_are_an_update_in_place(project: Project) -> None:
    project.write("flows.py", HELLO.replace(".step(shout, greet)", ".step(shout, greet, timeout=9)"))
    outcome = project.ok("compile")
    assert "  hello: options of version 1\n    options\n      ~ shout: timeout default -> 9\n    safe\n" in outcome.out
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
    assert "hello" not in project.ok("compile", "other").out


def statements_of(project: Project, path: str) -> list[str]:
    """The SQL functions that the revision calls, up and down."""
    module = ast.parse((project.directory / path).read_text())
    found = {
        statement.targets[0].id: ast.literal_eval(statement.value)
        for statement in module.body
        if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name)
    }
    return [
        call.split("(")[0].strip().removeprefix("select pgflow.") for call in (*found["UPGRADE"], *found["DOWNGRADE"])
    ]


def written(outcome: Outcome) -> str:
    return outcome.out.splitlines()[0].removeprefix("wrote ")


def test_a_flow_that_is_gone_is_retired_and_restored_when_it_is_back(project: Project) -> None:
    project.write("flows.py", HELLO + BESIDE)
    project.ok("compile")
    project.write("flows.py", HELLO)
    gone = project.ok("compile")
    assert "beside: retired, no longer among the flows\n    needs drain\n      no new runs start" in gone.out
    assert statements_of(project, written(gone)) == ["retire_flow", "restore_flow"]
    assert (
        "no module of `flows` under [tool.pgflow] has beside any more: if it still exists, list its module" in gone.err
    )
    assert "nothing to compile" in project.ok("compile").out
    project.write("flows.py", HELLO + BESIDE)
    back = project.ok("compile")
    assert "beside: restored in version 1, new runs may start again\n    safe\n" in back.out
    assert statements_of(project, written(back)) == ["restore_flow", "retire_flow"]
    assert "nothing to compile" in project.ok("compile").out


def test_a_flow_that_is_gone_is_dropped_where_that_is_asked_for(project: Project) -> None:
    project.write("flows.py", HELLO + BESIDE)
    project.ok("compile")
    project.write("flows.py", HELLO)
    outcome = project.ok("compile", "--drop", "beside")
    assert "beside: dropped with all runs and their data, version 1\n    breaking\n" in outcome.out
    assert statements_of(project, written(outcome)) == ["delete_flow_and_data", "create_flow", "add_step"]
    docstring = ast.get_docstring(ast.parse((project.directory / written(outcome)).read_text()))
    assert docstring is not None
    assert "a downgrade brings its definition back and none of the runs" in docstring
    assert "nothing to compile" in project.ok("compile").out
    # It begins anew when it comes back.
    project.write("flows.py", HELLO + BESIDE)
    assert "beside: new flow, 1 step" in project.ok("compile").out


def test_a_retired_flow_can_be_dropped_later(project: Project) -> None:
    project.write("other.py", OTHER)
    project.ok("compile", "other")
    project.ok("compile")
    outcome = project.ok("compile", "flows", "--drop", "other")
    assert statements_of(project, written(outcome)) == [
        "delete_flow_and_data",
        "create_flow",
        "add_step",
        "retire_flow",
    ]


@pytest.mark.parametrize("listed", [["flows"], []])
def test_the_last_flow_of_a_project_can_go_too(project: Project, listed: list[str]) -> None:
    project.write("flows.py", "")
    settings = (project.directory / "pyproject.toml").read_text()
    project.write("pyproject.toml", settings.replace("['flows']", str(listed)).replace('["flows"]', str(listed)))
    assert "there is no flow in 'flows'" in refused(project, "flows")
    assert project.pgflow("compile", "--check").code == 1
    assert "hello: retired" in project.ok("compile").out
    assert "nothing to compile" in project.ok("compile").out
    assert "hello: dropped with all runs" in project.ok("compile", "--drop", "hello").out
    # Now nothing is known of any flow, so that is likely a mistake.
    assert ("there is no flow in 'flows'" if listed else "no flows to compile") in refused(project)


def test_only_flows_that_are_gone_can_be_dropped(project: Project) -> None:
    project.write("other.py", OTHER)
    project.ok("compile", "other")
    assert "--drop hello: the flow is still in the code" in refused(project, "--drop", "hello")
    message = refused(project, "--drop", "othr")
    assert "no flow of that name\nDid you mean 'other'? Flows that are gone from the code: other." in message
    message = refused(project, "flows", "--drop", "other")
    assert "whether the flow is gone from the code is not known" in message


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
    assert outcome.out.startswith("a migration is missing:\n  hello: version 2, was 1\n")
    assert project.contents() == before
    report = project.pgflow("compile", "--check", "--json")
    assert (report.code, report.json["status"]) == (1, "missing")


def edit(project: Project) -> Path:
    path = next(path for path in project.revisions() if "hello" in path.name)
    path.write_text(path.read_text().replace("'greet',\n  deps_slugs", "'meet',\n  deps_slugs"))
    return path


def test_a_file_edited_by_hand_is_a_warning_and_fails_the_check(project: Project) -> None:
    path = edit(project)
    outcome = project.ok("compile")
    assert outcome.out == "nothing to compile: the migrations are up to date\n"
    assert outcome.err.startswith(f"warning: {path.relative_to(project.directory)} was edited by hand")
    outcome = project.pgflow("compile", "--check")
    assert (outcome.code, outcome.out) == (
        1,
        f"edited by hand after it was generated: {path.relative_to(project.directory)}\n",
    )
    report = project.pgflow("compile", "--check", "--json")
    assert (report.code, report.json["status"], report.json["edited"]) == (1, "unfit", [str(path)])
    assert project.ok("compile", "--sql").err.startswith(f"warning: {path.relative_to(project.directory)} was")


EDITS = {
    "fewer statements": lambda text: text.replace("for statement in UPGRADE:", "for statement in UPGRADE[:1]:"),
    "nothing is done": lambda text: text.replace("for statement in DOWNGRADE:\n        run_sql(op, statement)", "pass"),
    "something more is done": lambda text: text.replace(
        "def downgrade", "    op.execute('drop table x')\n\ndef downgrade"
    ),
    "a second binding": lambda text: text.replace(
        "def upgrade", "UPGRADE = UPGRADE + ('drop table x',)\n\ndef upgrade"
    ),
    "at its end": lambda text: text + "\nUPGRADE += ('drop table x',)\n",
    "another import": lambda text: text.replace(
        "compiler.execute import run_sql", "compiler.render import sql as run_sql"
    ),
    "no checksum": lambda text: text.replace('"checksum"', '"sum"').replace("'shout',", "'shout_it',"),
    "another record": lambda text: text.replace('"version": 1', '"version": 2'),
}


@pytest.mark.parametrize("name", EDITS)
def test_whatever_changes_what_a_file_does_is_an_edit(project: Project, name: str) -> None:
    path = next(path for path in project.revisions() if "hello" in path.name)
    text = path.read_text()
    path.write_text(EDITS[name](text))
    assert path.read_text() != text
    outcome = project.pgflow("compile", "--check", "--json")
    assert (outcome.code, outcome.json["edited"]) == (1, [str(path)])


def test_moving_a_file_in_the_tree_and_documenting_it_is_no_edit(project: Project) -> None:
    path = next(path for path in project.revisions() if "hello" in path.name)
    text = path.read_text().replace("Compile the flows.", "Reviewed by Ada.").replace("pgflow: hello v1", "hello!", 1)
    path.write_text("# a remark\n" + text.replace("branch_labels = None", "branch_labels = ('flows',)"))
    assert "nothing to compile" in project.ok("compile", "--check").out


def test_a_formatter_does_not_count_as_an_edit(project: Project) -> None:
    for path in project.revisions():
        text = path.read_text()
        path.write_text(text + "\n\n")
        arguments = ["format", "--isolated", "--line-length=40", "--config=format.quote-style='single'", str(path)]
        subprocess.run([sys.executable, "-m", "ruff", *arguments], check=True, capture_output=True)
        assert path.read_text() != text
    outcome = project.ok("compile", "--check")
    assert (outcome.out, outcome.err) == ("nothing to compile: the migrations are up to date\n", "")


def test_two_branches_that_compiled_the_same_flow_fail_the_check(project: Project) -> None:
    first = HELLO.replace(".returns(shout)", "")
    for number, text in enumerate((first, first.replace(".step(shout, greet)", ".step(shout, str)"))):
        project.write("flows.py", text)
        project.ok("compile")
        path = next(path for path in project.revisions() if "hello_v2" in path.name)
        path.rename(project.directory / f"branch_{number}.py")
    for number in (0, 1):
        (project.directory / f"branch_{number}.py").rename(project.revisions()[0].parent / f"branch_{number}.py")
    assert "flow 'hello' was compiled on two branches" in refused(project)
    outcome = project.pgflow("compile", "--check")
    assert outcome.code == 1
    assert "flow 'hello' was compiled on two branches that do not know of each other" in outcome.out
    assert "branch_0.py" in outcome.out
    assert "branch_1.py" in outcome.out
    report = project.pgflow("compile", "--check", "--json")
    assert (report.code, report.json["status"], report.json["changes"]) == (1, "unfit", [])
    assert "compiled on two branches" in report.json["problems"][0]


def test_an_older_core_fails_the_check_and_keeps_flows_from_being_compiled(project: Project) -> None:
    for path in project.revisions():
        path.unlink()
    record = json_text(core_record(SCHEMA_VERSION - 1))
    project.write("migrations/versions/core.py", f"revision = 'core'\ndown_revision = None\nPGFLOW = {record!r}\n")
    outcome = project.pgflow("compile", "--check")
    assert outcome.code == 1
    assert f"SQL core in version {SCHEMA_VERSION - 1}, which is too old: pgflow core upgrade\n" in outcome.out
    assert "a migration is missing:\n  hello: new flow" in outcome.out
    assert "Write its upgrade first with: pgflow core upgrade" in refused(project)


def test_a_newer_core_is_no_matter_of_the_check(project: Project) -> None:
    for path in project.revisions():
        path.unlink()
    record = json_text(core_record(SCHEMA_VERSION + 1))
    project.write("migrations/versions/core.py", f"revision = 'core'\ndown_revision = None\nPGFLOW = {record!r}\n")
    assert "Upgrade this installation of flowdsl." in refused(project, "--check")
    assert "Upgrade this installation of flowdsl." in refused(project)


def test_the_diff_has_colours_on_a_terminal(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    project.write("flows.py", HELLO.replace("shout", "whisper"))
    terminal = StringIO()
    monkeypatch.setattr("flowdsl.cli.changes.out", lambda: Console(file=terminal, force_terminal=True, width=200))
    assert project.pgflow("compile", "--check").code == 1
    green, red, yellow = "\x1b[32m", "\x1b[31m", "\x1b[33m"
    assert f"{green}      + whisper: takes greet\x1b[0m" in terminal.getvalue()
    assert f"{red}      - shout: takes greet\x1b[0m" in terminal.getvalue()
    assert f"{yellow}    needs drain\x1b[0m" in terminal.getvalue()


def test_live_needs_a_database_that_answers(project: Project) -> None:
    project.write("flows.py", HELLO.replace(".returns(shout)", ""))
    before = project.contents()
    outcome = project.pgflow("compile", "--live", "--database-url", "postgresql://nobody@127.0.0.1:1/nothing")
    assert (outcome.code, outcome.out) == (4, "")
    assert project.contents() == before


def test_sql_prints_the_upgrade_and_writes_nothing(project: Project) -> None:
    project.write("flows.py", HELLO.replace(".returns(shout)", ""))
    before = project.contents()
    outcome = project.ok("compile", "--sql")
    assert project.contents() == before
    assert outcome.out.startswith("-- hello: version 2, was 1 (fingerprint ")
    assert (
        "\nbegin;\nselect pgflow.create_flow(\n  'hello',\n  input_schema => '{\"type\": \"string\"}'::jsonb,\n"
        in outcome.out
    )
    assert "\n  serves_from => 1,\n  version => 2," in outcome.out
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
    assert (change["flow"], change["kind"], change["version"], change["impact"]) == ("hello", "version", 2, "breaking")
    assert (change["serves_from"], change["accepts_from"], change["restored"]) == (1, 2, False)
    assert {reason["impact"] for reason in change["reasons"]} == {"breaking", "safe"}
    assert change["details"][0] == {
        "topic": "types",
        "change": "changed",
        "step": None,
        "subject": "output",
        "path": "$",
        "old": "string",
        "new": "object (shout)",
        "text": "the run's output $: object (shout), was string",
    }
    assert "open_runs" not in change
    assert project.ok("compile", "--json").json == {
        "status": "unchanged",
        "path": None,
        "revision": None,
        "down_revision": None,
        "changes": [],
        "edited": [],
        "problems": [],
    }


def test_commands_work_in_a_subfolder_of_the_project(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    (project.directory / "sub").mkdir()
    monkeypatch.chdir(project.directory / "sub")
    assert "nothing to compile" in project.ok("compile").out


def test_options_that_exclude_each_other_are_a_usage_error(project: Project) -> None:
    assert project.pgflow("compile", "--sql", "--check").code == 2
    assert project.pgflow("compile", "--sql", "--json").code == 2
    assert project.pgflow("compile", "--sql", "--live").code == 2
    assert project.pgflow("compile", "--database-url", "postgresql://x/y").code == 2
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
    path.write_text(path.read_text().replace('"format": 2', '"format": two'))
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
