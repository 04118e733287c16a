"""Each entry of docs/errors.md: its wrong example has exactly that problem, its right one has none, and the mended line mends."""

import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from flowdsl.errors import Problem
from flowdsl.model.findings import mends
from flowdsl.model.flow import Flow
from flowdsl.model.problems import WHY, Code
from flowdsl.model.registry import Inspection, inspect_flows

PAGE = Path(__file__).parents[3] / "docs" / "errors.md"


@dataclass(frozen=True, slots=True)
class Entry:
    """What the page says about one code."""

    code: str
    wrong: str
    right: str


def entries() -> list[Entry]:
    text = PAGE.read_text()
    parts = re.split(r"^### (PF-[EW]\d+)$", text.partition("\n## Refusals")[0], flags=re.MULTILINE)
    return [
        Entry(code, example("wrong", body), example("right", body))
        for code, body in zip(parts[1::2], parts[2::2], strict=True)
    ]


def example(kind: str, text: str) -> str:
    found = re.findall(rf"^```python\n# {kind}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert len(found) == 1, f"{kind}: {text}"
    return str(found[0])


ENTRIES = entries()


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A file to write flows into; what is imported from it is forgotten afterwards."""
    before = set(sys.modules)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.chdir(tmp_path)
    yield tmp_path / "documented_flows.py"
    for name in set(sys.modules) - before:
        del sys.modules[name]


def inspected(module: Path, code: str) -> Inspection:
    module.write_text(f"{example('prelude', PAGE.read_text())}\n\n{code}")
    sys.modules.pop(module.stem, None)
    return inspect_flows(module.name)


def all_of(found: Inspection) -> list[Problem]:
    return [*found.problems, *found.warnings()]


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.code)
def test_the_wrong_example_has_exactly_that_problem(entry: Entry, module: Path) -> None:
    problems = all_of(inspected(module, entry.wrong))
    assert {problem.code for problem in problems} == {entry.code}, "\n".join(map(str, problems))
    for problem in problems:
        assert problem.is_warning == entry.code.startswith("PF-W")
        assert problem.why
        assert problem.fix


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.code)
def test_the_right_example_has_no_problem_and_no_warning(entry: Entry, module: Path) -> None:
    assert all_of(inspected(module, entry.right)) == []


IN_WORDS = {
    Code.DUPLICATE_DEPENDENCY: "what the second parameter wants is anyone's guess",
    Code.UNRESOLVED_ANNOTATION: "where the name comes from is not known",
    Code.NO_JSON: "which type would do is not known",
    Code.TOO_MANY_DEPENDENCIES: "which of them belong together is not known",
    Code.KEYWORD_ONLY_PARAMETER: "there are two ways, and the default is not known",
    Code.NO_STEPS: "there is nothing to go by",
    Code.NO_PATTERN: "what to look for is not known",
    Code.POINTLESS_PREDICATE: "what it should say is not known",
    Code.WRONG_ARGUMENTS: "the input's type is not known",
    Code.RETURNS_TWICE: "which of the two is meant is not known",
    Code.UNUSABLE_MODULE: "it is not about flows",
    Code.DUPLICATE_FLOW: "it is not about one call",
    Code.UNREACHABLE_IN_CHILD: "where else it could be defined is not known",
    Code.LOSSY_JSON: "whether it matters is not known",
    Code.UNREAD_OUTPUT: "there are several ways",
    Code.DROPPED_FLOW: "which name it should have is not known",
}
"""The codes whose example has no mended line, and why."""


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.code)
def test_the_mended_lines_of_the_wrong_example_mend_it(entry: Entry, module: Path) -> None:
    found = inspected(module, entry.wrong)
    if entry.code in IN_WORDS:
        assert [problem.mended for problem in all_of(found)] == [None] * len(all_of(found))
        return
    assert all(problem.mended for problem in found.problems)
    text = module.read_text()
    for start, end, mended in sorted(mended_texts(found.flows), reverse=True):
        text = text[:start] + mended + text[end:]
    module.write_text(text)
    sys.modules.pop(module.stem, None)
    assert all_of(inspect_flows(module.name)) == [], text


def mended_texts(flows: Iterable[Flow[Any, Any]]) -> set[tuple[int, int, str]]:
    """Return what belongs in place of which part of the file."""
    definitions = [flow._definition for flow in flows]
    findings = [[item.told(definition.steps) for item in definition.pending] for definition in definitions]
    found = (mended for group in findings for finding in group for mended in mends(finding, group))
    return {(mended.span.start, mended.span.end, mended.text) for mended in found}


def test_every_code_has_its_entry_and_its_reason() -> None:
    assert [entry.code for entry in ENTRIES] == sorted(code.value for code in Code)
    assert set(WHY) == set(Code)
