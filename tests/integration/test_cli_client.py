"""`pgflow client`, and `pgflow start` of flows that are only in the database."""

import json
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from tests.integration.cli_support import Project, compiled_project, new_project

ORDER = '{"items": ["tea", "cup"]}'
FLOWS_WITH_TYPES = """
from decimal import Decimal

from pydantic import BaseModel, Field

from flowdsl import Flow


class Item(BaseModel):
    name: str = Field(min_length=1)
    count: int = Field(default=1, ge=1)


class Order(BaseModel):
    items: list[Item]
    note: str | None = None


class Bill(BaseModel):
    total: Decimal


def bill(order: Order) -> Bill:
    return Bill(total=Decimal(sum(item.count for item in order.items)))


billing = Flow("billing", Order).step(bill).returns(bill)
"""
PROGRAM = """
import asyncio, os
from billing_client import {input}, billing
from flowdsl.client import Client

async def main():
    async with Client(os.environ["DATABASE_URL"]) as client:
        run = await client.start(billing, {input}.model_validate({{"items": [{{"name": "tea", "count": 2}}]}}))
        print((await run.result(60)).total)

asyncio.run(main())
"""


@pytest.fixture
def billing(tmp_path: Path, dsn: str) -> Project:
    project = new_project(tmp_path, dsn, FLOWS_WITH_TYPES)
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute(project.ok("compile", "--sql").out.encode())
    return project


def without_modules(project: Project) -> Project:
    """The project of somebody who has nothing but the database."""
    directory = project.directory / "elsewhere"
    directory.mkdir()
    (directory / "pyproject.toml").write_text("[tool.pgflow]\n")
    return Project(directory=directory, url=project.url)


