"""An upgraded core is the core that a fresh install makes, object by object, however it came there."""

import re
from pathlib import Path
from typing import Any

import psycopg
import pytest

from flowdsl.core import manifest
from tests.integration.migration_support import catalogue, psql

from .support import RELEASED, install_released, upgrade, version


def installed(url: str) -> int:
    with psycopg.connect(url) as conn:
        return int(conn.execute("select pgflow.core_version()").fetchone()[0])  # type: ignore[index]


def left_over(url: str) -> list[str]:
    with psycopg.connect(url) as conn:
        rows = conn.execute(
            "select p.proname from pg_proc p where p.pronamespace = 'pgflow'::regnamespace"
            " and obj_description(p.oid, 'pg_proc') like 'Gone: %' order by 1"
        ).fetchall()
    return [name for (name,) in rows]


def functions_of(released: int) -> set[str]:
    (text,) = (path.read_text() for path in RELEASED if version(path) == released)
    return set(re.findall(r"^create function pgflow\.(\w+)", text, re.MULTILINE))


def without(functions: list[str], found: dict[str, list[Any]]) -> dict[str, list[Any]]:
    kept = [row for row in found["functions"] if row[0].split("(")[0].removeprefix("pgflow.") not in functions]
    return {**found, "functions": kept}


def differences(one: dict[str, list[Any]], two: dict[str, list[Any]]) -> list[tuple[str, str, Any]]:
    """What only one of them has, in words that a failing test can show whole."""
    return [
        (kind, side, row)
        for kind in one
        for side, mine, others in (("only upgraded", one[kind], two[kind]), ("only fresh", two[kind], one[kind]))
        for row in mine
        if row not in others
    ]


@pytest.fixture(params=RELEASED, ids=lambda path: path.stem)
def old(request: pytest.FixtureRequest, empty_dsn: str) -> tuple[str, int]:
    """A database with a released core, and its version."""
    path: Path = request.param
    install_released(empty_dsn, path)
    assert installed(empty_dsn) == version(path)
    return empty_dsn, version(path)


def test_there_is_an_upgrade_from_every_released_version() -> None:
    assert [version(path) for path in RELEASED] == list(range(manifest.FIRST_VERSION, manifest.SCHEMA_VERSION))


def test_the_upgraded_catalogue_is_that_of_a_fresh_install(old: tuple[str, int], dsn: str) -> None:
    url, from_version = old
    upgrade(url, from_version)
    assert installed(url) == manifest.SCHEMA_VERSION
    kept = left_over(url)
    packaged = {name.removeprefix("functions/").removesuffix(".sql") for name in manifest.file_names()}
    assert set(kept) == functions_of(from_version) - packaged
    assert differences(without(kept, catalogue(url)), catalogue(dsn)) == []


def test_a_second_upgrade_takes_what_the_first_kept_for_calls_under_way(old: tuple[str, int], dsn: str) -> None:
    url, from_version = old
    upgrade(url, from_version)
    upgrade(url, from_version)
    assert left_over(url) == []
    assert differences(catalogue(url), catalogue(dsn)) == []
    upgrade(url, from_version)
    assert differences(catalogue(url), catalogue(dsn)) == []


def test_storage_settings_that_somebody_chose_stay(old: tuple[str, int]) -> None:
    url, from_version = old
    psql(url, "alter table pgflow.step_tasks set (fillfactor = 90, autovacuum_vacuum_scale_factor = 0.01)")
    upgrade(url, from_version)
    upgrade(url, from_version)
    with psycopg.connect(url) as conn:
        rows = conn.execute(
            "select relname, reloptions from pg_class where relname in ('runs', 'step_tasks')"
        ).fetchall()
    options: dict[str, list[str]] = dict(rows)
    assert options["step_tasks"] == ["fillfactor=90", "autovacuum_vacuum_scale_factor=0.01"]
    assert "fillfactor=45" in options["runs"]


