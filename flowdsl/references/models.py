"""Models in Python for simple schemas, written by datamodel-code-generator.

The generator is given one object whose properties are the schemas we want types for; that class is then taken apart again
for its annotations. What it cannot be told (which fields may be left out) is put in afterwards, where the parsed code says.
"""

import ast
import json
import re
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from flowdsl.errors import ConfigError
from flowdsl.references.classes import Classes
from flowdsl.references.naming import class_name, unused
from flowdsl.references.simple import TRANSPORT, Default, references

ROOTS = "Roots"
BASE = "flowdsl.model.reference_model.ReferenceModel"
WIDTH = 88
INSTALL = "pip install 'flowdsl[client]'"


@dataclass(frozen=True, slots=True, kw_only=True)
class Models:
    """Code of the models, the names it imports by module, and the types of the roots as they are written in it."""

    code: str
    imports: Mapping[str, Sequence[str]]
    types: Sequence[str]


class UnwritableError(Exception):
    """The generator can make nothing of a schema; `hint` is the name of the first such root."""

    def __init__(self, hint: str, error: Exception) -> None:
        super().__init__(" ".join(f"{type(error).__name__}: {error}".split()))
        self.hint = hint


def written_models(classes: Classes) -> Models:
    """Have models written for these classes.

    Raises:
        ConfigError: the generator is not installed.
        UnwritableError: it failed.
    """
    try:
        text = _generated(classes)
        tree = ast.parse(text)
    except ConfigError:
        raise
    except Exception as error:  # it raises all kinds of errors, for schemas that are odd yet sound
        raise UnwritableError(_culprit(classes), error) from error
    lines = text.encode().split(b"\n")
    types: list[str] = []
    parts: list[str] = []
    imports: dict[str, list[str]] = {}
    for node in tree.body:
        if isinstance(node, ast.ImportFrom):
            imports.setdefault(str(node.module), []).extend(_imported(node))
        elif isinstance(node, ast.ClassDef) and node.name == ROOTS:
            types = [_on_one_line(_segment(part.annotation, lines)) for part in _fields(node)]
        elif not _is_about_roots(node):
            parts.append(_source(node, lines, classes))
    return Models(code="\n\n\n".join(parts), imports=imports, types=types)


def _generated(classes: Classes) -> str:
    try:
        from datamodel_code_generator import InputFileType, LiteralType, PythonVersion, generate
        from datamodel_code_generator.enums import DataModelType, TargetPydanticVersion
        from datamodel_code_generator.format import DateClassType, DatetimeClassType, Formatter
    except ImportError as error:
        raise ConfigError(
            "Writing models needs datamodel-code-generator.", hint=f"Install it with: {INSTALL}"
        ) from error
    keys: list[str] = []
    for hint, _ in classes.roots:
        # Like no class and no type, or the generator would rename one of them.
        keys.append(unused(f"{hint.replace(' ', '_')}_", keys))
    document = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": ROOTS,
        "type": "object",
        "properties": dict(zip(keys, (root for _, root in classes.roots), strict=True)),
        "required": keys,
        "$defs": classes.definitions,
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = generate(
            json.dumps(document),
            input_file_type=InputFileType.JsonSchema,
            output_model_type=DataModelType.PydanticV2BaseModel,
            target_python_version=PythonVersion.PY_311,
            target_pydantic_version=TargetPydanticVersion.V2_11,
            base_class=BASE,
            class_name=ROOTS,
            custom_class_name_generator=class_name,
            aliases=dict(classes.fields),
            type_mappings=[f"string+{TRANSPORT}=binary"],
            enum_field_as_literal=LiteralType.All,
            use_type_alias=True,
            use_type_alias_type=True,
            use_annotated=True,
            strict_nullable=True,
            use_tuple_for_fixed_items=True,
            use_tuple_for_closed_arrays=True,
            use_double_quotes=True,
            output_datetime_class=DatetimeClassType.Datetime,
            output_date_class=DateClassType.Date,
            formatters=[Formatter.BUILTIN],
            builtin_format_line_length=WIDTH - len(" = LEFT_OUT"),
            keep_model_order=True,
            disable_timestamp=True,
            allow_remote_refs=False,
            strict_refs=True,
        )
    return str(found)


def _culprit(classes: Classes) -> str:
    """Return the name of the first root that fails by itself, else the last one's."""
    for hint, root in classes.roots:
        names = [*references(root)]
        for name in names:
            names.extend(other for other in references(classes.definitions[name]) if other not in names)
        alone = {name: classes.definitions[name] for name in names}
        try:
            ast.parse(_generated(replace(classes, definitions=alone, roots=[(hint, root)])))
        except Exception:  # whatever it is, it is this one's
            break
    return hint


def _segment(node: ast.expr, lines: Sequence[bytes]) -> str:
    """Return the code of an expression; `ast.get_source_segment` would split the whole text each time."""
    own = list(lines[node.lineno - 1 : node.end_lineno])
    own[-1] = own[-1][: node.end_col_offset]
    own[0] = own[0][node.col_offset :]
    return b"\n".join(own).decode()


def _on_one_line(code: str) -> str:
    """Undo the line breaks a formatter made inside of brackets."""
    return re.sub(r"\n\s*", " ", re.sub(r",?\n\s*([\])])", r"\1", re.sub(r"([\[(])\n\s*", r"\1", code)))


def _imported(node: ast.ImportFrom) -> list[str]:
    return [alias.name if alias.asname is None else f"{alias.name} as {alias.asname}" for alias in node.names]


def _is_about_roots(node: ast.stmt) -> bool:
    return any(isinstance(part, ast.Name) and part.id == ROOTS for part in ast.walk(node))


def _source(node: ast.stmt, lines: Sequence[bytes], classes: Classes) -> str:
    """Return a statement's code; a class's with the defaults of its fields."""
    own = [line.decode() for line in lines[node.lineno - 1 : node.end_lineno]]
    if not isinstance(node, ast.ClassDef):
        return _fitted("\n".join(own))
    for part in reversed(list(_fields(node))):
        first, last = part.lineno - node.lineno, int(part.end_lineno or 0) - node.lineno
        default = _default(part, classes.defaults[node.name])
        # Nothing stands behind a field: it has neither a value yet nor a comment.
        own[last] += "" if default is None else f" = {default}"
        own[first : last + 1] = [_fitted("\n".join(own[first : last + 1]))]
    return "\n".join(own)


def _fitted(code: str) -> str:
    """Return the code on one line if it fits there."""
    line = _on_one_line(code)
    return line if len(line) <= WIDTH else code


def _fields(node: ast.ClassDef) -> Iterator[ast.AnnAssign]:
    return (part for part in node.body if isinstance(part, ast.AnnAssign))


def _default(node: ast.AnnAssign, defaults: Mapping[str, Default]) -> str | None:
    default = defaults.get(_key(node))
    if default is Default.TAG:
        tag = next(part.value for part in ast.walk(node.annotation) if isinstance(part, ast.Constant))
        return json.dumps(tag, ensure_ascii=False) if isinstance(tag, str) else repr(tag)
    return None if default is None else default.value


def _key(node: ast.AnnAssign) -> str:
    """Return the key a field stands for: its alias, wherever that is said, or its own name."""
    named = (part for part in ast.walk(node) if isinstance(part, ast.keyword) and part.arg == "alias")
    return next((str(ast.literal_eval(part.value)) for part in named), ast.unparse(node.target))


def is_standard(module: str) -> bool:
    """Tell whether a module is Python's own."""
    return module.partition(".")[0] in sys.stdlib_module_names
