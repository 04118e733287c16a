"""Imports point down only, and `import flowdsl` stays light.

The table says what each part may import; whatever is absent is forbidden. Imports inside of functions count too: a layer is
about knowledge, not about time. So do those for type checking.
"""

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

import flowdsl

PACKAGE = Path(flowdsl.__file__).parent
BASE = frozenset({"errors", "types", "suggest"})


@dataclass(frozen=True, kw_only=True)
class Rule:
    """What a part of the package may import: parts of ours and libraries, and what only some of its modules may."""

    ours: frozenset[str] = frozenset()
    libraries: frozenset[str] = frozenset()
    libraries_of: dict[str, frozenset[str]] = field(default_factory=dict)
    ours_of: dict[str, frozenset[str]] = field(default_factory=dict)


PYDANTIC = frozenset({"pydantic", "pydantic_core", "typing_extensions"})
DRIVER = frozenset({"psycopg", "psycopg_pool"})
MIGRATIONS = frozenset({"alembic", "sqlalchemy"})
RULES = {
    "errors": Rule(ours=BASE),
    "types": Rule(ours=BASE),
    "suggest": Rule(ours=BASE),
    "model": Rule(ours=BASE, libraries=PYDANTIC),
    "core": Rule(ours=frozenset({"types"})),
    "compiler": Rule(
        ours=BASE | {"model", "core.manifest"},
        libraries=frozenset({"jinja2"}),
        libraries_of={"revision": MIGRATIONS, "execute": MIGRATIONS, "autogenerate": MIGRATIONS},
        # Alembic calls it, not the command line, so it has to find the project's flows itself.
        ours_of={"autogenerate": frozenset({"database"})},
    ),
    "gateway": Rule(ours=frozenset({"errors", "types", "core.manifest"}), libraries=DRIVER),
    "runtime": Rule(ours=BASE | {"model", "gateway"}),
    # Beside the runtime, which takes any executor: these know clusters, and nothing of flows.
    "clusters": Rule(
        ours=BASE,
        libraries_of={"dask": frozenset({"distributed", "cloudpickle"}), "ray": frozenset({"ray"})},
    ),
    # Above the model, whose schemas it reads, and below the client, which checks by them; it asks no database.
    "references": Rule(
        ours=BASE | {"model"},
        libraries=frozenset({"jinja2", "pydantic", "pydantic_core"}),
        libraries_of={
            "models": frozenset({"datamodel_code_generator"}),
            "validation": frozenset({"jsonschema", "referencing"}),
            "keywords": frozenset({"jsonschema"}),
        },
    ),
    "client": Rule(ours=BASE | {"model", "gateway", "references"}),
    "postgres": Rule(ours=BASE),
    "embedded": Rule(ours=BASE | {"postgres"}),
    "database": Rule(ours=BASE | {"embedded"}),
    # It looks from outside at what the others do, so it has statements of its own.
    "torture": Rule(
        ours=BASE | {"model", "core", "compiler", "gateway", "runtime", "client", "postgres"},
        libraries=DRIVER | {"pydantic"},
    ),
    # As torture is: it measures the others from outside.
    "bench": Rule(
        ours=BASE | {"model", "core", "compiler", "gateway", "runtime", "client", "postgres"},
        libraries=DRIVER | {"pydantic"},
    ),
    "cli": Rule(
        ours=BASE
        | {
            "model",
            "core",
            "compiler",
            "gateway",
            "runtime",
            "client",
            "references",
            "database",
            "torture",
            "bench",
            "clusters",
        },
        libraries=frozenset({"typer", "rich", "pydantic"}),
    ),
    # The public face: what is needed to define a flow.
    "": Rule(ours=BASE | {"model"}),
}


def part_of(file: Path) -> str:
    """Return the part a file belongs to: a subpackage, a top-level module, or "" for the package itself."""
    first = file.relative_to(PACKAGE).parts[0]
    return "" if first == "__init__.py" else first.removesuffix(".py")


def imported(file: Path) -> Iterator[str]:
    """Yield the full name of everything a file imports, `package.module` or `package.module.name`."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def breaches(file: Path) -> list[str]:
    """Return what a file imports in spite of the table."""
    part = part_of(file)
    rule = RULES[part]
    libraries = rule.libraries | rule.libraries_of.get(file.stem, frozenset())
    ours = rule.ours | rule.ours_of.get(file.stem, frozenset())
    found = []
    for name in imported(file):
        root, *rest = name.split(".")
        if root == "flowdsl":
            allowed = rest[0] == part or rest[0] in ours or ".".join(rest[:2]) in ours
        else:
            allowed = root in libraries or root in sys.stdlib_module_names
        if not allowed:
            found.append(f"{file.relative_to(PACKAGE)} may not import {name}")
    return found


def test_every_part_of_the_package_has_a_rule() -> None:
    parts = {part_of(file) for file in PACKAGE.rglob("*.py")}
    assert parts == set(RULES)


@pytest.mark.parametrize("part", sorted(RULES))
def test_imports_point_down_only(part: str) -> None:
    files = [file for file in sorted(PACKAGE.rglob("*.py")) if part_of(file) == part]
    assert files
    assert [breach for file in files for breach in breaches(file)] == []


def test_the_rule_catches_an_upward_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{__name__}.PACKAGE", tmp_path)
    file = tmp_path / "model" / "flow.py"
    file.parent.mkdir()
    file.write_text(
        "import json\nimport pydantic\n\ndef f() -> None:\n    from flowdsl.gateway.calls import claim_tasks\n    import psycopg\n"
    )
    assert breaches(file) == [
        "model/flow.py may not import flowdsl.gateway.calls.claim_tasks",
        "model/flow.py may not import psycopg",
    ]


def test_importing_flowdsl_loads_no_driver_no_migration_tool_and_no_command_line() -> None:
    heavy = [
        "psycopg",
        "psycopg_pool",
        "alembic",
        "sqlalchemy",
        "typer",
        "rich",
        "jinja2",
        "flowdsl.gateway",
        "flowdsl.cli",
    ]
    script = f"import json, sys, flowdsl; print(json.dumps([name for name in {heavy} if name in sys.modules]))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []


def test_showing_the_help_loads_no_driver_and_no_migration_tool() -> None:
    heavy = ["psycopg", "alembic", "sqlalchemy", "jinja2"]
    script = (
        "import json, sys\n"
        "from flowdsl.cli.app import main\n"
        "sys.argv = ['pgflow', '--help']\n"
        "try:\n    main()\n"
        f"except SystemExit:\n    print(json.dumps([name for name in {heavy} if name in sys.modules]), file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert json.loads(done.stderr) == []
