"""How JSON Schemas are made of types: pydantic's own generator, corrected where it says other things than happen.

`OutputJsonSchema` describes what `encode` writes, as a promise to readers; `InputJsonSchema` what `decode` takes. All that is
written of a type can be read as that type, so the former's values are among the latter's; what pydantic cannot describe (a
validator or serializer of one's own) is anything in both.
"""

from enum import STRICT, Flag
from typing import Any, Final

from pydantic import ConfigDict
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import PydanticOmit

from flowdsl.model.checks import CHECKS, checks_of, name_of

TAGS: Final = "tags"
"""The key under which `tagged_union_schema` names the keys that may tell the members apart."""

# Where pydantic keeps the functions that change the JSON Schema of a part.
_HOOKS: Final = "pydantic_js_functions"
# How named tuples are told from functions, up to pydantic 2.13.
_AS_TUPLE: Final = "pydantic_js_prefer_positional_arguments"
_METHODS: Final[dict[type, dict[Any, str]]] = {}
# As `JSON_CONFIG` of the adapters, of whose configuration pydantic 2.11 does not tell the generator.
_BYTES: Final = ConfigDict(ser_json_bytes="base64")


class QuietJsonSchema(GenerateJsonSchema):
    """A default that JSON cannot hold is simply not shown."""

    ignored_warning_kinds = {"skipped-choice", "skipped-discriminator", "non-serializable-default"}  # noqa: RUF012 - as the base class has it


class WrittenJsonSchema(QuietJsonSchema):
    """The schema of values as `encode` writes them, which pydantic's own for serialization misses in some places.

    What people say about a type in its JSON Schema (`json_schema_extra`, `WithJsonSchema`, `SkipJsonSchema`, hooks) changes
    what readers are told and nothing that is written, so none of it counts.
    """

    def generate_inner(self, schema: Any) -> dict[str, Any]:
        """Leave out what was said about a part in `Annotated` or by a hook; pydantic's own types are known by theirs."""
        if metadata := schema.get("metadata"):
            kept = {
                name: part
                for name, part in metadata.items()
                if name == _AS_TUPLE or not name.startswith("pydantic_js_")
            }
            hooks = [hook for hook in metadata.get(_HOOKS, ()) if _belongs_to_a_type(hook)]
            schema = {**schema, "metadata": {**kept, _HOOKS: hooks}}
        return super().generate_inner(schema)

    def _update_class_schema(self, json_schema: dict[str, Any], cls: type[Any], config: ConfigDict) -> None:
        """Leave out what was said in the configuration of a model, dataclass or typed dict."""
        json_schema.setdefault("title", config.get("title") or cls.__name__)
        # Instances of a subclass may be written with all of their own fields.
        if config.get("extra") == "allow" or config.get("polymorphic_serialization"):
            json_schema.setdefault("additionalProperties", True)

    def handle_invalid_for_json_schema(self, schema: Any, error_info: str) -> dict[str, Any]:
        """Let anything be written where pydantic has no schema."""
        return {}

    def enum_schema(self, schema: Any) -> dict[str, Any]:
        """Let flags be written together: those are not among the members."""
        return {"type": "integer"} if issubclass(schema["cls"], Flag) else super().enum_schema(schema)

    def float_schema(self, schema: Any) -> dict[str, Any]:
        """Let NaN and Infinity be written as text where a model says so."""
        known = super().float_schema(schema)
        return {"type": ["number", "string"]} if self._config.ser_json_inf_nan == "strings" else known

    def ser_schema(self, schema: Any) -> dict[str, Any] | None:
        """Let a serializer that does not say what it returns return anything."""
        known = super().ser_schema(schema)
        return {} if known is None and not schema["type"].startswith("include-exclude") else known

    def json_schema(self, schema: Any) -> dict[str, Any]:
        """Return text: a `Json[…]` makes the round trip as such."""
        return {"type": "string"}

    def computed_field_schema(self, schema: Any) -> dict[str, Any]:
        """Return nothing: a computed field is not written, for it could not be read."""
        return {"not": {}}


