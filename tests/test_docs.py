"""The documentation, held against the code: its examples run, its outputs are real, its tables are complete."""

import ast
import asyncio
import importlib
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from types import ModuleType

import psycopg
import pytest
import typer.main

from flowdsl import database
from flowdsl.cli.app import app
from flowdsl.cli.exits import EXPLANATION, ExitCode
from flowdsl.errors import REFUSALS, DefinitionError
from flowdsl.model.condition_checks import CONDITION_OPTIONS
from flowdsl.model.options import FlowOptions, StepOptions
from flowdsl.model.problems import Code
from flowdsl.model.registry import load_flows
from flowdsl.runtime.worker import Worker
from tests.conftest import Run
from tests.integration.examples_support import EXAMPLES, Project

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
CHANGELOG = ROOT / "CHANGELOG.md"
DOCS = ROOT / "docs"
PAGES = sorted([README, CHANGELOG, *DOCS.glob("*.md"), ROOT / "flowdsl" / "core" / "README.md"])
MISTAKE = ("collect(reserve))", "reserve)")


def block(kind: str, name: str | None = None, number: int = 0) -> str:
    """Return the code block of README after a comment of that name, or the one of that number."""
    text = README.read_text()
    if name is not None:
        text = text.partition(f"<!-- {name} -->\n")[2]
        assert text.startswith(f"```{kind}\n"), name
    found: list[str] = re.findall(rf"^```{kind}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return found[number]


def typed(text: str) -> list[str]:
    """Return the commands in the text of a terminal."""
    return [line.removeprefix("$ ").partition("  #")[0].rstrip() for line in text.splitlines() if line.startswith("$ ")]


def without_docstrings(code: str) -> str:
    tree = ast.parse(code)
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)) and ast.get_docstring(
            node
        ):
            node.body = node.body[1:]
    return ast.unparse(tree)


def table(heading: str) -> list[list[str]]:
    """Return the cells of the first table below a heading of README, without its header."""
    text = README.read_text().partition(f"\n{heading}\n")[2]
    lines = re.search(r"(?:^\|.*\n)+", text, re.MULTILINE)
    assert lines is not None, heading
    return [[cell.strip() for cell in line.strip("| \n").split(" | ")] for line in lines[0].splitlines()[2:]]


def quoted(cell: str) -> set[str]:
    return set(re.findall(r"`([^`]+)`", cell))


# ---- README's examples ----------------------------------------------------------------------------------------------


@pytest.fixture
def readme_modules(tmp_path: Path) -> Iterator[Path]:
    """A directory with the README's example and the program that uses it, as modules."""
    (tmp_path / "flows.py").write_text(block("python"))
    (tmp_path / "place.py").write_text(block("python", number=1))
    yield tmp_path
    for name in ("flows", "place"):
        sys.modules.pop(name, None)


def mypy(directory: Path) -> str:
    result = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--cache-dir=.cache", "."],
        cwd=directory, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode in (0, 1), result.stderr
    return result.stdout


def test_the_example_of_the_readme_is_the_one_in_the_examples() -> None:
    assert without_docstrings(block("python")) == without_docstrings((EXAMPLES / "hello_flow.py").read_text())


def test_the_python_of_the_readme_is_correct_for_mypy(readme_modules: Path) -> None:
    assert mypy(readme_modules) == "Success: no issues found in 2 source files\n"


def test_the_mypy_error_in_the_readme_is_the_real_one(readme_modules: Path) -> None:
    (readme_modules / "place.py").unlink()
    (readme_modules / "flows.py").write_text(block("python").replace(*MISTAKE))
    said = mypy(readme_modules).splitlines()[0]
    # Broken into lines for the reader, nothing else.
    assert block("text", "mypy").split() == said.split()


