"""How code is laid out: calls and imports that fit on their lines, imports without those that are not needed."""

import ast
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from flowdsl.references.models import WIDTH, is_standard


def call(target: str, function: str, types: Sequence[str], arguments: Sequence[str], indent: int = 0) -> str:
    """Return an assignment of a generic call, on as few lines as it fits on."""
    head = f"{target} = {function}[{', '.join(types)}]("
    if indent + len(line := f"{head}{', '.join(arguments)})") <= WIDTH:
        return line
    inside, end = " " * (indent + 4), " " * indent
    lines = [head]
    if indent + len(head) > WIDTH:
        on_one_line = f"{inside}{', '.join(types)}"
        between = [on_one_line] if len(on_one_line) <= WIDTH else [f"{inside}{type_}," for type_ in types]
        lines = [f"{target} = {function}[", *between, f"{end}]("]
    return "\n".join([*lines, *(f"{inside}{argument}," for argument in arguments), f"{end})"])


def used_names(code: str) -> set[str]:
    """Return all names the code mentions, those in annotations that are text included."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Name):
            found.add(node.id)
        elif isinstance(node, ast.Call):
            texts = (part.value for part in ast.walk(node) if isinstance(part, ast.Constant))
            found.update(word for text in texts if isinstance(text, str) for word in re.findall(r"\w+", text))
    return found


def import_groups(imports: Mapping[str, Iterable[str]], used: set[str]) -> list[list[str]]:
    """Return the lines that import what is used: of the future, of Python's own modules, of others."""
    needed = {
        module: sorted({name for name in names if module == "__future__" or name.rpartition(" ")[2] in used})
        for module, names in imports.items()
    }
    groups: list[list[str]] = [[], [], []]
    for module in sorted(module for module, names in needed.items() if names):
        number = 0 if module == "__future__" else 1 if is_standard(module) else 2
        groups[number].extend(_import(module, needed[module]))
    return [group for group in groups if group]


def _import(module: str, names: Sequence[str]) -> Iterator[str]:
    line = f"from {module} import {', '.join(names)}"
    if len(line) <= WIDTH:
        yield line
        return
    yield f"from {module} import ("
    yield from (f"    {name}," for name in names)
    yield ")"
