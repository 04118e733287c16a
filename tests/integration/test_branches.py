"""Branches, merges and squashed histories: what was compiled is found in the files, whatever became of the tree.

The ways out that docs/migrations.md describes are gone here, step by step, in real trees and databases.
"""

import ast
import re
from pathlib import Path

import psycopg
import pytest

from flowdsl.compiler.baseline import Baseline, read_baseline
from flowdsl.compiler.revision import open_tree
from tests.unit.cli.compiling import Project, new_project

from .migration_support import MigratedProject

BILLING = """
from flowdsl import Flow

def charge(order: int) -> str:
    return f"charged {order}"

bill = Flow("bill", int).step(charge)
"""
SHIPPING = """
from flowdsl import Flow

def pack(order: int) -> str:
    return f"parcel of {order}"

ship = Flow("ship", int).step(pack)
"""
LABELLED = SHIPPING.replace(
    'ship = Flow("ship", int).step(pack)',
    'def label(parcel: str) -> str:\n    return parcel\n\nship = Flow("ship", int).step(pack).step(label, pack)',
)
SENT = SHIPPING.replace(
    'ship = Flow("ship", int).step(pack)',
    'def send(parcel: str) -> bool:\n    return True\n\nship = Flow("ship", int).step(pack).step(send, pack)',
)
LABELLED_AND_SENT = LABELLED.replace(
    'ship = Flow("ship", int).step(pack).step(label, pack)',
    "def send(parcel: str) -> bool:\n    return True\n\n"
    'ship = Flow("ship", int).step(pack).step(label, pack).step(send, label)',
)


class Tree:
    """A project with the commands of both tools, and a database."""

    def __init__(self, project: Project, url: str) -> None:
        self.project = project
        self.migrations = MigratedProject(directory=project.directory, url=url)
        project.write("pyproject.toml", '[tool.pgflow]\nflows = ["shipping"]\n')
        project.write("shipping.py", SHIPPING)
        project.ok("init")

    def compile(self, *options: str) -> Path:
        """Compile, and return the file that was written."""
        outcome = self.project.ok("compile", *options)
        found = re.search(r"^wrote (.*)$", outcome.out, re.MULTILINE)
        assert found is not None, outcome
        return self.project.directory / found.group(1)

    def alembic(self, *arguments: str) -> str:
        return self.migrations.alembic(*arguments)

    def baseline(self) -> Baseline:
        return read_baseline(open_tree(self.project.directory).files)

    def versions(self) -> list[tuple[str, int]]:
        """The versions in the database."""
        with psycopg.connect(self.migrations.url) as conn:
            return conn.execute("select flow_slug, flow_version from pgflow.flow_versions order by 1, 2").fetchall()

    def flows(self, **modules: str) -> None:
        for name, text in modules.items():
            self.project.write(f"{name}.py", text)
        names = ", ".join(f'"{name}"' for name in modules)
        self.project.write("pyproject.toml", f"[tool.pgflow]\nflows = [{names}]\n")


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, empty_dsn: str) -> Tree:
    return Tree(new_project(tmp_path, monkeypatch), empty_dsn)


def revision_of(path: Path) -> str:
    found = re.search(r'^revision = "(.*)"$', path.read_text(), re.MULTILINE)
    assert found is not None
    return found.group(1)


def test_different_flows_compiled_on_two_branches_go_on_together_after_the_merge(tree: Tree) -> None:
    core = open_tree(tree.project.directory).heads[0]
    tree.compile()
    # On the other branch of the repository there was no shipping yet.
    tree.flows(shipping=SHIPPING, billing=BILLING)
    tree.compile("--head", core, "--splice")
    checked = tree.project.ok("compile", "--check")
    assert checked.out == "nothing to compile: the migrations are up to date\n"
    assert "the migrations have 2 heads" in checked.err
    assert "alembic merge heads" in checked.err
    tree.flows(shipping=LABELLED, billing=BILLING)
    refused = tree.project.pgflow("compile")
    assert "2 heads" in refused.err
    assert "alembic merge heads" in refused.err
    tree.alembic("merge", "heads", "-m", "merge")
    path = tree.compile()
    assert "ship_v2" in path.name
    tree.alembic("upgrade", "head")
    assert tree.versions() == [("bill", 1), ("ship", 1), ("ship", 2)]
    tree.alembic("downgrade", "base")


