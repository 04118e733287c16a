"""Flows in `alembic revision --autogenerate` and `alembic check`: a table change and a flow change share one revision.

Importing this module in env.py is all: it registers a plugin that compares the flows of [tool.pgflow] with what the migrations
compiled last, as `pgflow compile` does, and a renderer for what it finds. The plugin's name is one that Alembic's default
`alembic.autogenerate.*` takes in; `autogenerate_plugins=["alembic.autogenerate.*", "~alembic.autogenerate.flowdsl"]` leaves it
out. An environment that has flows of its own names them with `context.configure(…, pgflow_flows=["billing.flows"])`.
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from alembic.autogenerate import renderers
from alembic.operations import MigrateOperation, Operations
from alembic.runtime.plugins import Plugin
from alembic.util import CommandError, DispatchPriority, PriorityDispatchResult

from flowdsl.compiler.execute import run_sql
from flowdsl.errors import FlowError

if TYPE_CHECKING:
    from alembic.autogenerate.api import AutogenContext, RevisionContext
    from alembic.operations.ops import UpgradeOps
    from alembic.runtime.environment import EnvironmentContext

    from flowdsl.compiler.baseline import Baseline
    from flowdsl.compiler.diff import FlowChange
    from flowdsl.compiler.revision import MigrationTree

PLUGIN: Final = "alembic.autogenerate.flowdsl"
SCHEMA: Final = "pgflow"
IMPORT: Final = "from flowdsl.compiler.execute import run_sql"

# Among those that say "Detected added table", so that one setting of the log shows or hides them all.
log = logging.getLogger(PLUGIN)


class FlowChangeOp(MigrateOperation):
    """Make the change of one flow."""

    def __init__(self, change: "FlowChange") -> None:
        self.change = change

    def reverse(self) -> "UndoFlowChangeOp":
        """Return what takes the change back."""
        return UndoFlowChangeOp(self.change)

    def to_diff_tuple(self) -> tuple[Any, ...]:
        """Return what `alembic check` prints."""
        return ("flow", self.change.summary)

    @property
    def statements(self) -> tuple[str, ...]:
        """The SQL of it."""
        from flowdsl.compiler.migration import upgrade_statements

        return upgrade_statements([self.change])


class UndoFlowChangeOp(MigrateOperation):
    """Take the change of one flow back."""

    def __init__(self, change: "FlowChange") -> None:
        self.change = change

    def reverse(self) -> FlowChangeOp:
        """Return the change itself."""
        return FlowChangeOp(self.change)

    def to_diff_tuple(self) -> tuple[Any, ...]:
        """Return what `alembic check` prints."""
        return ("undo_flow", self.change.summary)

    @property
    def statements(self) -> tuple[str, ...]:
        """The SQL of it."""
        from flowdsl.compiler.migration import downgrade_statements

        return downgrade_statements([self.change])


def leave_core_alone(
    _context: "AutogenContext", _upgrade_ops: "UpgradeOps", schemas: set[str | None]
) -> PriorityDispatchResult:
    """Take the core's schema out of the comparison: with `include_schemas` its tables would be dropped as unknown."""
    schemas.discard(SCHEMA)
    return PriorityDispatchResult.CONTINUE


def compare_flows(context: "AutogenContext", upgrade_ops: "UpgradeOps") -> PriorityDispatchResult:
    """Add what the flows need to the revision, after everything else in it.

    Raises:
        CommandError: the flows or the migrations cannot be used.
    """
    # Tables of the core that the user's own metadata describes, for queries, are not the user's to change.
    upgrade_ops.ops[:] = [op for op in upgrade_ops.ops if getattr(op, "schema", None) != SCHEMA]
    environment = context.migration_context.environment_context
    if environment is None:  # compare_metadata() on a connection: there is no tree to compare with
        return PriorityDispatchResult.CONTINUE
    try:
        changes = _changes(environment, context.opts.get("pgflow_flows"), upgrade_ops.upgrade_token)
    except FlowError as error:
        # Alembic prints its own errors as a message, without a traceback.
        raise CommandError(str(error)) from error
    for change in changes:
        log.info("Detected change of flow %s", change.summary)
        upgrade_ops.ops.append(FlowChangeOp(change))
    return PriorityDispatchResult.CONTINUE


