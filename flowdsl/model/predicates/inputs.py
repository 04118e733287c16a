"""What a predicate is given: the values the handler is given, whole."""

from collections.abc import Callable
from dataclasses import dataclass

from flowdsl.model.adapters import ValueAdapter


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """One value: its slug, its type as it is written, and whether it may be absent.

    `is_empty_when_skipped` tells that an empty list stands for a step that was skipped, as for a map that runs over it.
    """

    slug: str
    adapter: Callable[[], ValueAdapter]
    is_maybe: bool = False
    is_empty_when_skipped: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """All values in the order of the parameters; None where one is not known, which is told as another mistake.

    `is_root` tells that the step waits for no other, so that the run's input is judged itself.
    """

    values: tuple[Input, ...] | None
    is_root: bool
