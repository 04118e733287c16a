"""When a step runs, and what becomes of it when it may not or cannot: conditions and skip modes, as pure data.

They are structure, not options: a run ends by the conditions it began with, so a changed one is a new version.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias, get_args

SkipMode: TypeAlias = Literal["skip", "skip-cascade", "fail"]
"""What becomes of a step: it is skipped, it is skipped with all that depend on it, or it fails its run."""

SKIP_MODES: Final[tuple[SkipMode, ...]] = get_args(SkipMode)
WHEN_UNMET: Final[SkipMode] = "skip"
WHEN_EXHAUSTED: Final[SkipMode] = "fail"


@dataclass(frozen=True, slots=True)
class Pattern:
    """A JSON object that another JSON value has to contain, as text with sorted keys: frozen, hashable, comparable."""

    text: str

    @classmethod
    def of(cls, value: Mapping[str, Any]) -> "Pattern":
        """Make a pattern of a JSON object; ValueError or TypeError if it is none."""
        if not isinstance(value, Mapping):
            raise TypeError(f"{value!r} is no JSON object")
        return cls(json.dumps(dict(value), sort_keys=True, ensure_ascii=False, allow_nan=False))

    @property
    def value(self) -> dict[str, Any]:
        """The JSON object."""
        value: dict[str, Any] = json.loads(self.text)
        return value

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class Predicate:
    """What has to be true of a step's inputs: a jsonpath predicate the database evaluates, and the same in words."""

    jsonpath: str
    words: str = field(compare=False)

    @classmethod
    def of(cls, value: Mapping[str, Any]) -> "Predicate":
        """Read what `to_json` wrote."""
        return cls(jsonpath=str(value["jsonpath"]), words=str(value["words"]))

    def to_json(self) -> dict[str, str]:
        """Return both texts."""
        return {"jsonpath": self.jsonpath, "words": self.words}

    def __str__(self) -> str:
        return self.words


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """What a step's inputs must and must not contain or be, what follows if not, and what follows its last attempt."""

    required: Pattern | None = None
    forbidden: Pattern | None = None
    predicate: Predicate | None = None
    when_unmet: SkipMode = WHEN_UNMET
    when_exhausted: SkipMode = WHEN_EXHAUSTED

    @property
    def patterns(self) -> dict[str, Pattern]:
        """The patterns that are there, by the name of their option."""
        given = {"when": self.required, "unless": self.forbidden}
        return {name: pattern for name, pattern in given.items() if pattern is not None}

    @property
    def skips_alone(self) -> tuple[str, ...]:
        """The options by which the step may be skipped while its dependents go on without it."""
        return self._reaching("skip")

    @property
    def cascades(self) -> tuple[str, ...]:
        """The options by which the step may be skipped with all that depend on it."""
        return self._reaching("skip-cascade")

    def _reaching(self, mode: SkipMode) -> tuple[str, ...]:
        modes = {"when_exhausted": self.when_exhausted}
        if self.patterns or self.predicate is not None:
            modes = {"when_unmet": self.when_unmet, **modes}
        return tuple(name for name, chosen in modes.items() if chosen == mode)
