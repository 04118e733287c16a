"""The SQL core as package data: which files make it up, in which order, and its schema version.

One SQL object per file. The text is what `pgflow init` writes into the revision that installs the core, so that an
installed database never depends on a newer package.
"""

from importlib.resources import files
from typing import Final

SCHEMA_VERSION: Final = 2
"""What `pgflow.core_version()` answers. Raised with every change of the shipped SQL."""

# Table constraints and defaults call these, so they come before the tables.
_BEFORE_TABLES: Final = ("is_valid_slug", "_is_valid_queue", "_new_run_id")

# Bodies that are parsed when they are created: what they call or read must exist.
_PARSED_EARLY: Final = ("_now", "_visible_at", "_json_size", "_pattern_shape")


def file_names() -> tuple[str, ...]:
    """Paths of the core's files below `flowdsl/core`, in the order of their execution."""
    tables = sorted(p.name for p in files(__package__).joinpath("schema").iterdir() if p.name.endswith(".sql"))
    functions = sorted(
        p.name.removesuffix(".sql")
        for p in files(__package__).joinpath("functions").iterdir()
        if p.name.endswith(".sql")
    )
    late = [name for name in functions if name not in (*_BEFORE_TABLES, *_PARSED_EARLY)]
    return (
        "schema/010_schema.sql",
        *(f"functions/{name}.sql" for name in _BEFORE_TABLES),
        *(f"schema/{name}" for name in tables if "011" < name < "090"),
        *(f"functions/{name}.sql" for name in (*_PARSED_EARLY, *late)),
        *(f"schema/{name}" for name in tables if name >= "090"),
    )


def read(name: str) -> str:
    """The text of one of the core's files."""
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def install_sql() -> str:
    """The SQL that installs the core into a database without a `pgflow` schema; run it in one transaction."""
    return "\n".join(read(name) for name in file_names())


def uninstall_sql() -> str:
    """The SQL that removes the core with all flows and runs; it refuses (PF411) while runs are open."""
    return read("uninstall.sql")
