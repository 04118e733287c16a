"""What was compiled last, read from the migration files themselves: no database, and no file is executed for it.

Every revision of ours carries a constant `PGFLOW` with JSON text: the core version it installs, or the flows it compiled with
their whole shape. Following the tree in dependency order, the last word about each flow is the baseline for the next compile.
A file may carry several constants, also inside of its functions (`alembic revision --autogenerate` can write nowhere else);
they count in the order of their lines, so the files of a squashed history are read as that history.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from flowdsl.compiler.records import Record, read_file
from flowdsl.compiler.revision import RevisionFile
from flowdsl.compiler.versions import FlowVersion
from flowdsl.errors import CompileError
from flowdsl.model.chain import shown_path

WAY_OUT: Final = (
    "Keep one of them: downgrade each database that has run the other, let what came after it (a merge too) follow what it "
    "followed, delete that file, then run `pgflow compile` again."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CompiledFlow(FlowVersion):
    """A version of a flow as the revisions left it; `file` is the one that spoke of it last."""

    file: RevisionFile


@dataclass(frozen=True, slots=True, kw_only=True)
class CoreRevision:
    """The revision that brought the SQL core to a schema version, and the database of several that it did so in."""

    schema_version: int
    file: RevisionFile
    database: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """The state that a tree describes.

    `flows` are the current versions, those of retired flows included. `history` is every version since the flow was created
    (or created again after it was dropped), oldest first. `edited` are the generated files that no longer do what was
    generated. `touched` is the last revision that spoke of a flow, of a dropped one too.
    """

    core: CoreRevision | None = None
    flows: Mapping[str, CompiledFlow] = field(default_factory=dict)
    history: Mapping[str, tuple[CompiledFlow, ...]] = field(default_factory=dict)
    retired: frozenset[str] = frozenset()
    edited: tuple[RevisionFile, ...] = ()
    touched: Mapping[str, RevisionFile] = field(default_factory=dict)


class CompiledTwice(CompileError):  # noqa: N818 - named for the event, as the others are
    """Two revisions changed one flow, and neither comes after the other."""

    def __init__(self, slug: str, files: tuple[RevisionFile, RevisionFile]) -> None:
        self.slug = slug
        self.files = files
        super().__init__(
            f"flow '{slug}' was compiled on two branches that do not know of each other: "
            f"{shown_path(str(files[0].path))} and {shown_path(str(files[1].path))}",
            hint=WAY_OUT,
        )

    def __reduce__(self) -> tuple[type["CompiledTwice"], tuple[str, tuple[RevisionFile, RevisionFile]]]:
        return type(self), (self.slug, self.files)


def read_baseline(files: Sequence[RevisionFile]) -> Baseline:
    """Read the baseline from revision files in dependency order.

    Raises:
        CompileError: a constant PGFLOW is damaged.
        CompiledTwice: one flow was compiled on two branches.
    """
    reader = _Reader()
    for file in files:
        reader.read(file)
    return reader.baseline()


class _Reader:
    """The state while the files are gone through."""

    def __init__(self) -> None:
        self._core: CoreRevision | None = None
        self._history: dict[str, dict[int, CompiledFlow]] = {}
        self._retired: set[str] = set()
        self._edited: list[RevisionFile] = []
        self._touched: dict[str, RevisionFile] = {}
        # For each revision, our revisions up to it: whoever changes a flow must know the change before.
        self._known: dict[str, frozenset[str]] = {}

    def read(self, file: RevisionFile) -> None:
        earlier = frozenset[str]().union(*(self._known.get(parent, frozenset()) for parent in file.parents))
        found = read_file(file.path)
        self._known[file.revision] = earlier | {file.revision} if found.records else earlier
        if found.edited:
            self._edited.append(file)
        for record in found.records:
            self._touch(record.slugs, file)
            self._apply(record, file)

    def _touch(self, slugs: Sequence[str], file: RevisionFile) -> None:
        for slug in slugs:
            before = self._touched.get(slug)
            if before is not None and before.revision not in self._known[file.revision]:
                raise CompiledTwice(slug, (before, file))
            self._touched[slug] = file

    def _apply(self, record: Record, file: RevisionFile) -> None:
        # Branches come in no particular order, and no downgrade takes a core back.
        if record.core is not None and (self._core is None or record.core >= self._core.schema_version):
            self._core = CoreRevision(schema_version=record.core, file=file, database=record.database)
        for slug in record.dropped:
            self._history.pop(slug, None)
            self._retired.discard(slug)
        for compiled in record.flows:
            self._compile(compiled, file)
        self._retired -= set(record.restored)
        self._retired |= set(record.retired)

    def _compile(self, found: FlowVersion, file: RevisionFile) -> None:
        # A version that is known already comes again with other options.
        self._history.setdefault(found.shape.slug, {})[found.version] = CompiledFlow(
            version=found.version,
            fingerprint=found.fingerprint,
            shape=found.shape,
            serves_from=found.serves_from,
            accepts_from=found.accepts_from,
            file=file,
        )

    def baseline(self) -> Baseline:
        history = {slug: tuple(found for _, found in sorted(by.items())) for slug, by in self._history.items()}
        return Baseline(
            core=self._core,
            flows={slug: versions[-1] for slug, versions in history.items()},
            history=history,
            retired=frozenset(self._retired & history.keys()),
            edited=tuple(self._edited),
            touched=dict(self._touched),
        )