@pytest.fixture
def twice(tree: Tree) -> tuple[Tree, Path, Path]:
    """Version 2 of one flow, compiled on two branches in two different ways."""
    first = tree.compile()
    tree.project.write("shipping.py", LABELLED)
    left = tree.compile()
    # The other branch starts where this one did, and its shipping is another one.
    hidden = left.rename(left.with_suffix(".elsewhere"))
    tree.project.write("shipping.py", SENT)
    right = tree.compile()
    hidden.rename(left)
    assert revision_of(first) in right.read_text()
    tree.project.write("shipping.py", LABELLED_AND_SENT)
    return tree, left, right


@pytest.mark.parametrize("merged", [False, True])
def test_one_flow_compiled_on_two_branches_is_told_with_both_files_and_the_way_out(
    twice: tuple[Tree, Path, Path], merged: bool
) -> None:
    tree, left, right = twice
    if merged:
        tree.alembic("merge", "heads", "-m", "merge")
    checked = tree.project.pgflow("compile", "--check")
    assert checked.code == 1
    first, second = sorted([left, right], key=revision_of)
    assert checked.out == (
        "flow 'ship' was compiled on two branches that do not know of each other: "
        f"migrations/versions/{first.name} and migrations/versions/{second.name}\n"
        "Keep one of them: downgrade each database that has run the other, let what came after it (a merge too) follow what "
        "it followed, delete that file, then run `pgflow compile` again.\n"
    )
    refused = tree.project.pgflow("compile")
    assert refused.code == 3
    assert "compiled on two branches" in refused.err


@pytest.mark.parametrize("merged", [False, True])
@pytest.mark.parametrize("has_run", ["the kept one", "the deleted one", "neither"])
def test_the_way_out_of_a_flow_compiled_on_two_branches(
    twice: tuple[Tree, Path, Path], merged: bool, has_run: str
) -> None:
    tree, kept, deleted = twice
    before = re.search(r'^down_revision = "(.*)"$', deleted.read_text(), re.MULTILINE)
    assert before is not None
    if has_run != "neither":
        tree.alembic("upgrade", revision_of(kept if has_run == "the kept one" else deleted))
    if merged:
        tree.alembic("merge", "heads", "-m", "merge")
    # 1. Downgrade each database that has run the one to be deleted.
    if has_run == "the deleted one":
        tree.alembic("downgrade", before.group(1))
    # 2. Delete the file, and let what came after it follow what it followed.
    gone = revision_of(deleted)
    deleted.unlink()
    if merged:
        (merge,) = tree.project.directory.glob("migrations/versions/*merge*.py")
        text = merge.read_text()
        assert gone in text
        merge.write_text(text.replace(gone, before.group(1)))
    # 3. Compile again: what the deleted one did becomes the next version.
    path = tree.compile()
    assert "ship_v3" in path.name
    tree.alembic("upgrade", "head")
    assert tree.versions() == [("ship", 1), ("ship", 2), ("ship", 3)]
    assert tree.project.ok("compile", "--check").out == "nothing to compile: the migrations are up to date\n"
    tree.alembic("downgrade", "base")


# ---- a squashed history ----------------------------------------------------------------------------------------------


def part(path: Path, name: str) -> str:
    """The source text of a constant of a generated file."""
    text = path.read_text()
    for statement in ast.parse(text).body:
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == name:
            return ast.get_source_segment(text, statement.value) or ""
    raise AssertionError(f"{path} has no {name}")


