"""What can be wrong with a predicate: one mistake ends its tracing, and becomes a problem of the definition."""

from typing import Final

from flowdsl.model.problems import Code

NEVER: Final = {"when": "when can never be met", "unless": "unless can never apply"}
ALWAYS: Final = {"when": "when is met by every input", "unless": "unless keeps the step from ever running"}


class PredicateError(Exception):
    """A predicate cannot be traced or makes no sense: the code, what it is, what mends it.

    It passes through the user's function, and callers turn it into a problem of the step. `mended` is the source of the
    predicate put right, where that is known, and `replaced` a constant in it with the one that was meant.
    """

    def __init__(self, code: Code, what: str, fix: str) -> None:
        super().__init__(f"{what} {fix}")
        self.code = code
        self.what = what
        self.fix = fix
        self.mended: str | None = None
        self.replaced: tuple[object, object] | None = None


def untraceable(what: str, fix: str) -> PredicateError:
    """Return the error about what the database cannot evaluate."""
    return PredicateError(Code.UNTRACEABLE_PREDICATE, what, fix)


def impossible(what: str, fix: str) -> PredicateError:
    """Return the error about a condition that is never true."""
    return PredicateError(Code.IMPOSSIBLE_PREDICATE, what, fix)


def pointless(what: str, fix: str) -> PredicateError:
    """Return the error about a condition that is always true."""
    return PredicateError(Code.POINTLESS_PREDICATE, what, fix)
