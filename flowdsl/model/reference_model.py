"""The base of the models in a file that `pgflow client` wrote."""

from typing import Any, Final

from pydantic import BaseModel, ConfigDict, SerializationInfo, SerializerFunctionWrapHandler, model_serializer

from flowdsl.model.adapters import JSON_CONFIG

LEFT_OUT: Final[Any] = None
"""The value of a field that may be left out but is no null otherwise: what holds then is up to the flow."""


class ReferenceModel(BaseModel):
    """A model whose fields are written only when they were given, so that the flow's own defaults hold.

    Those with a default of their own (a tag, which tells the members of a union apart) are always written.
    """

    model_config = ConfigDict(**JSON_CONFIG, validate_by_name=True, validate_by_alias=True, protected_namespaces=())

    @model_serializer(mode="wrap")
    def _given(self, write: SerializerFunctionWrapHandler, info: SerializationInfo) -> dict[str, Any] | None:
        # pydantic calls it with the None of a nested model that was left out, and with what is no model at all.
        given: Any = self
        if not isinstance(given, ReferenceModel):
            return None
        written: dict[str, Any] = write(self)
        for name, field in type(self).model_fields.items():
            if field.default is LEFT_OUT and name not in self.model_fields_set:
                key = field.serialization_alias if info.by_alias else None
                written.pop(name if key is None else key, None)
        return written