def _changes(
    environment: "EnvironmentContext", given: Sequence[str] | None, upgrade_token: str
) -> "Sequence[FlowChange]":
    from flowdsl.compiler.baseline import read_baseline
    from flowdsl.compiler.compilation import changes
    from flowdsl.compiler.position import database_of
    from flowdsl.compiler.upgrade import core_missing, require_present
    from flowdsl.database import project_config
    from flowdsl.model.registry import inspect_flows

    project = project_config(Path(environment.script.dir))
    names = project.flows if given is None else given
    # Only an empty list in the project's own settings says that the last flow is gone.
    if not names and (given is not None or not project.lists_flows):
        return ()
    tree = _tree(environment, project.directory)
    baseline = read_baseline(tree.files)
    if baseline.core is None:
        raise core_missing(tree)
    database = database_of(tree, baseline.core, None)
    if database is not None and upgrade_token != f"{database}_upgrades":
        return ()
    flows = inspect_flows(*names, directory=project.directory)
    shapes = [flow.shape() for flow in flows.sound_flows(empty_allowed=True)]
    if not set(baseline.flows) - {shape.slug for shape in shapes}:
        flows.sound_flows()  # nothing is gone, so a module without flows is a mistake
    found = changes(shapes, baseline, complete=True)
    if found:
        require_present(baseline.core)
        _place(environment, tree, baseline, [change.slug for change in found])
    return found


def _tree(environment: "EnvironmentContext", directory: Path) -> "MigrationTree":
    from flowdsl.compiler.revision import AlembicFiles, database_names, read_tree

    config = environment.config
    files = AlembicFiles(
        ini=None if config.config_file_name is None else Path(config.config_file_name),
        toml=None if config.toml_file_name is None else Path(config.toml_file_name),
        section=config.config_ini_section,
    )
    return read_tree(environment.script, directory, files, database_names(config))


def _place(
    environment: "EnvironmentContext", tree: "MigrationTree", baseline: "Baseline", slugs: Sequence[str]
) -> None:
    """Make sure that the revision under way follows what it has to follow."""
    from flowdsl.compiler.position import Wish, find_position

    revision: RevisionContext | None = environment.context_opts.get("revision_context")
    if revision is None:
        return
    arguments = revision.command_args
    # `head` is the only one there is; with several Alembic has refused already, or refuses in its own words.
    head = None if arguments["head"] == "head" else arguments["head"]
    if head == "heads" or (head is None and len(tree.heads) > 1):
        return
    position = find_position(tree, baseline, slugs, Wish(head=head, splice=bool(arguments["splice"])))
    script = revision.generated_revisions[-1]
    if position.depends_on is not None and not script.depends_on:
        script.depends_on = position.depends_on


def render_change(context: "AutogenContext", op: FlowChangeOp) -> list[str]:
    """Return the lines of `upgrade()`: the notes a reviewer wants, the statements, and the record for the next compile."""
    from flowdsl.compiler.migration import record
    from flowdsl.compiler.source import json_block, prose

    notes = [f"# {prose(note)}".rstrip() for note in op.change.notes]
    # A name that nothing uses: linters are told that it is meant to be so.
    constant = f"PGFLOW = {json_block(record([op.change]))}  # noqa: F841, N806"
    return [*notes, *_calls(context, op.statements), "# The record for the next compile: leave it as it is.", constant]


def render_undoing(context: "AutogenContext", op: UndoFlowChangeOp) -> list[str]:
    """Return the lines of `downgrade()`."""
    from flowdsl.compiler.source import prose

    return [f"# {prose(f'Take back: {op.change.summary}')}", *_calls(context, op.statements)]


def _calls(context: "AutogenContext", statements: Sequence[str]) -> list[str]:
    from flowdsl.compiler.indentable import indentable

    context.imports.add(IMPORT)
    op = (context.opts.get("alembic_module_prefix") or "op.").rstrip(".")
    return [f"run_sql(\n    {op},\n    {indentable(statement)},\n)" for statement in statements]


def _invoke(operations: Operations, op: FlowChangeOp | UndoFlowChangeOp) -> None:
    for statement in op.statements:
        run_sql(operations, statement)


def register() -> None:
    """Register comparators, renderers and implementations: done by importing this module."""
    # A reloaded module has classes of its own, and the comparators of the first load make objects of them.
    renderers.dispatch_for(FlowChangeOp)(render_change)
    renderers.dispatch_for(UndoFlowChangeOp)(render_undoing)
    for kind in (FlowChangeOp, UndoFlowChangeOp):
        Operations.implementation_for(kind)(_invoke)
    try:
        plugin = Plugin(PLUGIN)
    except ValueError:  # loaded before: a second plugin of this name is refused
        return
    plugin.add_autogenerate_comparator(leave_core_alone, "schema", "flowdsl", priority=DispatchPriority.FIRST)
    plugin.add_autogenerate_comparator(
        compare_flows, "autogenerate", "flowdsl", qualifier="postgresql", priority=DispatchPriority.LAST
    )


register()