def test_the_definition_error_in_the_readme_is_the_real_one(
    readme_modules: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(readme_modules)
    (readme_modules / "flows.py").write_text(block("python").replace(*MISTAKE))
    with pytest.raises(DefinitionError) as caught:
        load_flows("flows", directory=readme_modules)
    assert str(caught.value) == block("text", "import").rstrip("\n")
    assert str(caught.value).split()[0] in (DOCS / "errors.md").read_text()


def test_the_commands_of_the_readme_give_the_output_of_the_readme(tmp_path: Path, empty_dsn: str) -> None:
    shown = block("console", "hello")
    (tmp_path / "flows.py").write_text((EXAMPLES / "hello_flow.py").read_text())
    project = Project(tmp_path, empty_dsn)
    pip, cd, *commands, worker, start = typed(shown)
    assert pip == "pip install '.[embedded]'"
    assert cd == "mkdir ../hello && cp examples/hello_flow.py ../hello/flows.py && cd ../hello"
    assert worker == "pgflow worker &"
    for command in commands:
        project.run(*command.split())
    with project.worker("flows.py"):
        given = re.findall(r"'(.*)'", start)[0]
        before, after = start.split(f" '{given}' ")
        printed = project.run(*before.split(), given, *after.split())
    assert printed.strip() == shown.splitlines()[-1]


def test_the_program_of_the_readme_starts_a_run_with_its_own_rows(
    readme_modules: Path, empty_dsn: str, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    Project(readme_modules, empty_dsn).prepare(readme_modules / "flows.py")
    with psycopg.connect(empty_dsn, autocommit=True) as conn:
        conn.execute("create table orders (customer text)")
    monkeypatch.syspath_prepend(readme_modules)
    place: ModuleType = importlib.import_module("place")

    async def scenario() -> object:
        worker = Worker([place.hello_flow], empty_dsn)
        async with asyncio.TaskGroup() as group:
            group.create_task(worker.run(stop_signals=False))
            try:
                return await place.place(place.Order(customer="Ada", items=["tea"]), empty_dsn)
            finally:
                worker.stop()

    assert run(scenario()) == "Ada: 1 items, 3.00 EUR"
    with psycopg.connect(empty_dsn) as conn:
        assert conn.execute("select customer from orders").fetchall() == [("Ada",)]


def test_the_demo_types_the_commands_that_the_readme_shows() -> None:
    shown = typed(block("console", "make demo"))
    source = (EXAMPLES / "demo.py").read_text()
    assert shown[0] == "make demo"
    for command in shown[1:]:
        if command.startswith(("pgflow", "alembic", "head")):
            assert command.removesuffix(" > worker.log 2>&1 &") in source, command


# ---- tables ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["conditions", "predicate"])
def test_the_readme_quotes_the_example_of_conditions(name: str) -> None:
    assert block("python", name) in (EXAMPLES / "conditions.py").read_text()


def test_the_readme_quotes_the_history_of_a_flow() -> None:
    shown = block("text", "changing").rstrip("\n").splitlines()
    assert "\n".join(f"  {line}" for line in shown) in (DOCS / "compiling.md").read_text()


def test_the_commands_of_the_proofs_name_tests_that_exist() -> None:
    files = re.findall(r"`pytest (\S+)`", (ROOT / "README.md").read_text())
    assert files
    assert [file for file in files if not (ROOT / file).exists()] == []


def options_of(command: str) -> set[str]:
    group = typer.main.get_command(app)
    found = group.commands[command]  # type: ignore[attr-defined]
    return {option for parameter in found.params for option in parameter.opts if option.startswith("--")}


def test_the_readme_lists_every_option_of_flows_and_steps() -> None:
    rows = table("### Options of flows and steps")
    listed = {name for row in rows for name in quoted(row[0])}
    assert listed == {*FlowOptions.__dataclass_fields__, *StepOptions.__dataclass_fields__, *CONDITION_OPTIONS, "slug"}


def test_the_readme_lists_every_key_of_the_configuration() -> None:
    assert {name for row in table("### Configuration") for name in quoted(row[0])} == set(database.KEYS)


def test_the_readme_lists_every_option_of_the_worker() -> None:
    listed = {name for row in table("### Options of the worker") for name in quoted(row[0])}
    assert listed - {"MODULE[:FLOW] …"} == options_of("worker") - {"--help"}


def test_the_readme_lists_every_command() -> None:
    group = typer.main.get_command(app)
    listed = {name.split()[1] for row in table("### Commands") for name in quoted(row[0])}
    assert listed == set(group.commands)  # type: ignore[attr-defined]


def test_the_readme_and_the_help_list_every_exit_code() -> None:
    listed = {int(code): row[1] for row in table("### Exit codes") for code in row[0].split(", ")}
    assert set(listed) == {code.value for code in ExitCode}
    for code, meaning in re.findall(r"^  (\d) +(.*)$", EXPLANATION, re.MULTILINE):
        assert listed[int(code)].replace("`", "") == meaning


def test_every_code_of_a_definition_error_is_explained_once() -> None:
    explained = re.findall(r"^### (PF-[EW]\d+)$", (DOCS / "errors.md").read_text(), re.MULTILINE)
    assert explained == sorted(code.value for code in Code)


def test_every_sqlstate_is_explained_with_its_class() -> None:
    for page in (DOCS / "errors.md", ROOT / "flowdsl" / "core" / "README.md"):
        explained = dict(re.findall(r"^\| `(PF\d+)` \| `(\w+)` \|", page.read_text(), re.MULTILINE))
        assert explained == {code: cls.__name__ for code, cls in REFUSALS.items()}


def test_the_glossary_gives_each_word_one_meaning() -> None:
    words = re.findall(r"^\| \*\*(.+?)\*\* \|", (DOCS / "glossary.md").read_text(), re.MULTILINE)
    assert len(words) == len(set(words))
    assert {
        "flow", "step", "run", "step state", "task", "attempt", "lease", "heartbeat", "backoff", "signal", "event", "handler",
        "slug",
    } <= set(words)  # fmt: skip


# ---- files ----------------------------------------------------------------------------------------------------------


def test_package_project_and_changelog_agree_on_the_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    newest = re.search(r"^## \[(.+?)\] - (?:Unreleased|\d{4}-\d\d-\d\d)$", CHANGELOG.read_text(), re.MULTILINE)
    assert newest is not None
    assert newest[1] == project["version"] == version("flowdsl")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        file, _, anchor = target.partition("#")
        if file.startswith("https://"):
            continue
        there = (page.parent / file).resolve() if file else page
        assert there.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.+)$", there.read_text(), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}, (
                target
            )


def test_no_page_and_no_example_names_a_directory_of_one_machine() -> None:
    home = re.escape(str(Path.home()))
    pattern = re.compile(rf"(?<![\w.…])(?:/work/|/tmp/|/root/|/home/|/Users/|{home}/)")
    files = [*PAGES, *(Path(at, name) for at, _, names in os.walk(EXAMPLES) for name in names if name[-4:] != ".pyc")]
    for file in files:
        assert not pattern.search(file.read_text()), file
