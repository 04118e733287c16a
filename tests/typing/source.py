"""From the table to the files that checkers read and definitions run from: two functions per entry, one module per topic.

A function of its own keeps one mistake from hiding another; a module per topic keeps the checkers' runs few.
"""

import ast
import inspect
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import flowdsl
import flowdsl.client
from tests.typing import declarations
from tests.typing.entry import Entry, Table

Place = tuple[str, int]
"""The name of a file and the number of a line in it."""


@dataclass(frozen=True, slots=True)
class Sources:
    """The files generated from a table, and where each entry stands in them."""

    directory: Path
    files: tuple[Path, ...]
    mistakes: Mapping[Place, Entry]
    mistaken: Mapping[Place, Entry] = field(repr=False)
    correct: Mapping[Place, Entry] = field(repr=False)

    def function(self, entry: Entry, kind: str) -> tuple[str, str]:
        return module_name(entry.topic), function_name(entry, kind)


def module_name(topic: str) -> str:
    return f"case_{_identifier(topic)}"


def function_name(entry: Entry, kind: str) -> str:
    return f"{kind}_{_identifier(entry.name)}"


def write_sources(table: Table, directory: Path) -> Sources:
    """Write one module per topic into the directory, and beside them what they import."""
    shutil.copy(declarations.__file__, directory / "declarations.py")
    mistakes: dict[Place, Entry] = {}
    mistaken: dict[Place, Entry] = {}
    correct: dict[Place, Entry] = {}
    files = []
    for topic in dict.fromkeys(entry.topic for entry in table):
        entries = [entry for entry in table if entry.topic == topic]
        file = directory / f"{module_name(topic)}.py"
        lines = _imports(entries)
        for entry in entries:
            lines += ["", "", f"# {entry.name}"]
            for kind, places in (("wrong", mistaken), ("right", correct)):
                body = _function(entry, kind)
                places.update(((file.name, len(lines) + number), entry) for number in range(1, len(body) + 1))
                lines += body
                if kind == "wrong":
                    mistakes[file.name, len(lines)] = entry
        file.write_text("\n".join(lines) + "\n", encoding="utf-8")
        files.append(file)
    return Sources(directory, tuple(files), mistakes, mistaken, correct)


def _function(entry: Entry, kind: str) -> list[str]:
    keyword, parameter = ("def", "") if entry.is_defined else ("async def", "client: Client")
    body = (entry.wrong if kind == "wrong" else entry.right).splitlines()
    return [
        f"{keyword} {function_name(entry, kind)}({parameter}) -> None:",
        *(f"    {line}" if line else "" for line in body),
    ]


def _imports(entries: Table) -> list[str]:
    """Import what the snippets use and no more, since checkers complain about the rest."""
    used = {name for entry in entries for code in (entry.wrong, entry.right) for name in _names(code)}
    used |= set() if all(entry.is_defined for entry in entries) else {"Client"}
    imports = ["import functools"] if "functools" in used else []
    for module, known in _MODULES.items():
        names = sorted(used & known)
        used -= known
        if names:
            imports.append(f"from {module} import {', '.join(names)}")
    return imports


def _names(code: str) -> set[str]:
    return {node.id for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Name)}


# The first module that knows a name wins.
_MODULES = {
    "datetime": {"timedelta"},
    "typing": {"Any", "Literal", "assert_type"},
    "flowdsl": set(flowdsl.__all__),
    "flowdsl.client": set(flowdsl.client.__all__),
    "collections.abc": {"Mapping", "Sequence"},
    "declarations": {name for name, value in vars(declarations).items() if not inspect.ismodule(value)},
}


def _identifier(text: str) -> str:
    return "".join(letter if letter.isalnum() else "_" for letter in text)
