"""Whatever changes of flows are migrated: a downgrade leaves catalogue and definitions as they were, and the way up is the same
again.

The files are written by the compiler into a real Alembic tree and run by Alembic's own operations on a real connection.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from alembic.migration import MigrationContext
from alembic.operations import Operations
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flowdsl.compiler.compilation import plan
from flowdsl.compiler.scaffold import initialise
from flowdsl.database import sqlalchemy_url
from flowdsl.model.shape import FlowShape
from tests.integration.migration_support import CATALOGUE, DEFINITIONS, described

from .compiler_strategies import shapes, variants

State = dict[str, list[Any]]
SLUG = "flow"


@dataclass(frozen=True, kw_only=True)
class Move:
    """One change of the code: what becomes of the flow (None: it goes), and whether it is dropped when it is gone."""

    shape: FlowShape | None
    drop: bool = False

    def __repr__(self) -> str:
        return "drop" if self.drop else "gone" if self.shape is None else repr(self.shape)


# What happens to a flow after its first version; every kind of change meets every state it can meet a flow in.
STORIES = [
    ["change", "change", "change"],
    ["gone", "back"],
    ["gone", "change"],
    ["change", "drop", "back"],
    ["gone", "drop", "change"],
]


@st.composite
def histories(draw: st.DrawFn, story: list[str]) -> list[Move]:
    """The changes of a flow: it begins, then changes in options or structure, goes, is dropped, comes back."""
    last = draw(shapes(SLUG))
    moves = [Move(shape=last)]
    for what in story:
        if what == "change":
            last = draw(variants(last))
        moves.append(Move(shape=last if what in ("change", "back") else None, drop=what == "drop"))
    return moves


@dataclass
class Tree:
    """A project's migrations, and the database they run in."""

    directory: Path
    url: str
    run: Callable[[Path, str], None]
    applied: list[tuple[State, Path, State]] = field(default_factory=list)
    written: list[Path] = field(default_factory=list)

    def state(self) -> State:
        with psycopg.connect(self.url) as conn:
            return described(conn, {**CATALOGUE, **DEFINITIONS})

    def apply(self, move: Move) -> None:
        """Compile a change and go up, down and up again."""
        found = plan(
            [] if move.shape is None else [move.shape],
            self.directory,
            complete=True,
            drop=[SLUG] if move.drop and self.is_defined() else [],
        )
        if not found.changes:
            return
        path = found.write().path
        self.written.append(path)
        before = self.state()
        self.run(path, "upgrade")
        after = self.state()
        assert after != before
        self.run(path, "downgrade")
        assert self.state() == before
        self.run(path, "upgrade")
        assert self.state() == after
        self.applied.append((before, path, after))

    def is_defined(self) -> bool:
        with psycopg.connect(self.url) as conn:
            return conn.execute("select from pgflow.flows").fetchone() is not None

    def undo_all(self) -> None:
        """Go all the way down, one revision after the other."""
        for before, path, after in reversed(self.applied):
            assert self.state() == after
            self.run(path, "downgrade")
            assert self.state() == before

    def forget(self) -> None:
        """Leave nothing to the next history, whatever became of this one."""
        for path in self.written:
            path.unlink()
        with psycopg.connect(self.url) as conn:
            conn.execute("select pgflow.delete_flow_and_data(%s)", (SLUG,))


@contextmanager
def runner(url: str) -> Iterator[Callable[[Path, str], None]]:
    """Run `upgrade` or `downgrade` of a revision file with Alembic's operations, in one transaction."""
    engine = sa.create_engine(sqlalchemy_url(url), poolclass=sa.NullPool)
    with engine.connect() as connection:

        def run(path: Path, function: str) -> None:
            namespace: dict[str, Any] = {}
            with connection.begin(), Operations.context(MigrationContext.configure(connection)):
                exec(compile(path.read_text(), str(path), "exec"), namespace)  # noqa: S102 - what Alembic does with it
                namespace[function]()

        yield run


@pytest.mark.parametrize("story", STORIES, ids=" ".join)
def test_up_and_down_and_up_again_is_the_same_for_all_changes(dsn: str, tmp_path: Path, story: list[str]) -> None:
    initialise(tmp_path)
    with runner(dsn) as run:
        base = Tree(tmp_path, dsn, run).state()
        assert base["flows"] == []

        @settings(max_examples=5, deadline=None, suppress_health_check=list(HealthCheck))
        @given(moves=histories(story))
        def check(moves: list[Move]) -> None:
            tree = Tree(tmp_path, dsn, run)
            try:
                for move in moves:
                    tree.apply(move)
                tree.undo_all()
                assert tree.state() == base
            finally:
                tree.forget()

        check()
