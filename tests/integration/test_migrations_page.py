"""The transcripts of docs/migrations.md, command by command: a table and a flow in one revision, and one flow on two branches."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from .examples_support import EXAMPLES, Project
from .test_history import Terminal

PAGE = EXAMPLES.parent / "docs" / "migrations.md"
# Ids of revisions and fingerprints depend on the core and on the flows' schemas, times on the day.
HEX = re.compile(r"\b[0-9a-f]{16}\b|\b[0-9a-f]{12}(?=_|\b)")
SECTIONS = ("Tables and flows in one revision", "Two branches")


def typed_in(block: str) -> Iterator[tuple[str, str]]:
    for command in block.removeprefix("$ ").split("\n$ "):
        line, _, output = command.partition("\n")
        yield line, output


def neutral(text: str, directory: Path) -> list[str]:
    lines = (HEX.sub("…", line.replace(f"{directory}/", "")).rstrip() for line in text.strip().splitlines())
    # Which of two branches comes first depends on the ids.
    return [" ".join(sorted(line.split())) if "compiled on two branches" in line else line for line in lines]


@pytest.fixture
def terminal(tmp_path: Path, empty_dsn: str) -> Terminal:
    project = Project(tmp_path, empty_dsn)
    found = Terminal(project)
    people = {f"GIT_{who}_{what}": "a@b.c" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    project.environment |= people
    return found


def check(terminal: Terminal, line: str, shown: str) -> None:
    """Type a command, and compare what it prints with what the page shows."""
    printed = terminal.type(line)
    directory = terminal.project.directory
    assert neutral(printed, directory) == neutral(shown, directory), line


def section(title: str) -> str:
    return PAGE.read_text().partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def test_who_does_what_the_page_says_and_nothing_else_sees_what_it_shows(terminal: Terminal) -> None:
    directory, typed = terminal.project.directory, []
    text = "".join(map(section, SECTIONS))
    for wish, block in re.findall(r"<!-- (.*?) -->\n```\w+\n(.*?)```", text, re.DOTALL):
        if wish.startswith("file: "):
            (directory / wish.removeprefix("file: ")).write_text(block)
        elif wish in ("autogenerate", "branches"):
            for line, shown in typed_in(block):
                check(terminal, line, shown)
                typed.append(line)
        else:
            name, old = wish.removeprefix("in ").split(" in place of: ")
            before = (directory / name).read_text()
            assert before.splitlines().count(old) == 1
            (directory / name).write_text(before.replace(f"{old}\n", block))
    assert len([line for line in typed if "--autogenerate" in line]) == 1
    assert len([line for line in typed if line.startswith("pgflow compile --check")]) == 1
    assert typed[-1] == "alembic upgrade head"