def squashed(files: list[Path]) -> str:
    """One revision of several that follow each other, put together as docs/migrations.md says."""
    first, last = files[0], files[-1]
    parent = re.search(r"^down_revision = (.*)$", first.read_text(), re.MULTILINE)
    assert parent is not None
    lines = [
        '"""Squashed."""',
        "from alembic import op",
        "from flowdsl.compiler.execute import run_sql",
        f'revision = "{revision_of(last)}"',
        f"down_revision = {parent.group(1)}",
        "branch_labels = None",
        "depends_on = None",
        f"UPGRADE = {part(first, 'UPGRADE')}",
        *(f"UPGRADE += {part(file, 'UPGRADE')}" for file in files[1:]),
        f"DOWNGRADE = {part(first, 'DOWNGRADE')}",
        *(f"DOWNGRADE = {part(file, 'DOWNGRADE')} + DOWNGRADE" for file in files[1:]),
        "def upgrade() -> None:",
        "    for statement in UPGRADE:",
        "        run_sql(op, statement)",
        "def downgrade() -> None:",
        "    for statement in DOWNGRADE:",
        "        run_sql(op, statement)",
        *(f"PGFLOW = {part(file, 'PGFLOW')}" for file in files),
    ]
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("from_the_core_on", [True, False])
def test_a_squashed_history_is_read_and_run_like_the_one_it_replaces(tree: Tree, from_the_core_on: bool) -> None:
    (core,) = tree.project.revisions()
    files = [core, tree.compile()]
    for text in (LABELLED, LABELLED_AND_SENT):
        tree.project.write("shipping.py", text)
        files.append(tree.compile())
    tree.alembic("upgrade", "head")
    whole, flows = tree.migrations.catalogue(), tree.baseline()
    current = tree.alembic("current")
    replaced = files if from_the_core_on else files[1:]
    text = squashed(replaced)
    for path in replaced:
        path.unlink()
    tree.project.write("migrations/versions/squashed.py", text)

    # The next compile knows all that it knew, and does not take the new file for one that was edited.
    found = tree.baseline()
    assert {slug: [(v.version, v.shape) for v in versions] for slug, versions in found.history.items()} == {
        slug: [(v.version, v.shape) for v in versions] for slug, versions in flows.history.items()
    }
    assert tree.project.ok("compile", "--check").out == "nothing to compile: the migrations are up to date\n"
    # A database that had run the old files is where it was; from there it goes on, or back and up again.
    assert tree.alembic("current") == current
    tree.project.write("shipping.py", SENT)
    assert "ship_v4" in tree.compile().name
    tree.alembic("upgrade", "head")
    tree.alembic("downgrade", "-1")
    assert tree.migrations.catalogue() == whole
    tree.alembic("downgrade", "base")
    # An empty database ends where the old files led.
    tree.alembic("upgrade", revision_of(tree.project.directory / "migrations/versions/squashed.py"))
    assert tree.migrations.catalogue() == whole


# ---- branches with labels, locations of their own, and the core on another branch ---------------------------------------


def test_a_branch_with_a_label_of_its_own_depends_on_the_core(tree: Tree) -> None:
    tree.compile()
    tree.flows(shipping=SHIPPING, billing=BILLING)
    path = tree.compile("--head", "base", "--branch-label", "billing")
    text = path.read_text()
    assert "\ndown_revision = None\n" in text
    assert '\nbranch_labels = "billing"\n' in text
    core = next(file for file in tree.project.revisions() if "core" in file.name)
    assert f'\ndepends_on = "{revision_of(core)}"\n' in text
    tree.alembic("upgrade", "billing@head")
    assert tree.versions() == [("bill", 1)]
    tree.alembic("upgrade", "heads")
    assert tree.versions() == [("bill", 1), ("ship", 1)]
    tree.flows(shipping=LABELLED, billing=BILLING)
    refused = tree.project.pgflow("compile", "--head", "billing@head")
    assert refused.code == 3
    assert "'ship' was compiled last in" in refused.err
    assert "Build on" in refused.err
    tree.compile("--head", tree.baseline().flows["ship"].file.revision)
    tree.alembic("upgrade", "heads")
    tree.alembic("downgrade", "base")


def test_a_branch_may_have_a_folder_of_its_own(tree: Tree) -> None:
    ini = tree.project.directory / "alembic.ini"
    locations = "version_locations = %(here)s/migrations/versions:%(here)s/billing_versions\n"
    ini.write_text(ini.read_text().replace("path_separator = os\n", f"path_separator = os\n{locations}"))
    (tree.project.directory / "billing_versions").mkdir()
    tree.flows(shipping=SHIPPING, billing=BILLING)
    options = ("--head", "base", "--branch-label", "billing", "--version-path", "billing_versions")
    assert tree.compile(*options).parent.name == "billing_versions"
    tree.flows(shipping=LABELLED, billing=BILLING)
    assert tree.compile("--head", "billing").parent.name == "billing_versions"
    tree.alembic("upgrade", "heads")
    assert tree.versions() == [("bill", 1), ("ship", 1), ("ship", 2)]
