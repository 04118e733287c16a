"""Choices out of random bytes, and what the engine's state machine makes of them: flows, values, mistakes.

Hypothesis draws one row of bytes per step and nothing else. That is ten times faster than a draw per choice, and shrinks as
well: smaller bytes are earlier choices.
"""

from collections.abc import Sequence
from typing import Any, TypeVar

from hypothesis import strategies as st

from .reference_json import NOTHING, Json, MoreThan
from .reference_model import Error, Mode, Options, Step, Version

T = TypeVar("T")

ARRAYS: tuple[Json, ...] = ([1, 2], ["x", "x", None], [0, False, ""], [], [[1, 2], []], [1], [[[]]], [{"ok": True}, 1])
VALUES: tuple[Json, ...] = (
    *(
        {"ok": True},
        {"ok": True, "n": 2},
        {"ok": True, "n": 1},
        {"ok": False, "n": 2},
        {"ok": False},
        1,
        "x",
        None,
        False,
        True,
        0,
        2,
        "",
        {},
    ),
    *({"ok": True, "n": [1, 2]}, {"ok": None}, NOTHING),
    *ARRAYS,
)
PATTERNS: tuple[Json, ...] = (
    *(
        {"ok": True},
        {"ok": True},
        {},
        {"ok": True},
        {"ok": True},
        {"ok": False},
        {"ok": None},
        {"n": 2},
        {"n": [2]},
        {"n": []},
    ),
    *([], [1], [2, 1], [[1]], [{}], None, 0, 1, "x"),
)
MODES: tuple[Mode, ...] = ("skip", "fail", "skip-cascade")


class Dice:
    """A row of choices; when it is used up, always the first one."""

    def __init__(self, rolls: bytes) -> None:
        self._rolls = iter(rolls)

    def _repr_pretty_(self, printer: Any, _cycle: bool) -> None:
        printer.text("…")  # what came of it is told by the machine's notes

    def pick(self, items: Sequence[T]) -> T:
        return items[next(self._rolls, 0) % len(items)]

    def happens(self, one_in: int) -> bool:
        return next(self._rolls, 0) % one_in == one_in - 1

    def maybe(self, one_in: int, items: Sequence[T]) -> T | None:
        return self.pick(items) if self.happens(one_in) else None

    def some(self, items: Sequence[T], most: int) -> list[T]:
        """At least one of them, none twice."""
        left = list(items)
        return [
            left.pop(next(self._rolls, 0) % len(left)) for _ in range(min(len(left), self.pick(range(1, most + 1))))
        ]


def dice(rolls: int) -> st.SearchStrategy[Dice]:
    return st.binary(min_size=rolls, max_size=rolls).map(Dice)


def a_run_input(dice: Dice, version: Version) -> Json:
    """An array where a map runs over it; never SQL NULL, which is refused."""
    if any(step.map_over == "run" for step in version.steps):
        return dice.pick(ARRAYS)
    value = dice.pick(_telling_values(version, "run") if dice.happens(2) else VALUES)
    return None if value is NOTHING else value


def an_output(dice: Dice, version: Version, slug: str) -> Json:
    """Nearly always an array where a map runs over it."""
    feeds_a_map = any(step.map_over == slug for step in version.steps)
    if feeds_a_map and not dice.happens(12):
        return dice.pick(ARRAYS)
    return dice.pick(_telling_values(version, slug) if dice.happens(2) else VALUES)


def _telling_values(version: Version, key: str) -> Sequence[Json]:
    """What conditions ask for under this key, for that is what meets them."""
    patterns = [
        (step.deps, pattern) for step in version.steps for pattern in (step.required, step.forbidden) if pattern
    ]
    asked = [pattern[key] for deps, pattern in patterns if deps and key in pattern]
    return asked + [pattern for deps, pattern in patterns if not deps and key == "run"] or VALUES


def an_error(dice: Dice) -> Error:
    return Error(
        message=dice.pick(["boom", "bang", ""]),
        classes=dice.pick([("ValueError",), ("KeyError", "LookupError")]),
        retryable=not dice.happens(3),
        retry_after=dice.maybe(3, [0, 7]),
    )


def some_options(dice: Dice) -> Options:
    return Options(
        max_attempts=dice.pick([2, 1, 3]),
        base_delay=dice.pick([0, 0, 3]),
        max_delay=dice.pick([3600, 5]),
        timeout=dice.pick([60, 10]),
        priority=dice.pick([0, 0, 0, 1]),
        deadline=dice.pick([None, None, None, 30, 200]),
    )


def a_version(dice: Dice, flow: str, number: int) -> Version:
    steps: list[Step] = []
    for slug in "abcdefg"[: dice.pick([1, 2, 3, 4, 5, 6, 7])]:
        steps.append(_a_step(dice, slug, [step.slug for step in steps]))
    return Version(flow, number, tuple(steps), dice.maybe(4, [step.slug for step in steps]))


def _a_step(dice: Dice, slug: str, earlier: list[str]) -> Step:
    """Most depend on something, one of three is a map, one of two has conditions."""
    deps = tuple(dice.some(earlier[::-1], 3)) if earlier and not dice.happens(4) else ()
    over = dice.maybe(3, ("run",) if not deps else (*deps, *deps, "run"))
    is_conditional = dice.happens(2)
    return Step(
        slug,
        deps,
        map_over=over,
        required=_a_pattern(dice, deps) if is_conditional and dice.happens(3) else None,
        forbidden=_a_pattern(dice, deps) if is_conditional and dice.happens(2) else None,
        predicate=_a_predicate(dice, deps) if is_conditional and dice.happens(2) else None,
        when_unmet=dice.pick(MODES),
        when_exhausted=dice.pick(MODES),
        max_attempts=dice.maybe(4, [1, 2]),
        base_delay=dice.maybe(4, [0, 2]),
        timeout=dice.maybe(4, [5]),
        start_delay=dice.maybe(6, [0, 6]),
        priority=dice.maybe(4, [-1, 2]),
        retry_on=dice.maybe(6, [("LookupError", "OSError")]),
    )


def _a_pattern(dice: Dice, deps: Sequence[str]) -> Json:
    """An object to contain: in the run's input for a root step, in {"run": …, dependency: …} for others."""
    if not deps:
        return dice.pick([pattern for pattern in PATTERNS if isinstance(pattern, dict)])
    keys = dice.some((*deps, "run"), 2) if not dice.happens(6) else []
    return {key: dice.pick(PATTERNS) for key in keys}


def _a_predicate(dice: Dice, deps: Sequence[str]) -> MoreThan:
    path: tuple[str, ...] = dice.pick([("n",), ("n",), (), ("ok",)])
    return MoreThan((dice.pick((*deps, "run")), *path) if deps else path, dice.pick([0, 1]))
