"""Gathering problems instead of raising them, so that one import can tell what is wrong with all flows of all modules.

A wrong flow raises at the end of its chain, which ends the import of its module, and nobody learns what is wrong with the
flows below. While `gathering` is open, the problems are kept, the flow stays, and the import goes on; whoever uses the
flow (its steps, its shape) is refused as ever. A module that catches the error itself is raised one, for that is what it
waits for.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from threading import Lock
from typing import Final

from flowdsl.errors import Problem


class Gathered:
    """The problems met so far, in the order of their meeting, and the warnings that only a whole module shows.

    `caught` are the problems of errors that were raised, because the module catches them itself.
    """

    def __init__(self) -> None:
        self._problems: dict[int, tuple[object, Problem]] = {}
        self.warnings: list[Problem] = []
        self.caught: list[Problem] = []

    def add(self, found: Sequence[object], told: Sequence[Problem]) -> None:
        """Keep what was found, as it is told now; what is found again with more of the chain in view is told anew."""
        for item, problem in zip(found, told, strict=True):
            # The item is kept with it, so that no other can come to have its identity.
            self._problems[id(item)] = (item, problem)

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What was told of each finding at last."""
        # A list is made at once, also while another thread adds what it met.
        return tuple(problem for _, problem in list(self._problems.values()))


_OWN: Final[ContextVar[Gathered | None]] = ContextVar("flowdsl_gathered", default=None)
_OPEN: Final[list[Gathered]] = []
_LOCK: Final = Lock()


@contextmanager
def gathering() -> Iterator[Gathered]:
    """Gather what is wrong with flows that are defined inside; an outer gathering is told nothing of it."""
    gathered = Gathered()
    with _LOCK:
        _OPEN.append(gathered)
    token = _OWN.set(gathered)
    try:
        yield gathered
    finally:
        _OWN.reset(token)
        with _LOCK:
            _OPEN.remove(gathered)


def open_gathering() -> Gathered | None:
    """Return what problems are gathered in now; None when they are raised."""
    own = _OWN.get()
    with _LOCK:
        if own is not None:
            # What was begun inside of a gathering, a task or a callback, may outlive it.
            return own if own in _OPEN else None
        # A thread that a module starts does not inherit the variable.
        return _OPEN[-1] if _OPEN else None
