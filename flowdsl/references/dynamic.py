"""References without types: what the database says of a flow is enough to start it with plain JSON values."""

import json
from collections.abc import Mapping
from functools import cached_property
from typing import Any

from flowdsl.model.adapters import MisfitError, ValueAdapter
from flowdsl.model.flow_ref import FlowRef
from flowdsl.references.soundness import UnsoundSchemaError, unusable
from flowdsl.references.validation import TOO_DEEP, problems_of, validator_of


class SchemaAdapter(ValueAdapter):
    """Between plain JSON values and JSON, as a schema allows.

    Raises:
        UnsoundSchemaError: it is no schema, or not one by itself.
    """

    __slots__ = ("_validator",)

    def __init__(self, schema: Any) -> None:
        super().__init__(Any)
        self._validator = validator_of(schema)

    def encode(self, value: object) -> bytes:
        """Check a value by the schema and return its JSON."""
        try:
            data = super().encode(value)
            problems = problems_of(self._validator, json.loads(data))
        except RecursionError as error:
            raise MisfitError((TOO_DEEP,)) from error
        if problems:
            raise MisfitError(problems)
        return data


class UntypedFlowRef(FlowRef[Any, Any]):
    """A reference made of what the database says; its input is checked by the schema that is stored there."""

    def __init__(self, described: Mapping[str, Any]) -> None:
        super().__init__(str(described["slug"]), Any, Any, fingerprint=described["fingerprint"])
        self._schema = described["inputSchema"]
        self._has_leaves = described["outputStep"] is None

    @cached_property
    def input_adapter(self) -> ValueAdapter:
        """Between a run's input and JSON."""
        if self._schema is None:
            return ValueAdapter(Any)
        try:
            return SchemaAdapter(self._schema)
        except UnsoundSchemaError as error:
            raise unusable(self.slug, None, "input", error) from error

    @property
    def returns_leaves(self) -> bool:
        """Whether a run's output is an object of the outputs of its leaf steps."""
        return self._has_leaves

    @property
    def when_outdated(self) -> str:
        """What to do when the flow has changed since it was asked for."""
        return "The flow was changed by a migration since; ask for the reference anew."
