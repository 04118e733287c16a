"""One row of the table: a mistake, the same thing done right, and what is said about the mistake when it is defined."""

from collections.abc import Sequence
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Says:
    """What a definition answers to a mistake: the code and some words of each of its problems, in their order.

    Where Python itself refuses, the name of its exception stands for the code.
    """

    code: str
    words: str
    others: tuple[tuple[str, str], ...] = ()

    @property
    def problems(self) -> tuple[tuple[str, str], ...]:
        return ((self.code, self.words), *self.others)


@dataclass(frozen=True, slots=True)
class Unseen:
    """Why a mistake is none of a flow's definition, so that only a type checker tells it."""

    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A mistake and its mended form; a checker has to flag the last line of `wrong`, and nothing else of the two.

    Both are bodies of a function: they see everything in `declarations`, and with an `await` in them a `client`.
    """

    topic: str = ""
    name: str
    wrong: str
    right: str
    says: Says | Unseen

    @property
    def is_defined(self) -> bool:
        """Tell whether the snippets run when they are defined; those for a client only run with a database."""
        return "await " not in self.wrong


Table = Sequence[Entry]


def first_of_each_topic(table: Table) -> Table:
    """Return a small table, for questions that more entries would not answer better."""
    firsts: dict[str, Entry] = {}
    for entry in table:
        firsts.setdefault(entry.topic, entry)
    return tuple(firsts.values())


def exchanged(table: Table) -> Table:
    """Return the table with each mistake in the place of the correct snippet, and the other way round."""
    return tuple(replace(entry, wrong=entry.right, right=entry.wrong) for entry in table)
