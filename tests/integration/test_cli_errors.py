"""Whatever is wrong, the command says one clear sentence with the way out, and its exit code tells the kind."""

import os
import subprocess
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from tests.integration.cli_support import COMMAND, Project, compiled_project, new_project

ORDER = '{"items": []}'
NOWHERE = "postgresql://nobody@127.0.0.1:1/nothing"


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A project with a database that nobody can reach: what is wrong is found before."""
    return new_project(tmp_path, NOWHERE)


def test_an_unknown_flow_is_refused_with_the_one_that_was_meant(project: Project) -> None:
    said = project.refused(3, "start", "invocie", "-i", ORDER)
    assert "There is no flow 'invocie' in flows." in said
    assert "Did you mean 'invoice'?" in said
    assert "Did you mean 'invoice'?" in project.refused(3, "graph", "flows:invocie")


def test_a_slug_without_configured_flows_says_how_to_name_the_module(tmp_path: Path) -> None:
    project = new_project(tmp_path, NOWHERE, configured=[])
    said = project.refused(3, "graph", "invoice")
    assert "MODULE:invoice" in said
    assert 'flows = ["MODULE"]' in said
    assert 'flows = ["MODULE"]' in project.refused(3, "worker")


def test_a_module_with_several_flows_asks_which_one(project: Project) -> None:
    project.write(
        "pair.py",
        "from flowdsl import Flow\ndef f(x: int) -> int: return x\na = Flow('a', int).step(f)\nb = Flow('b', int).step(f)\n",
    )
    assert "pair.py:a, pair.py:b" in project.refused(3, "graph", "pair.py")


def test_a_module_that_is_not_there_is_named(project: Project) -> None:
    assert "there is no module 'flws'" in project.refused(3, "worker", "flws")


def test_a_module_that_fails_on_import_is_named_with_the_line(project: Project) -> None:
    project.write("broken.py", "import os\n\nprice = 1 / 0\n")
    said = project.refused(3, "start", "broken:flow", "-i", ORDER)
    assert "broken.py:3" in said
    assert "ZeroDivisionError" in said


def test_a_mistake_in_a_definition_is_told_with_its_place(project: Project) -> None:
    project.write(
        "wrong.py", "from flowdsl import Flow\ndef f(x: str) -> int: return 1\nflow = Flow('w', int).step(f)\n"
    )
    said = project.refused(3, "worker", "wrong")
    assert "wrong.py:3" in said
    assert "PF-E" in said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"items": }', "line 1, column 11"),
        ('{"items": [],\n "x": nope}', "line 2, column 7"),
        ("", "It is empty"),
        ("{items: []}", "line 1, column 2"),
        ('{"items": [NaN]}', "it has no NaN"),
    ],
)
def test_input_that_is_no_json_shows_where(project: Project, text: str, said: str) -> None:
    message = project.refused(3, "start", "invoice", "--input", text)
    assert "--input is not valid JSON" in message
    assert said in message


def test_input_nobody_can_read_is_refused(project: Project) -> None:
    assert "nested too deeply" in project.refused(3, "start", "invoice", "-i", "-", stdin="[" * 200_000)
    assert "not UTF-8" in project.refused(3, "start", "invoice", "-i", '{"items": ["\udcff"]}')
    assert "U+0000" in project.refused(3, "start", "invoice", "-i", '{"items": ["\\u0000"]}')


def test_an_input_file_that_is_not_there_is_named(project: Project) -> None:
    assert "'order.json' cannot be read" in project.refused(3, "start", "invoice", "-i", "@order.json")
    project.write("latin.json", "x").write_bytes(b"\xff")
    assert "not UTF-8" in project.refused(3, "start", "invoice", "-i", "@latin.json")


def test_input_that_does_not_fit_the_model_names_every_place(project: Project) -> None:
    said = project.refused(3, "start", "invoice", "-i", '{"items": ["a", 1, null]}')
    assert "items.1: Input should be a valid string" in said
    assert "items.2: Input should be a valid string" in said


def test_a_missing_input_is_a_usage_error(project: Project) -> None:
    outcome = project.pgflow("start", "invoice")
    assert outcome.code == 2
    assert "--input" in outcome.err


def test_a_timeout_without_wait_is_a_usage_error(project: Project) -> None:
    outcome = project.pgflow("start", "invoice", "-i", ORDER, "--timeout", "5")
    assert outcome.code == 2
    assert "--wait" in outcome.err


@pytest.mark.parametrize(
    "command", [("runs",), ("flows",), ("show", "12"), ("start", "invoice", "-i", ORDER), ("worker",)]
)
def test_an_unreachable_database_is_told_with_the_ways_to_name_another(
    project: Project, command: tuple[str, ...]
) -> None:
    outcome = project.pgflow(*command)
    assert (outcome.code, outcome.out) == (4, "")
    assert "port 1 failed: Connection refused" in outcome.err
    assert "--database-url or DATABASE_URL" in outcome.err
    assert "Traceback" not in outcome.err


def test_a_url_of_another_database_is_refused_without_its_password(project: Project) -> None:
    said = project.refused(3, "runs", "--database-url", "mysql://ada:geheim@db/shop")
    assert "not the URL of a PostgreSQL database" in said
    assert "geheim" not in said


@pytest.mark.parametrize("url", ["postgresql://h/db?no_such=1", "postgresql://[::1/db"])
def test_a_url_with_a_mistake_in_it_is_told(project: Project, url: str) -> None:
    assert "the database URL cannot be read" in project.refused(3, "runs", "--database-url", url)


@pytest.mark.parametrize("command", [("runs",), ("start", "invoice", "-i", ORDER), ("worker",)])
def test_a_database_without_the_core_is_told_with_the_command_that_installs_it(
    tmp_path: Path, empty_dsn: str, command: tuple[str, ...]
) -> None:
    outcome = new_project(tmp_path, empty_dsn).pgflow(*command)
    assert (outcome.code, outcome.out) == (4, "")
    assert "the pgflow SQL core is not installed" in outcome.err
    assert "alembic upgrade head" in outcome.err
    assert "Traceback" not in outcome.err


@pytest.mark.parametrize(
    ("version", "way_out"), [(0, "alembic upgrade head"), (99, "Upgrade this installation of flowdsl")]
)
def test_a_core_of_another_version_is_told_with_both_versions(
    tmp_path: Path, dsn: str, version: int, way_out: str
) -> None:
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute(
            f"create or replace function pgflow.core_version() returns int language sql immutable as 'select {version}'".encode()
        )
    said = new_project(tmp_path, dsn).refused(4, "runs")
    assert f"has version {version}, this package needs version " in said
    assert way_out in said


def test_a_flow_that_is_not_compiled_is_told_with_the_commands_that_do_it(tmp_path: Path, dsn: str) -> None:
    project = new_project(tmp_path, dsn)
    for command in (("start", "invoice", "-i", ORDER), ("worker",)):
        outcome = project.pgflow(*command)
        assert (outcome.code, outcome.out) == (5, "")
        assert "invoice" in outcome.err
        assert "pgflow compile" in outcome.err
        assert "alembic upgrade head" in outcome.err
        assert "Traceback" not in outcome.err


def test_a_flow_that_has_changed_since_it_was_compiled_is_neither_served_nor_started(tmp_path: Path, dsn: str) -> None:
    project = compiled_project(tmp_path, dsn)
    file = project.directory / "flows.py"
    file.write_text(file.read_text().replace(".returns(total)", ""))
    for command in (("worker",), ("start", "invoice", "-i", ORDER)):
        outcome = project.pgflow(*command)
        assert (outcome.code, outcome.out) == (5, "")
        assert "pgflow compile" in outcome.err
        assert "Traceback" not in outcome.err


def test_listing_the_runs_of_a_flow_the_database_does_not_know_says_so(tmp_path: Path, dsn: str) -> None:
    project = compiled_project(tmp_path, dsn)
    said = project.refused(5, "runs", "--flow", "invoce")
    assert "'invoce' does not exist" in said
    assert "pgflow flows" in said


def test_a_mistake_in_pyproject_is_told(project: Project) -> None:
    project.write("pyproject.toml", '[tool.pgflow]\nflow = ["flows"]\n')
    assert "Did you mean 'flows'?" in project.refused(3, "graph", "invoice")


def test_an_option_the_worker_cannot_use_is_told(project: Project) -> None:
    assert "queue" in project.refused(3, "worker", "--queue", " ")


def test_a_url_that_is_no_text_is_refused(project: Project) -> None:
    broken = os.fsdecode(b"postgresql://localhost/a\xff")
    assert "is not valid UTF-8 text" in project.refused(2, "runs", "--database-url", broken)
    assert "is not valid UTF-8 text" in replace(project, url=broken).refused(2, "start", "invoice", "-i", ORDER)


def test_a_module_that_raises_something_odd_on_import_is_named_with_the_line(project: Project) -> None:
    project.write("odd.py", "class Odd(BaseException): pass\n\nraise Odd('mine')\n")
    for spec in ("odd", "./odd.py"):
        said = project.refused(3, "compile", spec)
        assert "odd.py:3" in said
        assert "Odd: mine" in said


@pytest.mark.parametrize("spec", [".", "..", "..x", ".flows:invoice"])
def test_a_relative_module_is_answered_with_the_forms_there_are(project: Project, spec: str) -> None:
    said = project.refused(3, "compile", spec)
    assert f"'{spec}' names no flow" in said
    assert "path/to/file.py" in said


@pytest.mark.parametrize("arguments", [("core",), ("graph", "invoice", "--json"), ("graph", "invoice"), ("--help",)])
def test_output_that_cannot_be_written_is_an_error_and_output_nobody_wants_is_none(
    project: Project, arguments: tuple[str, ...]
) -> None:
    with Path("/dev/full").open("w") as full, project.started(*arguments, stdout=full) as process:
        said = process.communicate(timeout=60)[1]
    assert (process.returncode, said) == (1, "error: The output cannot be written: No space left on device.\n")
    closed = subprocess.run(
        ["sh", "-c", 'exec "$@" >&-', "sh", *COMMAND, *arguments],
        cwd=project.directory, env=project.environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (closed.returncode, closed.stderr) == (0, "")
