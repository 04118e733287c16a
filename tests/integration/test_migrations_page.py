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
TOGETHER = "Tables and flows in one revision"
BOTH = """
from flowdsl import Flow

def pack(order: int) -> str:
    return f"parcel of {order}"

def label(parcel: str) -> str:
    return f"{parcel}, labelled"

def send(parcel: str) -> bool:
    return True

ship = Flow("ship", int).step(pack).step(label, pack).step(send, label)
"""


def files() -> dict[str, str]:
    """The files that the page shows."""
    found = re.findall(r"<!-- file: (\S+) -->\n```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    return dict(found)


def commands(name: str) -> Iterator[tuple[str, str]]:
    """Yield each command of the blocks of this name, and what it prints."""
    yield from typed_in("".join(re.findall(rf"<!-- {name} -->\n```console\n(.*?)```", PAGE.read_text(), re.DOTALL)))


def typed_in(block: str) -> Iterator[tuple[str, str]]:
    for command in block.removeprefix("$ ").split("\n$ "):
        line, _, output = command.partition("\n")
        yield line, output


def neutral(text: str, directory: Path) -> list[str]:
    lines = (line.replace(f"{directory}/", "") for line in text.strip().splitlines())
    # Which of two branches comes first depends on the ids.
    lines = (" ".join(sorted(line.split())) if "compiled on two branches" in line else line for line in lines)
    return [HEX.sub("…", line).rstrip() for line in lines]


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


def test_a_table_and_a_flow_in_one_revision(terminal: Terminal) -> None:
    """A reader who does what the section says, in its order and nothing else, sees what it shows."""
    directory, typed = terminal.project.directory, []
    for wish, text in re.findall(r"<!-- (.*?) -->\n```\w+\n(.*?)```", section(TOGETHER), re.DOTALL):
        if wish.startswith("file: "):
            (directory / wish.removeprefix("file: ")).write_text(text)
        elif wish == "autogenerate":
            for line, shown in typed_in(text):
                check(terminal, line, shown)
                typed.append(line)
        else:
            name, old = wish.removeprefix("in ").split(" in place of: ")
            before = (directory / name).read_text()
            assert before.splitlines().count(old) == 1
            (directory / name).write_text(before.replace(f"{old}\n", text))
    assert len([line for line in typed if "--autogenerate" in line]) == 1
    assert typed[-1] == "pgflow compile"


def test_one_flow_on_two_branches_and_the_way_out(terminal: Terminal) -> None:
    for name, text in files().items():
        (terminal.project.directory / name).write_text(text)
    (terminal.project.directory / "both.py").write_text(BOTH)
    terminal.project.run("pgflow", "init")
    terminal.type("printf '.pgflow\\n__pycache__\\nbin\\n' > .gitignore; git init -q -b main")
    terminal.type("pgflow compile && git add . && git commit -q -m 'Pack parcels'")
    typed = list(commands("branches"))
    for line, shown in typed:
        check(terminal, line, shown)
    assert [line for line, _ in typed if line.startswith("pgflow compile --check")] != []