def test_a_core_installed_in_the_same_transaction_keeps_nothing_old(empty_dsn: str, dsn: str) -> None:
    for path in RELEASED:
        psql(empty_dsn, f"begin;\n{path.read_text()}\n{manifest.upgrade_sql(version(path))}\ncommit;")
        assert differences(catalogue(empty_dsn), catalogue(dsn)) == []
        psql(empty_dsn, f"begin;\n{manifest.uninstall_sql()}\ncommit;")


def test_an_upgrade_is_nothing_for_a_core_of_the_present_version(dsn: str) -> None:
    before = catalogue(dsn)
    upgrade(dsn, manifest.FIRST_VERSION)
    assert differences(catalogue(dsn), before) == []


def test_the_index_that_the_documentation_makes_beforehand_is_the_one_of_the_upgrade(empty_dsn: str, dsn: str) -> None:
    install_released(empty_dsn, RELEASED[0])
    page = (Path(__file__).parents[2] / "docs" / "upgrading.md").read_text()
    (statement,) = re.findall(r"^```sql\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    psql(empty_dsn, statement)
    upgrade(empty_dsn, 1)
    assert catalogue(empty_dsn)["indexes"] == catalogue(dsn)["indexes"]


def test_a_newer_core_is_refused_and_left_as_it_is(dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute(
            "create or replace function pgflow.core_version() returns int language sql immutable as 'select 99'"
        )
        before = catalogue(dsn)
        with pytest.raises(psycopg.errors.FeatureNotSupported, match="has version 99, this upgrade leads from"):
            conn.execute(manifest.upgrade_sql(1).encode())
    assert catalogue(dsn) == before


@pytest.mark.parametrize("search_path", ["pgflow, public", "''", "pg_catalog"])
def test_the_search_path_of_the_session_does_not_matter(old: tuple[str, int], dsn: str, search_path: str) -> None:
    url, from_version = old
    psql(
        url,
        f"set search_path = {search_path};\nbegin;\n{manifest.upgrade_sql(from_version)}\ncommit;"
        "\nselect 1/(current_setting('search_path') in ('pgflow, public', '\"\"', 'pg_catalog'))::int;",
    )
    assert differences(without(left_over(url), catalogue(url)), catalogue(dsn)) == []


def test_rights_that_were_given_by_hand_stay(old: tuple[str, int], server: Any) -> None:
    url, from_version = old
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute("create role kept_rights")
        try:
            conn.execute(
                "grant execute on function pgflow.claim_tasks to kept_rights; grant select on pgflow.runs to kept_rights"
            )
            upgrade(url, from_version)
            rights = conn.execute(
                "select has_table_privilege('kept_rights', 'pgflow.runs', 'select'),"
                " has_function_privilege('kept_rights', 'pgflow.claim_tasks(uuid, int)', 'execute')"
            ).fetchone()
            assert rights == (True, True)
        finally:
            conn.execute("drop owned by kept_rights; drop role kept_rights")


def test_signatures_are_spelled_as_the_catalogue_spells_them(dsn: str) -> None:
    with psycopg.connect(dsn) as conn:
        conn.execute("set search_path = pg_catalog")
        rows = conn.execute(
            "select format('%s(%s) %s', proname, pg_get_function_identity_arguments(oid), pg_get_function_result(oid))"
            " from pg_proc where pronamespace = 'pgflow'::regnamespace"
        ).fetchall()
    names = [name for name in manifest.file_names() if name.startswith("functions/")]
    assert {manifest._signature(manifest.read(name)) for name in names} == {row[0] for row in rows}


@pytest.mark.parametrize("from_version", [0, manifest.SCHEMA_VERSION, manifest.SCHEMA_VERSION + 1])
def test_there_is_no_upgrade_from_other_versions(from_version: int) -> None:
    with pytest.raises(ValueError, match=f"from version {from_version}"):
        manifest.upgrade_sql(from_version)