def answer(project: Project, program: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        cwd=project.directory, env=project.environment(), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


# ---- client ---------------------------------------------------------------------------------------------------------


def test_both_roads_write_references_that_work(billing: Project) -> None:
    elsewhere = without_modules(billing)
    billing.ok("client", "flows:billing", "-o", "elsewhere/billing_client.py")
    with billing.worker():
        assert answer(elsewhere, PROGRAM.format(input="Order")) == "2"
        said = elsewhere.ok("client", "billing", "--from-database", "-o", "billing_client.py")
        assert "Wrote billing_client.py: a reference to flow 'billing'." in said.err
        assert answer(elsewhere, PROGRAM.format(input="BillingInput")) == "2"
    text = (elsewhere.directory / "billing_client.py").read_text()
    assert text.startswith('"""Flow \'billing\' (version 1, fingerprint ')
    assert "    pgflow client billing --from-database -o billing_client.py\n" in text
    assert billing.url is not None
    assert billing.url not in text


def test_without_a_file_the_reference_goes_to_stdout(billing: Project) -> None:
    outcome = billing.ok("client", "billing")
    assert "billing = FlowRef[Order, Bill](" in outcome.out
    assert outcome.err == ""
    # The same from anywhere, but for the command.
    other = billing.ok("client", "flows.py:billing").out
    assert other.replace("flows.py:billing", "billing") == outcome.out


def test_an_older_version_is_written_when_it_is_named(billing: Project) -> None:
    assert billing.url is not None
    with psycopg.connect(billing.url, autocommit=True) as conn:
        conn.execute(
            "select pgflow.create_flow('billing', version => 2, fingerprint => 'ffffffffffffffff', input_schema => 'true',"
            " output_schema => 'true')"
        )
    current = billing.ok("client", "billing", "--from-database").out
    assert "(version 2, fingerprint ffffffffffffffff)" in current
    first = billing.ok("client", "billing", "--from-database", "--flow-version", "1").out
    assert "(version 1, fingerprint " in first
    assert "--flow-version 1" in first
    said = billing.refused(5, "client", "billing", "--from-database", "--flow-version", "3")
    assert "Flow 'billing' has no version 3 in the database." in said
    assert "Its current one is 2." in said


def test_check_finds_a_reference_that_is_out_of_date(billing: Project) -> None:
    command = ("client", "billing", "-o", "billing_client.py")
    assert "billing_client.py is missing" in billing.pgflow(*command, "--check").err
    billing.ok(*command)
    assert "is up to date" in billing.ok(*command, "--check").err
    file = billing.directory / "flows.py"
    file.write_text(file.read_text().replace("note: str | None = None", "note: str"))
    outcome = billing.pgflow(*command, "--check")
    assert (outcome.code, outcome.out) == (1, "")
    assert "billing_client.py is out of date. Write it anew: pgflow client billing -o billing_client.py" in outcome.err
    billing.ok(*command)
    assert "is up to date" in billing.ok(*command, "--check").err


def test_json_tells_what_became_of_the_file(billing: Project) -> None:
    command = ("client", "billing", "-o", "billing_client.py", "--json")
    first = billing.ok(*command)
    assert first.json["path"] == "billing_client.py"
    assert first.json["slug"] == "billing"
    assert first.json["status"] == "written"
    text = (billing.directory / "billing_client.py").read_text()
    assert f'fingerprint="{first.json["fingerprint"]}",' in text
    assert billing.ok(*command).json == {**first.json, "status": "unchanged"}
    assert billing.ok(*command, "--check").json == {**first.json, "status": "unchanged"}
    file = billing.directory / "flows.py"
    file.write_text(file.read_text().replace("note: str | None = None", "note: str"))
    outdated = billing.pgflow(*command, "--check")
    assert (outdated.code, outdated.json["status"]) == (1, "outdated")
    assert outdated.json["fingerprint"] != first.json["fingerprint"]
    assert (billing.directory / "billing_client.py").read_text() == text
    (billing.directory / "billing_client.py").unlink()
    missing = billing.pgflow(*command, "--check")
    assert (missing.code, missing.json["status"]) == (1, "missing")


def test_json_without_a_file_holds_the_text(billing: Project) -> None:
    plain = billing.ok("client", "billing").out
    said = billing.ok("client", "billing", "--json").json
    assert said == {"text": plain, "slug": "billing", "fingerprint": said["fingerprint"], "status": "generated"}
    stored = billing.ok("client", "billing", "--from-database", "--json").json
    assert stored["fingerprint"] == said["fingerprint"]
    assert "billing = FlowRef[BillingInput, " in stored["text"]


def test_what_is_up_to_date_is_not_written_again(billing: Project) -> None:
    command = ("client", "billing", "-o", "billing_client.py")
    billing.ok(*command)
    before = (billing.directory / "billing_client.py").stat()
    assert billing.ok(*command).err == "billing_client.py is up to date.\n"
    after = (billing.directory / "billing_client.py").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_a_file_somebody_else_wrote_is_not_written_over(billing: Project) -> None:
    file = billing.write("precious.py", "secret = 1\n")
    said = billing.refused(3, "client", "billing", "-o", "precious.py")
    assert "precious.py exists, and `pgflow client` did not write it." in said
    assert "--force" in said
    assert file.read_text() == "secret = 1\n"
    billing.ok("client", "billing", "-o", "precious.py", "--force")
    assert "FlowRef" in file.read_text()
    billing.ok("client", "billing", "-o", "precious.py")


def test_a_file_that_cannot_be_written_is_named(billing: Project) -> None:
    assert "no/such/file.py cannot be written" in billing.refused(3, "client", "billing", "-o", "no/such/file.py")
    assert [path.name for path in billing.directory.glob(".*.py.*")] == []


def test_options_that_need_another_are_refused(billing: Project) -> None:
    assert "it needs --from-database" in billing.pgflow("client", "billing", "--flow-version", "1").err
    assert "it needs the file to check" in billing.pgflow("client", "billing", "--check").err


def test_a_flow_the_database_does_not_have_is_refused_with_the_one_that_was_meant(billing: Project) -> None:
    said = billing.refused(5, "client", "biling", "--from-database")
    assert "There is no flow 'biling' in the database." in said
    assert "Did you mean 'billing'? Flows there: billing." in said


def test_a_flow_an_earlier_flowdsl_compiled_has_no_schemas(billing: Project) -> None:
    assert billing.url is not None
    with psycopg.connect(billing.url, autocommit=True) as conn:
        conn.execute("select pgflow.create_flow('old')")
        conn.execute("select pgflow.add_step('old', 'only')")
    said = billing.refused(3, "client", "old", "--from-database")
    assert "the database has no schemas of flow 'old'" in said
    assert "pgflow client MODULE:old" in said


def test_nothing_is_written_of_what_a_database_holds_that_is_no_flow(billing: Project) -> None:
    assert billing.url is not None
    evil = '"""\nimport sys; sys.PWNED=1\nx="""'
    with psycopg.connect(billing.url, autocommit=True) as conn:
        conn.execute("update pgflow.flow_versions set fingerprint = %s where flow_slug = 'billing'", [evil])
    said = billing.refused(3, "client", "billing", "--from-database", "-o", "evil.py")
    assert "is no fingerprint of a flow" in said
    with psycopg.connect(billing.url, autocommit=True) as conn:
        conn.execute(
            "update pgflow.flow_versions set fingerprint = null, input_schema = %s where flow_slug = 'billing'",
            [json.dumps({"properties": []})],
        )
    said = billing.refused(3, "client", "billing", "--from-database", "-o", "evil.py")
    assert "flow 'billing': the JSON Schema of its input cannot be used: properties: an empty list" in said
    assert not (billing.directory / "evil.py").exists()


def test_without_the_generator_the_line_that_installs_it_is_told(billing: Project) -> None:
    (billing.directory / "datamodel_code_generator.py").write_text("raise ImportError('not here')\n")
    said = billing.refused(3, "client", "billing")
    assert "Install it with: pip install 'flowdsl[client]'" in said


# ---- start ----------------------------------------------------------------------------------------------------------


def test_a_flow_that_is_only_in_the_database_is_started_and_awaited(billing: Project) -> None:
    elsewhere = without_modules(billing)
    order = '{"items": [{"name": "tea"}, {"name": "cup", "count": 3}]}'
    with billing.worker():
        assert json.loads(elsewhere.ok("start", "billing", "-i", order, "--wait").out) == {"total": "4"}


def test_where_flows_are_configured_the_database_is_asked_on_demand(billing: Project) -> None:
    (billing.directory / "pyproject.toml").write_text('[tool.pgflow]\nflows = ["other"]\n')
    billing.write(
        "other.py", "from flowdsl import Flow\ndef f(x: int) -> int: return x\nother = Flow('other', int).step(f)\n"
    )
    said = billing.refused(3, "start", "billing", "-i", '{"items": []}')
    assert "one that is only in the database with --from-database" in said
    assert billing.ok("start", "billing", "--from-database", "-i", '{"items": []}').out


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("{}", ["items: it is missing"]),
        ('{"items": [{"name": ""}, {"name": "x", "count": "2"}, {"name": "x", "count": 0}]}', [
            "items.0.name: its length is 0, which is not at least 1",
            'items.1.count: "2" is no integer',
            "items.2.count: 0 is not at least 1",
        ]),
        ('{"items": [], "note": 3}', ["note: 3 fits none of: string, null"]),
        ("[]", ["[] is no object"]),
        ('{"items": [{"name": "\\u0000"}]}', ["U+0000"]),
    ],
)  # fmt: skip
def test_an_input_that_does_not_fit_the_stored_schema_is_refused_with_its_places(
    billing: Project, given: str, told: list[str]
) -> None:
    elsewhere = without_modules(billing)
    said = elsewhere.refused(3, "start", "billing", "-i", given)
    assert "flow 'billing': the input does not fit:" in said
    for line in told:
        assert line in said
    assert elsewhere.ok("runs", "--json").json == []