class _ContractJsonSchema(WrittenJsonSchema):
    """What the schemas of inputs and outputs have in common: they are stored and compared, not shown.

    There are two of them for each type of a flow, so what only makes them nicer to look at is left out.
    """

    @property
    def mode(self) -> Any:
        """The direction asked for, whatever `json_schema_mode_override` shows to readers."""
        return self._mode

    def _update_class_schema(self, json_schema: dict[str, Any], cls: type[Any], config: ConfigDict) -> None:
        super()._update_class_schema(json_schema, cls, config)
        if config.get("extra") == "forbid":
            json_schema.setdefault("additionalProperties", False)

    def generate(self, schema: Any, mode: Any = "validation") -> dict[str, Any]:
        """Return the schema of a type whose bytes are base64, unless a model says otherwise."""
        with self._config_wrapper_stack.push(_BYTES):
            return super().generate(schema, mode)

    def generate_inner(self, schema: Any) -> dict[str, Any]:
        """Let pydantic's own types be written as they are read where it does not say: paths, for one, are text."""
        checks = checks_of(schema, self._config)
        if _is_written_by_pydantic(schema) and schema["serialization"].get("function") is not None:
            schema = {key: part for key, part in schema.items() if key != "serialization"}
        known = super().generate_inner(schema)
        if not checks:
            return known
        target = self.resolve_ref_schema(known) if "ref" in schema and "$ref" in known else known
        target[CHECKS] = sorted({*target.get(CHECKS, ()), *checks})
        return known

    def handle_invalid_for_json_schema(self, schema: Any, error_info: str) -> dict[str, Any]:
        """Name what pydantic cannot describe: it is not known what fits, and that is not the same as anything."""
        cls = schema.get("cls")
        return {CHECKS: [f"{schema['type']} {getattr(cls, '__name__', '')}".rstrip()]}

    def ser_schema(self, schema: Any) -> dict[str, Any] | None:
        """Name a serializer that does not say what it returns."""
        known = super().ser_schema(schema)
        return {CHECKS: [f"serializer {name_of(schema.get('function'))}"]} if known == {} else known

    def bytes_schema(self, schema: Any) -> dict[str, Any]:
        """Leave lengths out: they are of the bytes, not of the text that stands for them."""
        known = super().bytes_schema(schema)
        return {key: part for key, part in known.items() if key not in ("minLength", "maxLength")}

    def build_schema_type_to_method(self) -> Any:
        """Return the method for each kind of part, whose names are the same for all instances."""
        cls = type(self)
        if cls not in _METHODS:
            _METHODS[cls] = {kind: made.__name__ for kind, made in super().build_schema_type_to_method().items()}
        return {kind: getattr(self, name) for kind, name in _METHODS[cls].items()}

    def field_title_should_be_set(self, schema: Any) -> bool:
        """Set no titles."""
        return False

    def sort(self, value: Any, parent_key: str | None = None) -> Any:
        """Leave the order as it is: the canonical form has its own."""
        return value

    def computed_field_schema(self, schema: Any) -> dict[str, Any]:
        """Leave a computed field out: it is not written, for it could not be read."""
        raise PydanticOmit

    def default_schema(self, schema: Any) -> dict[str, Any]:
        """Leave the default itself out: it constrains nothing, and that there is one is said by what is required."""
        return self.generate_inner(schema["schema"])

    def decimal_schema(self, schema: Any) -> dict[str, Any]:
        """Tell the text of a number from any text; releases of pydantic differ in the pattern they give."""
        known = super().decimal_schema(schema)
        text = {"type": "string", "format": "decimal"}
        return {"anyOf": [known["anyOf"][0], text]} if "anyOf" in known else text

    def complex_schema(self, schema: Any) -> dict[str, Any]:
        """Tell the text of a complex number from any text."""
        return {"type": "string", "format": "complex"}

    def json_schema(self, schema: Any) -> dict[str, Any]:
        """Tell JSON in a text from any text."""
        return {"type": "string", "format": "json"}

    def enum_schema(self, schema: Any) -> dict[str, Any]:
        """Tell which integers are flags, where others are refused."""
        known, cls = super().enum_schema(schema), schema["cls"]
        if not issubclass(cls, Flag) or getattr(cls, "_boundary_", None) is not STRICT:
            return known
        return {**known, "minimum": 0, "maximum": sum(flag.value for flag in cls)}

    def dict_schema(self, schema: Any) -> dict[str, Any]:
        """Tell the type of the keys, also where it is no text: JSON has them as text."""
        known: dict[str, Any] = {"type": "object"}
        if "values_schema" in schema:
            known["additionalProperties"] = self.generate_inner(schema["values_schema"])
        elif schema["type"] == "counter":
            known["additionalProperties"] = {"type": "integer"}
        if "keys_schema" in schema:
            known["propertyNames"] = self.generate_inner(schema["keys_schema"])
        self.update_with_validations(known, schema, self.ValidationsMapping.object)
        return known

    frozendict_schema = ordered_dict_schema = counter_schema = dict_schema

    def tagged_union_schema(self, schema: Any) -> dict[str, Any]:
        """Tell by which keys the members are told apart; which of them it is, the canonical form sees in the members."""
        given = schema["discriminator"]
        paths = given if isinstance(given, list) else [given]
        names = [path[0] if isinstance(path, list) and len(path) == 1 else path for path in paths]
        members = super().tagged_union_schema(schema)["oneOf"]
        known = {"anyOf": members, TAGS: [name for name in names if isinstance(name, str)]}
        return {**known, CHECKS: [f"discriminator {name_of(given)}"]} if callable(given) else known

    def _extract_discriminator(self, schema: Any, one_of_choices: Any) -> None:
        """Return none: it is looked for among definitions of which some may not have been made yet."""


