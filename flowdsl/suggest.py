"""Did you mean …? One idea of nearness for slugs, options, commands and attributes."""

import difflib
from collections.abc import Iterable


def closest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that resembles `name` most, or None when none does.

    >>> closest("fetch_usr", ["price", "fetch_user"])
    'fetch_user'
    >>> closest("Price", ["price"])
    'price'
    >>> closest("banana", ["price", "fetch_user"]) is None
    True
    """
    by_folded = {candidate.casefold(): candidate for candidate in sorted(known, reverse=True)}
    matches = difflib.get_close_matches(name.casefold(), by_folded, n=1, cutoff=0.6)
    return by_folded[matches[0]] if matches else None


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return the sentence "Did you mean 'x'?", or an empty string when nothing known resembles `name`.

    >>> did_you_mean("timeuot", ["timeout", "queue"])
    "Did you mean 'timeout'?"
    >>> did_you_mean("banana", ["timeout"])
    ''
    """
    match = closest(name, known)
    return f"Did you mean '{match}'?" if match is not None else ""
