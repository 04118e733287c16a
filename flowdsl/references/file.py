"""The file `pgflow client` writes: models, the reference to the flow, and those to its steps."""

import json
import keyword
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined

from flowdsl.errors import ConfigError
from flowdsl.references.classes import Classes, named_classes
from flowdsl.references.declarations import refuse_code
from flowdsl.references.description import FlowDescription, sound_description
from flowdsl.references.layout import call, import_groups, used_names
from flowdsl.references.models import Models, UnwritableError, written_models
from flowdsl.references.naming import constant_name
from flowdsl.references.simple import Side, Simplifier
from flowdsl.references.soundness import UnsoundSchemaError

MARK: Final = "Written by `pgflow client`, not to be edited."
OUTPUTS: Final = "Outputs"
_BY_HAND: Final = "Write the reference by hand: FlowRef(SLUG, INPUT, OUTPUT), with any types pydantic knows."
_OURS: Final[Mapping[str, Sequence[str]]] = {
    "flowdsl": ("FlowRef", "StepRef"),
    "flowdsl.model.reference_model": ("LEFT_OUT", "ReferenceModel"),
    "typing_extensions": ("TypedDict",),
}


def reference_file(flow: FlowDescription, command: Sequence[str]) -> str:
    """Return the code of a reference; `command` is what writes it, which its readers are told.

    The same flow and command give the same text.

    Raises:
        ConfigError: the generator of models is not installed; a schema of the flow cannot be used; or a name or schema
            would become code that does more than declare types.
    """
    flow = sound_description(flow)
    name = constant_name(flow.slug, ())
    classes = _classes(flow, name)
    models = _models(flow, classes)
    input_type, *types = models.types
    type_of = dict(zip((step.slug for step in flow.steps), types, strict=False))
    outputs = "" if flow.output is not None else _outputs({slug: type_of[slug] for slug in flow.leaves})
    taken = used_names("\n".join(models.types))
    names = {step.slug: constant_name(step.slug, taken) for step in flow.steps}
    steps = [
        call(names[slug], "StepRef", [type_], [_text(flow.slug), _text(slug), type_], indent=4)
        for slug, type_ in type_of.items()
    ]
    returned = _returned(flow)
    output_type = OUTPUTS if flow.output is None else types[-1] if returned is None else type_of[returned]
    shown = shlex.join(command)
    reference = call(
        name,
        "FlowRef",
        [input_type, output_type],
        [
            *(_text(flow.slug), input_type, output_type),
            *([] if flow.fingerprint is None else [f"fingerprint={_text(flow.fingerprint)}"]),
            f"made_with={_text(shown)}",
        ],
    )
    page = {
        "subject": _in_docstring(_subject(flow)),
        "mark": MARK,
        "command": _in_docstring(shown),
        "imports": _imports(models, [models.code, outputs, *steps, reference]),
        "models": models.code,
        "outputs": outputs,
        "steps": steps,
        "example": next(iter(names.values()), None),
        "reference": reference,
    }
    text = _template().get_template("client.py.j2").render(page=page)
    refuse_code(text, f"flow '{flow.slug}'")
    return text


def is_written_by_us(file: Path) -> bool:
    """Tell whether a file is one that may be written over."""
    with file.open(encoding="utf-8", errors="replace") as text:
        return MARK in text.read(2000)


def _classes(flow: FlowDescription, name: str) -> Classes:
    simplifier = Simplifier()
    roots = []
    for hint, schema, side in _wanted(flow):
        try:
            roots.append((hint, simplifier.simplified(schema, hint, side)))
        except (UnsoundSchemaError, RecursionError) as error:
            raise ConfigError(
                f"flow '{flow.slug}': no models can be written for the JSON Schema of {_called(flow, hint)}: "
                f"{error if isinstance(error, UnsoundSchemaError) else 'it is nested too deeply'}.",
                hint=_BY_HAND,
            ) from error
    return named_classes(simplifier.definitions, roots, taken=(name,))


def _wanted(flow: FlowDescription) -> list[tuple[str, Any, Side]]:
    """Return the schemas that types are wanted for, each with a name for what it may need one for."""
    wanted = [(f"{flow.slug} input", flow.input, Side.SENT)]
    wanted += [(step.slug, step.output, Side.GOT) for step in flow.steps]
    if flow.output is not None and _returned(flow) is None:
        wanted.append((f"{flow.slug} output", flow.output, Side.GOT))
    return wanted


def _models(flow: FlowDescription, classes: Classes) -> Models:
    try:
        return written_models(classes)
    except UnwritableError as error:
        raise ConfigError(
            f"flow '{flow.slug}': no models can be written for the JSON Schema of {_called(flow, error.hint)}: {error}.",
            hint=_BY_HAND,
        ) from error


def _called(flow: FlowDescription, hint: str) -> str:
    return f"step '{hint}'" if hint in {step.slug for step in flow.steps} else f"its {hint.rpartition(' ')[2]}"


def _returned(flow: FlowDescription) -> str | None:
    """Return a step whose output is just like the run's."""
    return next((step.slug for step in flow.steps if step.output == flow.output), None)


def _outputs(types: Mapping[str, str]) -> str:
    """Return the type of the outputs of leaf steps; those that were skipped are not there."""
    in_types = set().union(*(used_names(type_) for type_ in types.values()))
    if any(keyword.iskeyword(slug) or slug.startswith("__") or slug in in_types for slug in types):
        lines = [f"        {_text(slug)}: {type_}," for slug, type_ in types.items()]
        return "\n".join(
            [f"{OUTPUTS} = TypedDict(", f'    "{OUTPUTS}",', "    {", *lines, "    },", "    total=False,", ")"]
        )
    docstring = '    """What comes of a run: the outputs of its last steps, without those that were skipped."""'
    return "\n".join(
        [
            f"class {OUTPUTS}(TypedDict, total=False):",
            docstring,
            "",
            *(f"    {slug}: {type_}" for slug, type_ in types.items()),
        ]
    )


def _imports(models: Models, parts: Sequence[str]) -> list[list[str]]:
    used: set[str] = set().union(*map(used_names, parts))
    imports = {module: [*names] for module, names in models.imports.items()}
    for module, names in _OURS.items():
        imports.setdefault(module, []).extend(names)
    return import_groups(imports, used)


def _subject(flow: FlowDescription) -> str:
    known = {"version": flow.version, "fingerprint": flow.fingerprint}
    said = ", ".join(f"{name} {value}" for name, value in known.items() if value is not None)
    return f"Flow '{flow.slug}'{f' ({said})' if said else ''}, for those who start it without its handlers."


def _in_docstring(text: str) -> str:
    """Return the text as it is written in a docstring; all it can do there is to be read."""
    escaped = text.replace("\\", "\\\\").replace('"""', '\\"\\"\\"')
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in escaped)


def _text(value: str) -> str:
    # Half of a surrogate pair, as a path may hold for a byte that is no text, is written as its escape.
    return json.dumps(value, ensure_ascii=False).encode(errors="backslashreplace").decode()


def _template() -> Environment:
    return Environment(
        loader=PackageLoader("flowdsl", "templates"),
        undefined=StrictUndefined,
        autoescape=False,  # noqa: S701 - it is Python
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
