"""The lines that problems propose: each call, put in the place of the wrong one, has to be right for both rings."""

import ast
from collections.abc import Iterator
from dataclasses import replace
from types import ModuleType

from flowdsl import DefinitionError
from flowdsl.errors import Problem
from tests.typing.definition import imported_modules
from tests.typing.entry import Entry, Table
from tests.typing.source import Sources, function_name, module_name


def mended(sources: Sources, table: Table) -> Table:
    """Return the mistakes for which a call is proposed, with that as the correct snippet."""
    with imported_modules(sources) as modules:
        return tuple(_mended(modules, table))


def _mended(modules: dict[str, ModuleType], table: Table) -> Iterator[Entry]:
    for entry in table:
        problems = _problems(modules[module_name(entry.topic)], entry)
        # A changed signature, the other thing that is proposed, is that of a function which all snippets share.
        if len(problems) == 1 and (problems[0].mended or "").startswith("."):
            *before, last = entry.wrong.splitlines()
            right = "\n".join([*before, f"{_receiver(last)}{problems[0].mended}"])
            yield replace(entry, topic=f"mended {entry.topic}", right=right)


def _problems(module: ModuleType, entry: Entry) -> tuple[Problem, ...]:
    if not entry.is_defined:
        return ()
    try:
        getattr(module, function_name(entry, "wrong"))()
    except DefinitionError as error:
        return error.problems
    except Exception:  # refused by Python or a reference, which propose nothing
        return ()
    return ()


def _receiver(line: str) -> str:
    """Return all of a line before its last call: `base.step(f)` of `base.step(f).step(g, f)`."""
    statement = ast.parse(line).body[0]
    assert isinstance(statement, ast.Expr | ast.AnnAssign)
    call = statement.value
    assert isinstance(call, ast.Call)
    assert isinstance(call.func, ast.Attribute)
    return line[: call.func.value.end_col_offset]
