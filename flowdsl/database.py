"""Which database? One answer for the commands, the generated Alembic environment and applications.

The first of these wins: the URL given explicitly (`--database-url`), the environment's `DATABASE_URL`, `database-url` of
`[tool.pgflow]` in the project's `pyproject.toml`, and at last an embedded PostgreSQL in the project's `.pgflow/`, so that a
first try needs no server at all. The rest of `[tool.pgflow]` is read here too, since it sits in the same table.
"""

import os
import re
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from flowdsl.errors import ConfigError
from flowdsl.suggest import did_you_mean

if TYPE_CHECKING:
    from flowdsl.embedded import EmbeddedLease

SQLALCHEMY_SCHEME = "postgresql+psycopg"
PLAIN_SCHEMES = ("postgresql", "postgres")
EMBEDDED_HOME = ".pgflow"
KEYS = ("flows", "database-url", "alembic-config", "alembic-name")


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectConfig:
    """What `[tool.pgflow]` says; every field has its default when the table or the file is missing.

    `directory` is the project's: that of the `pyproject.toml` found, else the one the search began in. Relative paths of
    the table are relative to it. `lists_flows` tells an empty list of flows from a missing one.
    """

    directory: Path
    flows: tuple[str, ...] = ()
    lists_flows: bool = False
    database_url: str | None = None
    alembic_config: str = "alembic.ini"
    alembic_name: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Database:
    """A database to work on: its URL (`postgresql://…`), and where that came from, in words for the user."""

    url: str
    source: str
    embedded: "EmbeddedLease | None" = field(default=None, repr=False, compare=False)

    def close(self) -> None:
        """Give the embedded server back, if this is one (done anyway when the process ends)."""
        if self.embedded is not None:
            self.embedded.release()


def resolve_database(explicit: str | None = None, *, directory: Path | None = None) -> Database:
    """Return the database to use, starting the embedded one when no other is named. Connects to nothing, prints nothing.

    Raises ConfigError for a URL that is none, and when the embedded PostgreSQL is needed but not installed.
    """
    if explicit:
        return Database(url=plain_url(explicit, source="--database-url"), source="--database-url")
    if from_environment := os.environ.get("DATABASE_URL"):
        return Database(url=plain_url(from_environment, source="DATABASE_URL"), source="DATABASE_URL")
    config = project_config(directory)
    if config.database_url:
        return Database(url=plain_url(config.database_url, source="pyproject.toml"), source="pyproject.toml")
    return _embedded(config.directory / EMBEDDED_HOME)


def plain_url(url: str, *, source: str = "database URL") -> str:
    """Return the URL as psycopg and `psql` take it: `postgresql://…`, whatever driver SQLAlchemy was told to use."""
    return _with_scheme(url, "postgresql", source)


def sqlalchemy_url(url: str, *, source: str = "database URL") -> str:
    """Return the URL as SQLAlchemy and Alembic take it, with psycopg 3 as the driver: `postgresql+psycopg://…`."""
    return _with_scheme(url, SQLALCHEMY_SCHEME, source)


def project_config(directory: Path | None = None) -> ProjectConfig:
    """Read `[tool.pgflow]` of the nearest `pyproject.toml` that has it, from `directory` (default: the current) upwards.

    Raises ConfigError for a file that is not TOML, an unknown key or a value of the wrong type.
    """
    start = (directory or Path.cwd()).absolute()
    nearest: Path | None = None
    for candidate in (start, *start.parents):
        file = candidate / "pyproject.toml"
        if not file.is_file():
            continue
        nearest = nearest or candidate
        table = _pgflow_table(file)
        if table is not None:
            return _config(candidate, file, table)
    return ProjectConfig(directory=nearest or start)


def _pgflow_table(file: Path) -> Mapping[str, object] | None:
    try:
        document = tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} is not valid TOML: {error}") from error
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror}") from error
    tool = document.get("tool", {})
    table = tool.get("pgflow") if isinstance(tool, dict) else None
    if table is not None and not isinstance(table, dict):
        raise ConfigError(f"{file}: 'tool.pgflow' must be a table")
    return table


def _config(directory: Path, file: Path, table: Mapping[str, object]) -> ProjectConfig:
    for key in table:
        if key not in KEYS:
            raise ConfigError(
                f"{file}: [tool.pgflow] has no key '{key}'.",
                hint=f"{did_you_mean(key, KEYS)} Known keys: {', '.join(KEYS)}.".strip(),
            )
    flows = table.get("flows", [])
    if not isinstance(flows, list) or not all(isinstance(flow, str) for flow in flows):
        raise ConfigError(f'{file}: [tool.pgflow] flows must be a list of modules, such as ["shop.flows"]')
    return ProjectConfig(
        directory=directory,
        flows=tuple(flows),
        lists_flows="flows" in table,
        database_url=_text(file, table, "database-url"),
        alembic_config=_text(file, table, "alembic-config") or "alembic.ini",
        alembic_name=_text(file, table, "alembic-name"),
    )


def _text(file: Path, table: Mapping[str, object], key: str) -> str | None:
    value = table.get(key)
    if value is not None and not isinstance(value, str):
        raise ConfigError(f"{file}: [tool.pgflow] {key} must be a string")
    return value


def _with_scheme(url: str, scheme: str, source: str) -> str:
    given = url.partition("://")[0].partition("+")[0] if "://" in url else ""
    if given not in PLAIN_SCHEMES:
        raise ConfigError(
            f"{source}: '{_without_password(url)}' is not the URL of a PostgreSQL database.",
            hint="Write postgresql://user:password@host:5432/database",
        )
    return f"{scheme}://{url.partition('://')[2]}"


def _without_password(url: str) -> str:
    return re.sub(r"(://[^/@:]*):[^@]*@", r"\1:***@", url)


def _embedded(home: Path) -> Database:
    if sys.platform == "win32":
        raise ConfigError(
            "No database is named, and the embedded PostgreSQL does not run on Windows.",
            hint="Name one with --database-url, DATABASE_URL, or database-url in [tool.pgflow].",
        )
    from flowdsl.embedded import use_embedded

    lease = use_embedded(home)
    return Database(url=lease.url, source=f"embedded PostgreSQL in {home}", embedded=lease)
