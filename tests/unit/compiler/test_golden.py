"""Generated text, byte for byte, against the files of tests/golden (its README says how to write them anew)."""

import ast
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from flowdsl.compiler.compilation import Plan
from flowdsl.compiler.diff import FlowChange, diff
from flowdsl.compiler.migration import core_revision, flow_revision
from flowdsl.compiler.statements import split_statements
from flowdsl.core.manifest import install_sql, uninstall_sql
from flowdsl.model.shape import FlowShape

from .shapes import AWKWARD, CONDITIONAL, PLAIN, flow, step

GOLDEN = Path(__file__).parents[2] / "golden"
GENERATOR = "flowdsl 0.0.0"
LOUDER = flow("hello", step("greet"), step("shout", "greet", max_attempts=9), returns="shout", timeout=5)
LONGER = flow("hello", step("greet"), step("shout", "greet"), step("print_it", "shout"), timeout=5)


def changes(*pairs: tuple[FlowShape | None, FlowShape, int]) -> list[FlowChange]:
    found = [diff(old, new, version=version) for old, new, version in pairs]
    assert None not in found
    return [change for change in found if change is not None]


def migration(*pairs: tuple[FlowShape | None, FlowShape, int], message: str | None = None) -> str:
    return flow_revision("0123456789ab", changes(*pairs), message=message, generator=GENERATOR).text


def plain_sql(*pairs: tuple[FlowShape | None, FlowShape, int]) -> str:
    return Plan(changes=tuple(changes(*pairs)), gone=(), tree=None, head=None).sql()


CALMER = flow("conditional", *CONDITIONAL.steps, deadline=3600)

CASES: dict[str, Callable[[], str]] = {
    "new_flow.py": lambda: migration((None, PLAIN, 0)),
    "awkward_text.py": lambda: migration((None, AWKWARD, 0), message='a "message" \\ with """ and %s {{ x }}\nmore'),
    "changed_options.py": lambda: migration((PLAIN, LOUDER, 1)),
    "next_version.py": lambda: migration((PLAIN, LONGER, 1)),
    "several_flows.py": lambda: migration((None, PLAIN, 0), (None, flow("other", step("only")), 0)),
    "conditions.py": lambda: migration((None, CONDITIONAL, 0)),
    "conditions.sql": lambda: plain_sql((None, CONDITIONAL, 0)),
    "deadline.sql": lambda: plain_sql((CONDITIONAL, CALMER, 1)),
    "new_flow.sql": lambda: plain_sql((None, PLAIN, 0)),
    "awkward_text.sql": lambda: plain_sql((None, AWKWARD, 0)),
    "changed_options.sql": lambda: plain_sql((PLAIN, LOUDER, 1)),
    "next_version.sql": lambda: plain_sql((PLAIN, LONGER, 1)),
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
    change = changes((None, PLAIN, 0))
    one = flow_revision("p", change, generator="flowdsl 1")
    two = flow_revision("p", change, generator="flowdsl 2")
    assert one.revision == two.revision
    assert flow_revision("q", change).revision != one.revision
    assert flow_revision("p", change, message="m").revision != one.revision


@pytest.mark.parametrize("message", ["", " \n ", "\n\nsecond line first\n"])
def test_an_empty_message_is_no_trouble(message: str) -> None:
    revision = flow_revision("p", changes((None, PLAIN, 0)), message=message)
    assert revision.message in ("pgflow: hello v1", "pgflow", "second line first")
    ast.parse(revision.text)
