"""Generated text, byte for byte, against the files of tests/golden (its README says how to write them anew)."""

import ast
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from flowdsl.compiler.compilation import Plan
from flowdsl.compiler.diff import FlowChange, diff, removal
from flowdsl.compiler.migration import core_revision, flow_revision
from flowdsl.compiler.statements import split_statements
from flowdsl.core.manifest import install_sql, uninstall_sql
from flowdsl.model.shape import FlowShape

from .shapes import (
    AWKWARD,
    AWKWARD_PREDICATE,
    CONDITIONAL,
    PLAIN,
    TYPED,
    TYPED_NEXT,
    flow,
    step,
    versions,
)

GOLDEN = Path(__file__).parents[2] / "golden"
GENERATOR = "flowdsl 0.0.0"
LOUDER = flow("hello", step("greet"), step("shout", "greet", max_attempts=9), returns="shout", timeout=5)
LONGER = flow("hello", step("greet"), step("shout", "greet"), step("print_it", "shout"), timeout=5)


def change(new: FlowShape | None, *history: FlowShape, is_retired: bool = False) -> FlowChange:
    found = diff(versions(*history), new, is_retired=is_retired)
    assert found is not None
    return found


def migration(*changes: FlowChange, message: str | None = None) -> str:
    return flow_revision("0123456789ab", changes, message=message, generator=GENERATOR).text


def plain_sql(*changes: FlowChange) -> str:
    return Plan(changes=changes).sql()


CALMER = flow("conditional", *CONDITIONAL.steps, deadline=3600)
DROPPED = removal(versions(PLAIN, LONGER), is_retired=True)

CASES: dict[str, Callable[[], str]] = {
    "new_flow.py": lambda: migration(change(PLAIN)),
    "awkward_text.py": lambda: migration(change(AWKWARD), message='a "message" \\ with """ and %s {{ x }}\nmore'),
    "changed_options.py": lambda: migration(change(LOUDER, PLAIN)),
    "next_version.py": lambda: migration(change(LONGER, PLAIN)),
    "several_flows.py": lambda: migration(change(PLAIN), change(flow("other", step("only")))),
    "conditions.py": lambda: migration(change(CONDITIONAL)),
    "typed.py": lambda: migration(change(TYPED_NEXT, TYPED)),
    "retired_and_dropped.py": lambda: migration(change(None, AWKWARD_PREDICATE), DROPPED),
    "restored.py": lambda: migration(change(LONGER, PLAIN, is_retired=True)),
    "conditions.sql": lambda: plain_sql(change(CONDITIONAL)),
    "deadline.sql": lambda: plain_sql(change(CALMER, CONDITIONAL)),
    "new_flow.sql": lambda: plain_sql(change(PLAIN)),
    "typed.sql": lambda: plain_sql(change(AWKWARD_PREDICATE), change(TYPED)),
    "awkward_text.sql": lambda: plain_sql(change(AWKWARD)),
    "changed_options.sql": lambda: plain_sql(change(LOUDER, PLAIN)),
    "next_version.sql": lambda: plain_sql(change(LONGER, PLAIN)),
    "retired_and_dropped.sql": lambda: plain_sql(change(None, AWKWARD_PREDICATE), DROPPED),
}


@pytest.mark.parametrize("name", CASES)
def test_generated_text_is_the_golden_file(name: str) -> None:
    path = GOLDEN / name
    text = CASES[name]()
    if os.environ.get("FLOWDSL_WRITE_GOLDEN"):
        path.write_bytes(text.encode())
    assert path.read_bytes() == text.encode()


def test_every_golden_file_belongs_to_a_case() -> None:
    assert {path.name for path in GOLDEN.iterdir() if path.suffix in (".py", ".sql")} == set(CASES)


def constants(text: str) -> dict[str, object]:
    return {
        target.id: ast.literal_eval(statement.value)
        for statement in ast.parse(text).body
        if isinstance(statement, ast.Assign)
        for target in statement.targets
        if isinstance(target, ast.Name)
    }


def test_the_core_revision_holds_the_whole_core() -> None:
    revision = core_revision(None, generator=GENERATOR)
    found = constants(revision.text)
    for constant, script in (("UPGRADE", install_sql()), ("DOWNGRADE", uninstall_sql())):
        statements = found[constant]
        assert isinstance(statements, tuple)
        assert tuple(statement.strip() for statement in statements) == split_statements(script)
    assert (found["revision"], found["down_revision"]) == (revision.revision, None)
    assert core_revision(None, generator=GENERATOR) == revision
    assert core_revision("abc").revision != revision.revision


def test_the_id_depends_on_what_is_done_and_not_on_who_generated_it() -> None:
    created = [change(PLAIN)]
    one = flow_revision("p", created, generator="flowdsl 1")
    two = flow_revision("p", created, generator="flowdsl 2")
    assert one.revision == two.revision
    assert flow_revision("q", created).revision != one.revision
    assert flow_revision("p", created, message="m").revision != one.revision


@pytest.mark.parametrize("message", ["", " \n ", "\n\nsecond line first\n"])
def test_an_empty_message_is_no_trouble(message: str) -> None:
    revision = flow_revision("p", [change(PLAIN)], message=message)
    assert revision.message in ("pgflow: hello v1", "pgflow", "second line first")
    ast.parse(revision.text)