@pytest.mark.parametrize(
    ("schema", "told"),
    [
        ({"$ref": "http://127.0.0.1:9/x"}, "'http://127.0.0.1:9/x' where a reference to one of its own definitions"),
        ({"$ref": "file:///etc/passwd"}, "'file:///etc/passwd' where a reference to one of its own definitions"),
        ({"$ref": "#/$defs/T9"}, "'#/$defs/T9' is none of the definitions it comes with"),
        ({"required": 7}, "required: 7 where a list of names is needed"),
    ],
)
def test_a_stored_schema_that_cannot_be_used_is_told(billing: Project, schema: object, told: str) -> None:
    assert billing.url is not None
    with psycopg.connect(billing.url, autocommit=True) as conn:
        conn.execute("update pgflow.flow_versions set input_schema = %s", [json.dumps(schema)])
    said = billing.refused(3, "start", "billing", "--from-database", "-i", '{"items": []}')
    assert "flow 'billing': the JSON Schema of its input cannot be used: " in said
    assert told in said


def test_a_stored_schema_that_is_nested_without_end_is_told(billing: Project) -> None:
    assert billing.url is not None
    deep = '{"items":' * 3_000 + "true" + "}" * 3_000
    with psycopg.connect(billing.url, autocommit=True) as conn:
        conn.execute("update pgflow.flow_versions set input_schema = %s", [deep])
    for command in (("start", "billing", "--from-database", "-i", "[]"), ("client", "billing", "--from-database")):
        assert "flow 'billing': a JSON Schema the database has of it is nested" in billing.refused(3, *command)


def test_an_input_is_judged_by_the_patterns_and_multiples_the_worker_has(billing: Project) -> None:
    assert billing.url is not None
    schema = {"properties": {"a": {"pattern": r"^\p{L}+$"}, "b": {"multipleOf": 0.1}, "c": {"pattern": "^(a+)+$"}}}
    with psycopg.connect(billing.url, autocommit=True) as conn:
        conn.execute("update pgflow.flow_versions set input_schema = %s", [json.dumps(schema)])
    assert billing.ok("start", "billing", "--from-database", "-i", '{"a": "größe", "b": 0.3}').out
    given = json.dumps({"a": "9", "b": 0.25, "c": "a" * 60 + "!"})
    said = billing.refused(3, "start", "billing", "--from-database", "-i", given)
    for line in ('a: "9" does not match', "b: 0.25 is not a multiple of 0.1", "c: "):
        assert line in said


def test_a_flow_neither_configured_nor_in_the_database_is_refused(tmp_path: Path, dsn: str) -> None:
    project = new_project(tmp_path, dsn, configured=[])
    said = project.refused(5, "start", "invoice", "-i", ORDER)
    assert "There is no flow 'invoice' in the database." in said
    assert "MODULE:invoice" in said
    assert 'flows = ["MODULE"]' in said
    compiled_project(tmp_path, dsn)
    (tmp_path / "pyproject.toml").write_text("")
    assert "Did you mean 'invoice'?" in project.refused(5, "start", "invocie", "-i", ORDER)


def test_a_retired_flow_is_not_started(billing: Project) -> None:
    assert billing.url is not None
    with psycopg.connect(billing.url, autocommit=True) as conn:
        conn.execute("select pgflow.retire_flow('billing')")
    for options in ((), ("--from-database",)):
        said = billing.refused(5, "start", "billing", "-i", '{"items": []}', *options)
        assert "retired" in said
    assert "Flow 'billing' is retired" in billing.ok("client", "billing", "--from-database").err
