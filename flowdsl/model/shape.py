"""A flow as pure data: what is compiled, stored, compared and drawn, without a single function in it.

The structure (steps, edges, types of steps, conditions, which step's output the run returns) is what a run depends on
from start to end, so its fingerprint tells versions apart. Options may change under a running flow and stay out of it.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeAlias

from flowdsl.errors import CompileError
from flowdsl.model.conditions import SKIP_MODES, WHEN_EXHAUSTED, WHEN_UNMET, Pattern, Predicate, SkipMode
from flowdsl.model.schemas import Schema
from flowdsl.types import FlowSlug, JsonValue, StepSlug, StepType

OptionValue: TypeAlias = int | str | tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class OptionValues(Mapping[str, OptionValue]):
    """Options by name, frozen and comparable; None stands for "not given"."""

    items_: tuple[tuple[str, OptionValue], ...]

    @classmethod
    def of(cls, values: Mapping[str, OptionValue]) -> "OptionValues":
        """Make options of a mapping; their order does not matter."""
        return cls(tuple(sorted(values.items())))

    def __getitem__(self, name: str) -> OptionValue:
        return dict(self.items_)[name]

    def __iter__(self) -> Iterator[str]:
        return (name for name, _ in self.items_)

    def __len__(self) -> int:
        return len(self.items_)

    def to_json(self) -> dict[str, Any]:
        """Return the options that were given, as JSON values."""
        return {name: _json_option(value) for name, value in self.items_ if value is not None}


_BOTH = ("max_attempts", "max_delay", "priority", "queue", "timeout")
FLOW_OPTIONS = ("base_delay", "deadline", *_BOTH)
STEP_OPTIONS = ("base_delay", *_BOTH, "retry_on", "start_delay")


@dataclass(frozen=True, slots=True, kw_only=True)
class StepShape:
    """One step: `deps` are the steps it waits for, `map_over` the one whose elements it maps (`run`: the run's input).

    `uses_run_input` tells whether the handler is given the whole of the run's input. The patterns are those of `when` and
    `unless`: a root step's are about the run's input, any other's about an object of its dependencies' outputs and `run`.
    """

    slug: StepSlug
    step_type: StepType
    deps: tuple[StepSlug, ...]
    map_over: str | None
    uses_run_input: bool
    options: OptionValues
    required_input_pattern: Pattern | None = None
    forbidden_input_pattern: Pattern | None = None
    input_predicate: Predicate | None = None
    when_unmet: SkipMode = WHEN_UNMET
    when_exhausted: SkipMode = WHEN_EXHAUSTED
    input_schema: Schema | None = None
    output_schema: Schema | None = None
    output_read_schema: Schema | None = None

    @property
    def readable_as(self) -> Schema | None:
        """What whoever reads the step's output accepts."""
        return self.output_read_schema or self.output_schema

    def wiring(self) -> dict[str, JsonValue]:
        """Return what the step is and what it is given, as JSON values."""
        return {
            "deps": list(self.deps),
            "map_over": self.map_over,
            "slug": self.slug,
            "step_type": self.step_type.value,
            "uses_run_input": self.uses_run_input,
        }

    def conditions(self) -> dict[str, JsonValue]:
        """Return when the step runs and when it is skipped, as JSON values; what is as by default is left out."""
        found: dict[str, JsonValue] = {}
        if self.required_input_pattern is not None:
            found["required_input_pattern"] = self.required_input_pattern.value
        if self.forbidden_input_pattern is not None:
            found["forbidden_input_pattern"] = self.forbidden_input_pattern.value
        if self.input_predicate is not None:
            found["input_predicate"] = self.input_predicate.jsonpath
        if self.when_unmet != WHEN_UNMET:
            found["when_unmet"] = self.when_unmet
        if self.when_exhausted != WHEN_EXHAUSTED:
            found["when_exhausted"] = self.when_exhausted
        return found

    def schemas(self) -> dict[str, JsonValue]:
        """Return the JSON Schemas of what the step is given and of its whole output, as far as they are known."""
        return _known_schemas(self.input_schema, self.output_schema, self.output_read_schema)

    def structure(self) -> dict[str, JsonValue]:
        """Return all but the options, as JSON values."""
        return {**self.wiring(), **self.conditions(), **self.schemas()}

    def to_json(self) -> dict[str, Any]:
        """Return the whole step as JSON values."""
        whole = {**self.structure(), "options": self.options.to_json()}
        if self.input_predicate is not None:
            whole["input_predicate"] = self.input_predicate.to_json()
        return dict(sorted(whole.items()))


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowShape:
    """A whole flow: its steps in the order of their definition, which is a topological order.

    The schemas are those of a run's input and output; None where a shape was compiled before shapes had them. An output is
    described as it is written, and by `output_read_schema` as it is read, where that is something else.
    """

    slug: FlowSlug
    output_step: StepSlug | None
    options: OptionValues
    steps: tuple[StepShape, ...]
    input_schema: Schema | None = None
    output_schema: Schema | None = None
    output_read_schema: Schema | None = None

    @property
    def readable_as(self) -> Schema | None:
        """What whoever reads a run's output accepts."""
        return self.output_read_schema or self.output_schema

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits that change exactly when the structure does."""
        return _fingerprint(self)

    def to_json(self) -> dict[str, Any]:
        """Return the shape as JSON values, keys sorted; `from_json` is its inverse."""
        whole = {
            **_known_schemas(self.input_schema, self.output_schema, self.output_read_schema),
            "options": self.options.to_json(),
            "output_step": self.output_step,
            "slug": self.slug,
            "steps": [step.to_json() for step in self.steps],
        }
        return dict(sorted(whole.items()))

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "FlowShape":
        """Read what `to_json` wrote; anything else is a CompileError."""
        try:
            output_step = data["output_step"]
            return cls(
                slug=FlowSlug(str(data["slug"])),
                output_step=None if output_step is None else StepSlug(str(output_step)),
                options=_options(data["options"], FLOW_OPTIONS),
                steps=tuple(_step(step) for step in data["steps"]),
                input_schema=_schema(data.get("input_schema")),
                output_schema=_schema(data.get("output_schema")),
                output_read_schema=_schema(data.get("output_read_schema")),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise CompileError(f"this is not the shape of a flow: {error!r}") from error


@lru_cache(maxsize=128)  # a large flow's takes a fifth of a second, and is asked for time and again
def _fingerprint(shape: FlowShape) -> str:
    structure = {
        "output_step": shape.output_step,
        "slug": shape.slug,
        "steps": [step.structure() for step in shape.steps],
        **_known_schemas(shape.input_schema, shape.output_schema, shape.output_read_schema),
    }
    text = json.dumps(structure, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode("ascii")).hexdigest()[:16]


def _step(data: Mapping[str, Any]) -> StepShape:
    map_over = data["map_over"]
    return StepShape(
        slug=StepSlug(str(data["slug"])),
        step_type=StepType(data["step_type"]),
        deps=tuple(StepSlug(str(dep)) for dep in data["deps"]),
        map_over=None if map_over is None else str(map_over),
        uses_run_input=bool(data["uses_run_input"]),
        options=_options(data["options"], STEP_OPTIONS),
        required_input_pattern=_pattern(data.get("required_input_pattern")),
        forbidden_input_pattern=_pattern(data.get("forbidden_input_pattern")),
        input_predicate=_predicate(data.get("input_predicate")),
        when_unmet=_mode(data.get("when_unmet", WHEN_UNMET)),
        when_exhausted=_mode(data.get("when_exhausted", WHEN_EXHAUSTED)),
        input_schema=_schema(data.get("input_schema")),
        output_schema=_schema(data.get("output_schema")),
        output_read_schema=_schema(data.get("output_read_schema")),
    )


def _pattern(value: Any) -> Pattern | None:
    return None if value is None else Pattern.of(value)


def _predicate(value: Any) -> Predicate | None:
    return None if value is None else Predicate.of(value)


def _schema(value: Any) -> Schema | None:
    return None if value is None else Schema.of(value)


def _known_schemas(
    input_schema: Schema | None, output_schema: Schema | None, output_read_schema: Schema | None
) -> dict[str, JsonValue]:
    # Left out where there is none, so that a shape of an earlier flowdsl keeps the fingerprint it was compiled with.
    given = {
        "input_schema": input_schema,
        "output_schema": output_schema,
        "output_read_schema": output_read_schema,
    }
    return {name: schema.value for name, schema in given.items() if schema is not None}


def _mode(value: Any) -> SkipMode:
    if value not in SKIP_MODES:
        raise ValueError(f"{value!r} is no mode")
    mode: SkipMode = value
    return mode


def _options(data: Mapping[str, Any], known: tuple[str, ...]) -> OptionValues:
    given = {name: tuple(value) if isinstance(value, list) else value for name, value in data.items()}
    return OptionValues.of(dict.fromkeys(known) | given)


def _json_option(value: OptionValue) -> Any:
    return list(value) if isinstance(value, tuple) else value