class OutputJsonSchema(_ContractJsonSchema):
    """The schema of values as `encode` writes them: all fields are there, the defaults of those not given too."""

    def field_is_required(self, field: Any, total: bool) -> bool:
        """Tell whether the field is always written."""
        is_written = field.get("required", total) if field["type"] == "typed-dict-field" else True
        return bool(is_written) and field.get("serialization_exclude_if") is None


class InputJsonSchema(_ContractJsonSchema):
    """The schema of values as `decode` takes them, so also as `encode` writes them; fields with a default may be absent."""

    def generate_inner(self, schema: Any) -> dict[str, Any]:
        """Let what a serializer writes be read as well, whatever the type says: the values have to come back."""
        known = super().generate_inner(schema)
        if "serialization" not in schema or _is_written_by_pydantic(schema):
            return known
        written = self._in_writing(self.ser_schema, schema["serialization"])
        if written is None:
            return known
        definition = self.resolve_ref_schema(known)
        read = dict(definition)
        if CHECKS in read:  # a text that was written is checked as what was given
            written = {**written, CHECKS: sorted({*written.get(CHECKS, ()), *read[CHECKS]})}
        if "$ref" not in known:
            return {"anyOf": [read, written]}
        definition.clear()
        definition["anyOf"] = [read, written]
        return known

    def _in_writing(self, make: Any, schema: Any) -> Any:
        mode, self._mode = self._mode, "serialization"
        try:
            return make(schema)
        finally:
            self._mode = mode

    def field_is_required(self, field: Any, total: bool) -> bool:
        """Tell whether the field has to be given."""
        if field["type"] == "typed-dict-field":
            return bool(field.get("required", total))
        return bool(field["schema"]["type"] != "default")

    def _get_alias_name(self, field: Any, name: str) -> str:
        # Read where it is written; where else it may be read is told by `_named_required_fields_schema`.
        alias = field.get("serialization_alias")
        return name if alias is None else str(alias)

    def _named_required_fields_schema(self, named_required_fields: Any) -> dict[str, Any]:
        known = super()._named_required_fields_schema(named_required_fields)
        choices = []
        for name, required, field in named_required_fields:
            written = self._get_alias_name(field, name) if self.by_alias else name
            other = super()._get_alias_name(field, written) if self.by_alias else written
            if other == written or written not in known["properties"]:
                continue
            known["properties"].setdefault(other, known["properties"][written])
            if required:
                known["required"].remove(written)
                choices.append({"anyOf": [{"required": [written]}, {"required": [other]}]})
        return {**known, "allOf": choices} if choices else known

    def date_schema(self, schema: Any) -> dict[str, Any]:
        """Let a number be read where the configuration writes one."""
        return self._also_as_written("date", super().date_schema, schema)

    def time_schema(self, schema: Any) -> dict[str, Any]:
        """Let a number be read where the configuration writes one."""
        return self._also_as_written("time", super().time_schema, schema)

    def datetime_schema(self, schema: Any) -> dict[str, Any]:
        """Let a number be read where the configuration writes one."""
        return self._also_as_written("date-time", super().datetime_schema, schema)

    def timedelta_schema(self, schema: Any) -> dict[str, Any]:
        """Let a number be read where the configuration writes one."""
        return self._also_as_written("duration", super().timedelta_schema, schema)

    def _also_as_written(self, format: str, make: Any, schema: Any) -> dict[str, Any]:
        text, written = {"type": "string", "format": format}, self._in_writing(make, schema)
        return text if written == text else {"anyOf": [text, written]}


def _is_written_by_pydantic(schema: Any) -> bool:
    """Tell whether the serializer of a part is that of one of pydantic's own types, which its hooks describe."""
    if "serialization" not in schema or not any(map(_belongs_to_a_type, schema.get("metadata", {}).get(_HOOKS, ()))):
        return False
    function = schema["serialization"].get("function")
    # That of regular expressions is an `operator.attrgetter`.
    return function is None or (getattr(function, "__module__", None) or "").startswith(("pydantic.", "operator"))


def _belongs_to_a_type(hook: Any) -> bool:
    module = getattr(hook, "__module__", None) or ""
    return module.startswith("pydantic.") and module != "pydantic.json_schema"
