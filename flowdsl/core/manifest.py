"""The SQL core as package data: which files make it up, in which order, and its schema version.

One SQL object per file. The text is what `pgflow init` writes into the revision that installs the core, and `pgflow core
upgrade` into the one that upgrades it, so that an installed database never depends on a newer package.
"""

import re
from importlib.resources import files
from typing import Final

SCHEMA_VERSION: Final = 4
"""What `pgflow.core_version()` answers. Raised with every change of the shipped SQL."""

FIRST_VERSION: Final = 1
"""The oldest core that there are upgrades from."""

# Table constraints and defaults call these, so they come before the tables.
_BEFORE_TABLES: Final = ("is_valid_slug", "_is_valid_queue", "_new_run_id")

# Bodies that are parsed when they are created: what they call or read must exist.
_PARSED_EARLY: Final = ("_now", "_visible_at", "_json_size", "_pattern_shape", "_schemas_shape")


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


def upgrade_sql(from_version: int) -> str:
    """The SQL that brings an installed core from `from_version` to this one; run it in one transaction.

    It is safe with runs in flight and may be run again: every step of it leaves alone what is there already.

    Raises:
        ValueError: there is no upgrade from that version.
    """
    if not FIRST_VERSION <= from_version < SCHEMA_VERSION:
        raise ValueError(f"no upgrade leads from version {from_version} to {SCHEMA_VERSION}")
    names = file_names()
    functions = [read(name) for name in names if name.startswith("functions/")]
    signatures = "".join(f"\n    '{_signature(text)}'," for text in functions).removesuffix(",") + "\n  "
    return "\n".join(
        [
            read("upgrades/lock.sql").replace("/*from*/", str(from_version)).replace("/*to*/", str(SCHEMA_VERSION)),
            *(read(f"upgrades/{version:04}.sql") for version in range(from_version + 1, SCHEMA_VERSION + 1)),
            read("upgrades/functions.sql").replace("/*functions*/", signatures),
            *(_CREATE.sub(r"create or replace \1", text) for text in functions),
            *(read(name) for name in names if name >= "schema/090"),
        ]
    )


def uninstall_sql() -> str:
    """The SQL that removes the core with all flows and runs; it refuses (PF411) while runs are open."""
    return read("uninstall.sql")


# Where a file makes its function or trigger; PostgreSQL can do both in place.
_CREATE: Final = re.compile(r"^create (function|trigger)\b", re.MULTILINE)
_HEAD: Final = re.compile(
    r"^create function pgflow\.(?P<name>\w+)\((?P<arguments>.*?)\)\s+returns\s+(?P<result>.*?)\s+^language\b",
    re.MULTILINE | re.DOTALL,
)
# What PostgreSQL calls the types that the files abbreviate.
_TYPES: Final = {"bool": "boolean", "int": "integer", "timestamptz": "timestamp with time zone"}
_TYPE: Final = re.compile(rf"(?<= )({'|'.join(_TYPES)})(?=\[|$)")


def _signature(text: str) -> str:
    """The name, arguments and result of a file's function, as PostgreSQL's catalogue spells them."""
    head = _HEAD.search(re.sub(r"--[^\n]*", "", text))
    if head is None:
        raise ValueError(f"no function in {text[:80]!r}")
    result = " ".join(head["result"].split())
    if table := re.fullmatch(r"table ?\((.*)\)", result):
        result = f"TABLE({_spelled(table[1])})"
    else:
        result = _spelled(f"- {result}").removeprefix("- ").replace("setof ", "SETOF ")
    return f"{head['name']}({_spelled(head['arguments'])}) {result}"


def _spelled(arguments: str) -> str:
    names = (re.sub(r" default .*", "", " ".join(argument.split())) for argument in arguments.split(","))
    modes = (re.sub(r"^(out|inout|variadic) ", lambda mode: mode[0].upper(), name) for name in names)
    return ", ".join(_TYPE.sub(lambda match: _TYPES[match[1]], name) for name in modes)
