"""The generated migrations in a real database: up, down, up again, online and as SQL, always the same catalogue."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.operations import Operations
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flowdsl.compiler import quoting
from flowdsl.compiler.compilation import plan
from flowdsl.compiler.execute import run_sql
from flowdsl.core.manifest import install_sql, uninstall_sql
from flowdsl.database import sqlalchemy_url
from flowdsl.types import JsonValue
from tests.unit.compiler.shapes import AWKWARD, AWKWARD_TEXTS, CONDITIONAL, PLAIN, flow, step

from .migration_support import MigratedProject, catalogue, psql

NEXT = flow("hello", step("greet"), step("shout", "greet"), step("count_it", over="shout", run=True), timeout=9)
LOUDER = flow("hello", step("greet", retry_on=("ValueError",)), *NEXT.steps[1:], timeout=9, queue="loud", priority=3)


@pytest.fixture
def project(tmp_path: Path, empty_dsn: str) -> MigratedProject:
    return MigratedProject.new(tmp_path, empty_dsn)


def rows(url: str, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url) as conn:
        return conn.execute(query.encode()).fetchall()


def test_up_down_and_up_again_leaves_the_identical_catalogue_at_every_revision(project: MigratedProject) -> None:
    states = {"base": project.catalogue()}
    project.alembic("upgrade", "+1")
    states["core"] = project.catalogue()
    for name, shapes in (("first", [PLAIN, AWKWARD]), ("next", [NEXT, AWKWARD]), ("options", [LOUDER, AWKWARD])):
        project.compile(*shapes)
        project.alembic("upgrade", "head")
        states[name] = project.catalogue()
    # Each revision changed something, else the comparison below would prove nothing.
    assert len({json.dumps(state, default=str) for state in states.values()}) == 5
    for name in ("next", "first", "core", "base"):
        project.alembic("downgrade", "-1")
        assert project.catalogue() == states[name], name
    project.alembic("upgrade", "head")
    assert project.catalogue() == states["options"]
    project.alembic("downgrade", "base")
    assert project.catalogue() == states["base"]


def test_the_sql_mode_leaves_the_same_catalogue_as_the_online_mode(project: MigratedProject, dsn: str) -> None:
    project.compile(PLAIN, AWKWARD)
    project.compile(NEXT, AWKWARD)
    up = project.alembic("upgrade", "head", "--sql", database=False)
    down = project.alembic("downgrade", "head:base", "--sql", database=False)
    project.alembic("upgrade", "head")
    online = project.catalogue()
    project.alembic("downgrade", "base")
    with psycopg.connect(project.url, autocommit=True) as conn:
        conn.execute("drop table alembic_version")
    psql(project.url, up)
    assert project.catalogue() == online
    assert project.alembic("current").strip().endswith("(head)")
    psql(project.url, down)
    assert project.catalogue()["functions"] == []
    # `dsn` has the core from its own SQL, without any migration.
    assert {name: value for name, value in catalogue(dsn).items() if name not in DEFINED} == {
        name: value for name, value in online.items() if name not in DEFINED
    }


DEFINED = ("flows", "flow_versions", "steps", "deps")


def test_the_sql_mode_neither_needs_nor_starts_a_database(project: MigratedProject) -> None:
    text = project.alembic("upgrade", "head", "--sql", database=False)
    assert "create schema pgflow;" in text
    assert not (project.directory / ".pgflow").exists()


def test_the_core_works_without_alembic(project: MigratedProject, dsn: str) -> None:
    before = catalogue(dsn)
    psql(dsn, f"begin;\n{uninstall_sql()}\ncommit;")
    assert catalogue(dsn)["functions"] == []
    psql(dsn, f"begin;\n{install_sql()}\ncommit;")
    assert catalogue(dsn) == before
    psql(dsn, plan([PLAIN, AWKWARD], project.directory, for_sql=True).sql())
    project.compile(PLAIN, AWKWARD)
    project.alembic("upgrade", "head")
    assert catalogue(dsn) == project.catalogue()


def test_awkward_text_arrives_unharmed(project: MigratedProject) -> None:
    project.compile(AWKWARD)
    project.alembic("upgrade", "head")
    expected = {step.slug: step.options["queue"] for step in AWKWARD.steps}
    assert dict(rows(project.url, "select step_slug, opt_queue from pgflow.steps")) == expected
    assert set(AWKWARD_TEXTS) <= set(expected.values())
    assert rows(project.url, "select opt_queue, opt_priority from pgflow.flows") == [(AWKWARD.options["queue"], 7)]
    ((retry_on,),) = rows(project.url, "select opt_retry_on from pgflow.steps where step_slug = 'each'")
    assert tuple(retry_on) == ("ValueError", "shop.errors.Gone")


def test_conditions_and_a_deadline_arrive_unharmed_and_go_again(project: MigratedProject) -> None:
    project.alembic("upgrade", "head")
    before = project.catalogue()
    project.compile(CONDITIONAL)
    text = project.alembic("upgrade", "head", "--sql", database=False)
    project.alembic("upgrade", "head")
    columns = "step_slug, required_input_pattern, forbidden_input_pattern, when_unmet, when_exhausted"
    found = {slug: tuple(rest) for slug, *rest in rows(project.url, f"select {columns} from pgflow.steps")}
    assert found == {
        step.slug: (
            step.required_input_pattern and step.required_input_pattern.value,
            step.forbidden_input_pattern and step.forbidden_input_pattern.value,
            step.when_unmet,
            step.when_exhausted,
        )
        for step in CONDITIONAL.steps
    }
    assert rows(project.url, "select opt_deadline from pgflow.flows") == [(86400,)]
    online = project.catalogue()
    calmer = replace(CONDITIONAL, options=flow("conditional", deadline=None).options)
    project.compile(calmer)
    project.alembic("upgrade", "head")
    assert rows(project.url, "select opt_deadline from pgflow.flows") == [(None,)]
    project.alembic("downgrade", "-1")
    assert project.catalogue() == online
    project.alembic("downgrade", "-1")
    assert project.catalogue() == before
    project.alembic("downgrade", "base")
    with psycopg.connect(project.url, autocommit=True) as conn:
        conn.execute("drop table alembic_version")
    psql(project.url, text)
    assert project.catalogue() == online


def test_steps_arrive_in_order_with_their_edges_and_options(project: MigratedProject) -> None:
    project.compile(AWKWARD)
    project.alembic("upgrade", "head")
    found = rows(
        project.url, "select step_slug, step_type, map_over, uses_run_input from pgflow.steps order by step_index"
    )
    assert found == [(s.slug, s.step_type.value, s.map_over, s.uses_run_input) for s in AWKWARD.steps]
    options = rows(
        project.url,
        "select opt_max_attempts, opt_base_delay, opt_max_delay, opt_timeout, opt_start_delay from pgflow.steps"
        " where step_slug = 'list_it'",
    )
    assert options == [(5, 0, 10, 30, 3)]
    edges = rows(project.url, "select step_slug, dep_slug from pgflow.deps order by 1, 2")
    assert edges == sorted((s.slug, dep) for s in AWKWARD.steps for dep in s.deps)
    versions = rows(project.url, "select flow_slug, flow_version, fingerprint, output_step from pgflow.flow_versions")
    assert versions == [("awkward", 1, AWKWARD.fingerprint, None)]


def test_new_runs_get_the_new_version_and_the_old_one_stays(project: MigratedProject) -> None:
    project.compile(PLAIN)
    project.alembic("upgrade", "head")
    project.compile(NEXT)
    project.alembic("upgrade", "head")
    assert rows(project.url, "select current_version, opt_timeout from pgflow.flows") == [(2, 9)]
    assert rows(project.url, "select flow_version, count(*) from pgflow.steps group by 1 order by 1") == [
        (1, 2),
        (2, 3),
    ]


def test_a_downgrade_under_open_runs_is_refused_and_changes_nothing(project: MigratedProject) -> None:
    project.compile(PLAIN)
    project.alembic("upgrade", "head")
    rows(project.url, "select * from pgflow.start_flow('hello', '\"x\"')")
    before = project.catalogue()
    result = project.try_alembic("downgrade", "-1")
    assert result.code != 0
    assert "has 1 open run" in result.err
    assert project.catalogue() == before


def test_a_failing_upgrade_leaves_nothing_behind(project: MigratedProject) -> None:
    project.compile(PLAIN)
    project.alembic("upgrade", "head-1")
    before = project.catalogue()
    with psycopg.connect(project.url) as conn:
        conn.execute("select pgflow.create_flow('hello', fingerprint => 'another')")
    result = project.try_alembic("upgrade", "head")
    assert result.code != 0
    assert "with another shape" in result.err
    with psycopg.connect(project.url) as conn:
        conn.execute("select pgflow.drop_flow_version('hello', 1)")
    assert project.catalogue() == before


def test_the_environment_takes_a_url_by_option_and_an_open_connection(project: MigratedProject) -> None:
    project.alembic("-x", f"database-url={project.url}", "upgrade", "head", database=False)
    assert project.catalogue()["functions"] != []
    config = Config(project.directory / "alembic.ini", output_buffer=StringIO(), stdout=StringIO())
    engine = sa.create_engine(sqlalchemy_url(project.url), poolclass=sa.NullPool)
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "base")
    assert project.catalogue()["functions"] == []


def test_a_downgrade_under_open_runs_says_what_to_do_without_a_traceback(project: MigratedProject) -> None:
    project.compile(PLAIN)
    project.alembic("upgrade", "head")
    with psycopg.connect(project.url, autocommit=True) as conn:
        conn.execute("select pgflow.start_flow('hello', '{}')")
        conn.execute("select pgflow.start_flow('hello', '{}')")
    refused = project.try_alembic("downgrade", "-1")
    assert refused.code != 0
    said = refused.err + refused.out
    assert "FAILED: flow 'hello' version 1 has 2 open runs\n" in said
    assert (
        "Wait until they have ended (pgflow runs --flow hello --status started), or cancel them (pgflow cancel RUN)"
        in said
    )
    assert "Traceback" not in refused.err


def test_a_database_nobody_can_reach_is_a_message_and_no_traceback(project: MigratedProject) -> None:
    nowhere = "database-url=postgresql://nobody@127.0.0.1:1/nothing"
    refused = project.try_alembic("-x", nowhere, "upgrade", "head")
    assert refused.code != 0
    assert "Check that PostgreSQL runs" in refused.err + refused.out
    assert "Traceback" not in refused.err


def test_without_any_database_named_the_embedded_one_is_used(project: MigratedProject) -> None:
    project.alembic("upgrade", "head", database=False)
    assert (project.directory / ".pgflow").is_dir()
    assert project.alembic("current", database=False).strip().endswith("(head)")


# ---- any text at all -------------------------------------------------------------------------------------------------

TEXTS = st.lists(
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=30)
    | st.lists(st.sampled_from([*"':%{}$\\\"-/*;", "%%", "$$", ":a", "{{", "\n", "E'", "?", "\\'"])).map("".join)
    | st.sampled_from(AWKWARD_TEXTS),
    max_size=12,
)
KEYS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | KEYS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=12,
)
ANY_TEXT = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@pytest.fixture
def scratch(empty_dsn: str) -> str:
    with psycopg.connect(empty_dsn) as conn:
        conn.execute("create table scratch (id int generated always as identity, t text, j jsonb, a text[])")
    return empty_dsn


def insertions(texts: list[str], value: JsonValue) -> list[str]:
    """Statements with each text as a literal, in JSON, in an array and in a comment."""
    statements = [
        f"insert into scratch (t, j, a) values ({quoting.literal(text)}, {quoting.jsonb([text, value])},"
        f" {quoting.text_array([text, *texts])});"
        for text in texts
    ]
    return [f"{quoting.remark(text)}\n{statement}" for text, statement in zip(texts, statements, strict=True)]


def stored(conn: "psycopg.Connection[Any]") -> list[tuple[Any, ...]]:
    found = conn.execute("select t, j, a from scratch order by id").fetchall()
    conn.execute("truncate scratch")
    conn.commit()
    return found


def arrived(texts: list[str], value: JsonValue) -> list[tuple[Any, ...]]:
    return [(text, [text, value], [text, *texts]) for text in texts]


@contextmanager
def online(url: str, **parameters: str) -> Iterator[Callable[[list[str]], None]]:
    options = " ".join(f"-c {name}={value}" for name, value in parameters.items())
    engine = sa.create_engine(sqlalchemy_url(url), poolclass=sa.NullPool, connect_args={"options": options})
    with engine.connect() as connection:
        op = Operations(MigrationContext.configure(connection))

        def run(statements: list[str]) -> None:
            for statement in statements:
                run_sql(op, statement)
            connection.commit()

        yield run


@pytest.mark.parametrize("conforming", ["on", "off"])
def test_any_text_passes_through_the_online_mode(scratch: str, conforming: str) -> None:
    with online(scratch, standard_conforming_strings=conforming) as run, psycopg.connect(scratch) as conn:

        @ANY_TEXT
        @given(texts=TEXTS, value=JSON)
        def check(texts: list[str], value: JsonValue) -> None:
            run(insertions(texts, value))
            assert stored(conn) == arrived(texts, value)

        check()


def test_any_text_passes_through_the_sql_mode(scratch: str) -> None:
    with psycopg.connect(scratch) as conn:

        @settings(ANY_TEXT, max_examples=25)
        @given(texts=TEXTS, value=JSON)
        def check(texts: list[str], value: JsonValue) -> None:
            buffer = StringIO(newline="")
            context = MigrationContext.configure(
                dialect_name="postgresql",
                opts={"as_sql": True, "output_buffer": buffer, "literal_binds": True},
                dialect_opts={"paramstyle": "named"},
            )
            for statement in insertions(texts, value):
                run_sql(Operations(context), statement)
            psql(scratch, buffer.getvalue())
            assert stored(conn) == arrived(texts, value)

        check()


def test_run_sql_means_what_it_says_where_alembics_own_execute_does_not(scratch: str) -> None:
    statement = """do $fn$ begin
        raise notice '100 %% :name %', '{"a":1}';
        insert into scratch (t) values (':name %s %% {{ x }} \\'), ('{"a":1}');
    end $fn$"""
    with online(scratch) as run, psycopg.connect(scratch) as conn:
        run([statement])
        assert stored(conn) == [(":name %s %% {{ x }} \\", None, None), ('{"a":1}', None, None)]
