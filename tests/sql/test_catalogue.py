"""The files of the core and the catalogue they make agree: one object per file, contract header, safe declarations."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flowdsl.core import manifest
from flowdsl.errors import REFUSALS
from flowdsl.types import RunStatus, StepStatus, StepType, TaskStatus
from tests.sql.engine import Engine, Row

FUNCTIONS = sorted(name for name in manifest.file_names() if name.startswith("functions/"))


@pytest.fixture
def functions(engine: Engine) -> dict[str, Row]:
    rows = engine.rows(
        """
        select p.proname, p.provolatile, p.proisstrict, p.prosecdef, p.proconfig, p.prosqlbody is not null as parsed,
          l.lanname, p.prosrc, has_function_privilege('public', p.oid, 'execute') as public
        from pg_proc p join pg_language l on l.oid = p.prolang where p.pronamespace = 'pgflow'::regnamespace
        """
    )
    assert len({row["proname"] for row in rows}) == len(rows), "no function is overloaded"
    return {row["proname"]: row for row in rows}


def test_every_function_has_a_file_of_its_name_and_every_file_one_function(functions: dict[str, Row]) -> None:
    assert {f"functions/{name}.sql" for name in functions} == set(FUNCTIONS)
    for name in FUNCTIONS:
        assert len(re.findall(r"^create function ", manifest.read(name), re.MULTILINE)) == 1, name


def test_every_table_type_and_sequence_has_a_file(engine: Engine) -> None:
    objects = engine.rows(
        "select relname from pg_class where relnamespace = 'pgflow'::regnamespace and relkind in ('r', 'c')"
    )
    created = {
        match
        for name in manifest.file_names()
        for match in re.findall(r"^create (?:table|type) pgflow\.(\w+)", manifest.read(name), re.MULTILINE)
    }
    assert created == {row["relname"] for row in objects}
    for name in manifest.file_names():
        text = manifest.read(name)
        if match := re.match(r"schema/\d+_(\w+)\.sql", name):
            assert len(re.findall(r"^create (?:table|type) ", text, re.MULTILINE)) <= 1, name
            assert f"pgflow.{match[1]}" in text or name in {"schema/010_schema.sql", "schema/090_grants.sql"}, name


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_function_file_begins_with_its_contract(name: str) -> None:
    header = "\n".join(_header(manifest.read(name)))
    assert header.startswith(f"-- {name.removeprefix('functions/').removesuffix('.sql')}: "), "says what it does"
    assert re.search(r"Locks[:,]", header), "says what it locks"
    assert re.search(r"[Rr]aises:", header), "says what it raises"


def _header(text: str) -> Iterator[str]:
    for line in text.splitlines():
        if not line.startswith("--"):
            return
        yield line


def test_every_function_pins_its_search_path_or_is_parsed_at_creation(functions: dict[str, Row]) -> None:
    for name, row in functions.items():
        pinned = any(setting.startswith("search_path=") for setting in row["proconfig"] or ())
        assert pinned or row["parsed"], name


def test_volatility_is_as_declared_and_nothing_that_writes_is_strict_or_definer(functions: dict[str, Row]) -> None:
    letters = {"i": "immutable", "s": "stable", "v": "volatile"}
    for name, row in functions.items():
        text = manifest.read(f"functions/{name}.sql")
        assert re.search(rf"^language \w+ {letters[row['provolatile']]}\b", text, re.MULTILINE), name
        assert not row["prosecdef"], name
        if row["provolatile"] == "v":
            assert not row["proisstrict"], name
        if re.search(r"\b(insert into|update pgflow|delete from|pg_notify)\b", text):
            assert row["provolatile"] == "v", name


def test_nobody_but_the_owner_may_execute_anything(functions: dict[str, Row]) -> None:
    assert not [name for name, row in functions.items() if row["public"]]


def test_every_refusal_has_a_class_and_every_class_a_refusal() -> None:
    used = {code for name in manifest.file_names() for code in re.findall(r"'(PF\d{3})'", manifest.read(name))} | set(
        re.findall(r"'(PF\d{3})'", manifest.uninstall_sql())
    )
    assert used == set(REFUSALS)


def test_every_raise_has_a_code() -> None:
    for name in FUNCTIONS:
        for statement in re.findall(r"\braise exception\b[^;]*", manifest.read(name)):
            assert "errcode" in statement, name


def test_every_refusal_has_a_hint() -> None:
    for name in FUNCTIONS:
        if name != "functions/_refuse.sql":
            for arguments in _calls_of("pgflow._refuse(", manifest.read(name)):
                assert len(arguments) == 3, f"{name}: {arguments}"


def _calls_of(call: str, text: str) -> Iterator[list[str]]:
    """The arguments of each call; commas, parentheses and quotes inside of them are theirs."""
    for before in text.split(call)[1:]:
        arguments, depth, quoted = [""], 1, False
        for character in before:
            quoted ^= character == "'"
            depth += 0 if quoted else (character == "(") - (character == ")")
            if depth == 0:
                break
            if character == "," and depth == 1 and not quoted:
                arguments.append("")
            else:
                arguments[-1] += character
        yield arguments


def test_refusals_are_documented_with_their_class_and_no_others() -> None:
    errors = (Path(__file__).parents[2] / "docs" / "errors.md").read_text(encoding="utf-8")
    for page in (manifest.read("README.md"), errors):
        rows = dict(re.findall(r"^\| `(PF\d{3})` \| `(\w+)` \|", page, re.MULTILINE))
        assert rows == {code: cls.__name__ for code, cls in REFUSALS.items()}


def test_what_a_function_refuses_is_in_its_header() -> None:
    for name in FUNCTIONS:
        text = manifest.read(name)
        header = "\n".join(_header(text))
        raised = set(re.findall(r"pgflow\._refuse\('(PF\d{3})'", text))
        missing = {code for code in raised if code not in header}
        assert not missing, f"{name}: {missing}"


@pytest.mark.parametrize(
    ("constraint", "statuses"),
    [
        ("run_status_is_known", RunStatus),
        ("step_state_status_is_known", StepStatus),
        ("task_status_is_known", TaskStatus),
        ("step_type_is_known", StepType),
    ],
)
def test_statuses_in_python_and_sql_are_the_same(engine: Engine, constraint: str, statuses: Any) -> None:
    definition = engine.value("select pg_get_constraintdef(oid) from pg_constraint where conname = %s", constraint)
    assert set(re.findall(r"'([\w-]+)'::text", definition)) == {status.value for status in statuses}


def test_an_uninstalled_core_leaves_nothing_and_open_runs_forbid_it(engine: Engine) -> None:
    engine.flow("f", {"a": ()})
    engine.serve("f")
    engine.start("f")
    with pytest.raises(Exception, match="1 open run"):
        engine.conn.execute(manifest.uninstall_sql().encode())
    engine.work_off()
    engine.conn.execute(manifest.uninstall_sql().encode())
    assert engine.value("select count(*) from pg_namespace where nspname = 'pgflow'") == 0
    engine.conn.execute(manifest.install_sql().encode())
    assert engine.value("select pgflow.core_version()") == manifest.SCHEMA_VERSION
