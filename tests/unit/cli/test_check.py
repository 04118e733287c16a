"""`pgflow check` tells everything that is wrong with all flows at once, for people and for machines."""

import re
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from flowdsl.cli.check import problem_text
from flowdsl.errors import Problem
from flowdsl.model.registry import inspect_flows
from flowdsl.torture.flows import FLOWS

from .compiling import HELLO, Project, new_project

EXAMPLES = Path(__file__).parents[3] / "examples"
WRONG = """
from flowdsl import Flow, collect

def words(text: str) -> list[str]:
    return text.split()

def shout(word: str) -> str:
    return word.upper()

def join(parts: list[str]) -> str:
    return " ".join(parts)

one = Flow("one", str, timeout=0).array(words).map(shout, words).step(join, shout)
two = Flow("two", str).array(words).step(join, wrods := "wrods")
three = Flow("three", str).array(words).map(shout, words).step(join, collect(shout)).returns(join)
"""
LOSSY = """
from flowdsl import Flow

def pair(text: str) -> tuple[str, int]:
    return text, len(text)

lossy = Flow("lossy", str).step(pair)
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    return new_project(tmp_path, monkeypatch)


def codes(found: Any) -> list[tuple[str, str, str]]:
    return [(problem["code"], problem["flow"], problem["step"]) for problem in found]


def test_all_problems_of_all_flows_of_a_module_are_told_at_once(project: Project) -> None:
    project.write("shop.py", WRONG)
    outcome = project.pgflow("check", "shop.py", "--json")
    assert outcome.code == 1
    assert codes(outcome.json) == [("PF-E112", "one", None), ("PF-E108", "one", "join"), ("PF-E102", "two", "join")]


def test_a_problem_reads_as_place_code_what_why_fix_and_mended_line(project: Project) -> None:
    project.write("shop.py", WRONG)
    said = project.pgflow("check", "shop").out
    assert said.split("\n\n")[1] == (
        "shop.py:13: PF-E108 flow 'one', step 'join'\n"
        "  'shout' is a map step, whose results are a list.\n"
        "  why:   A map step has a result per element, and there is no single one to hand on.\n"
        "  fix:   Depend on collect(shout).\n"
        "  write: .step(join, collect(shout))"
    )
    assert said.endswith("\n\nok three: 3 steps  shop.py:15\n3 problems in 3 flows\n")


def test_json_has_every_field_of_every_problem(project: Project) -> None:
    project.write("shop.py", WRONG)
    assert project.pgflow("check", "shop.py:one", "--json").json[1] == {
        "code": "PF-E108",
        "severity": "error",
        "flow": "one",
        "step": "join",
        "file": "shop.py",
        "line": 13,
        "what": "'shout' is a map step, whose results are a list.",
        "why": "A map step has a result per element, and there is no single one to hand on.",
        "fix": "Depend on collect(shout).",
        "mended": ".step(join, collect(shout))",
    }


def test_flows_without_a_mistake_are_listed_and_the_exit_code_is_zero(project: Project) -> None:
    project.write("flows.py", HELLO)
    outcome = project.ok("check", "flows.py")
    assert outcome.out == "ok hello: 2 steps  flows.py:10\nno problems in 1 flow\n"
    assert project.ok("check", "flows.py", "--json").json == []


def test_without_names_the_flows_of_the_configuration_are_checked(project: Project) -> None:
    project.write("pyproject.toml", '[tool.pgflow]\nflows = ["flows", "shop"]\n')
    project.write("flows.py", HELLO)
    project.write("shop.py", WRONG)
    outcome = project.pgflow("check")
    assert outcome.code == 1
    assert "ok hello: 2 steps" in outcome.out
    assert outcome.out.endswith("3 problems in 4 flows\n")


def test_without_any_names_the_fix_is_told(project: Project) -> None:
    project.write("pyproject.toml", "")
    outcome = project.pgflow("check")
    assert outcome.code == 3
    assert "no flows to check" in outcome.err
    assert "pgflow check shop.flows" in outcome.err


def test_a_module_that_fails_is_one_more_problem_and_the_others_are_checked(project: Project) -> None:
    project.write("failing.py", "x = 1\nboom = undefined\n")
    project.write("shop.py", WRONG)
    found = project.pgflow("check", "failing.py", "nothing_here", "shop.py", "--json").json
    by_code = {problem["code"]: problem for problem in found}
    assert [problem["code"] for problem in found].count("PF-E133") == 2
    assert {"PF-E112", "PF-E108", "PF-E102"} <= set(by_code)
    failing = next(problem for problem in found if problem["file"] == "failing.py")
    assert (failing["line"], failing["flow"]) == (2, None)
    assert failing["what"] == "module 'failing' fails on import: NameError: name 'undefined' is not defined"
    missing = next(problem for problem in found if problem["file"] == "nothing_here")
    assert (missing["line"], missing["what"]) == (None, "there is no module 'nothing_here'.")


def test_a_module_that_uses_its_wrong_flow_ends_there_and_says_so(project: Project) -> None:
    project.write("shop.py", f"{WRONG}\nprint(one.steps)\nfour = Flow('four', str).step(words)\n")
    found = project.pgflow("check", "shop.py", "--json").json
    assert [problem["code"] for problem in found] == ["PF-E112", "PF-E108", "PF-E102", "PF-E133"]
    assert found[-1]["what"] == "the import of module 'shop' ends here: it uses a flow that is wrong."
    assert found[-1]["line"] == 17


def test_two_flows_of_one_slug_in_two_modules_are_told(project: Project) -> None:
    project.write("flows.py", HELLO)
    project.write("copy.d/other.py", HELLO)
    found = project.pgflow("check", "flows.py", "copy.d/other.py", "--json").json
    assert [(problem["code"], problem["flow"], problem["file"]) for problem in found] == [
        ("PF-E134", "hello", "copy.d/other.py")
    ]
    assert found[0]["what"] == "two flows are called 'hello': flows.py:10 and copy.d/other.py:10."


def test_warnings_are_shown_and_count_only_when_strict(project: Project) -> None:
    project.write("lossy.py", LOSSY)
    outcome = project.ok("check", "lossy.py")
    assert "lossy.py:7: PF-W201 (warning) flow 'lossy', step 'pair'" in outcome.out
    assert "ok lossy: 1 step, 1 warning  lossy.py:7\nno problems, 1 warning in 1 flow\n" in outcome.out
    assert project.ok("check", "lossy.py", "--json").json[0]["severity"] == "warning"
    assert project.pgflow("check", "lossy.py", "--strict").code == 1
    assert project.pgflow("check", "lossy.py", "--strict", "--json").code == 1


def test_compile_points_to_the_warnings(project: Project) -> None:
    project.write("lossy.py", LOSSY)
    project.write("pyproject.toml", '[tool.pgflow]\nflows = ["lossy"]\n')
    project.ok("init")
    assert project.ok("compile").err.startswith("1 warning about the flows: see pgflow check\n")
    assert "1 warning about the flows: see pgflow check lossy.py\n" in project.ok("compile", "lossy.py").err


def test_compile_tells_all_problems_of_all_flows(project: Project) -> None:
    project.write("shop.py", WRONG)
    project.write("failing.py", "boom = undefined\n")
    project.write("pyproject.toml", '[tool.pgflow]\nflows = ["shop", "failing"]\n')
    outcome = project.pgflow("compile")
    assert outcome.code == 3
    assert re.findall(r"PF-E\d+", outcome.err) == ["PF-E112", "PF-E108", "PF-E102", "PF-E133"]


def test_problems_come_file_by_file_from_top_to_bottom(project: Project) -> None:
    project.write("shop.py", WRONG)
    project.write("more.py", WRONG.replace('"one"', '"four"').replace('"two"', '"five"').replace('"three"', '"six"'))
    found = project.pgflow("check", "shop", "more", "--json").json
    assert [(problem["file"], problem["line"]) for problem in found] == [
        (file, line) for file in ("shop.py", "more.py") for line in (13, 13, 14)
    ]


def test_a_terminal_gets_colours_and_no_control_characters_of_the_user(tmp_path: Path) -> None:
    problem = Problem(
        code="PF-E101", flow_slug="a\x1b[31mb", location="x.py:1", what="it's \x1b[2J bad.", fix="Mend it."
    )
    with (tmp_path / "out").open("w") as file:
        Console(file=file, force_terminal=True, highlight=False, markup=False).print(problem_text(problem))
    said = (tmp_path / "out").read_text()
    assert "\x1b[1;31mPF-E101" in said
    assert "\x1b[2J" not in said
    assert "a\N{REPLACEMENT CHARACTER}[31mb" in said


@pytest.mark.parametrize("example", ["analyze_website", "conditions", "hello_flow", "stdlib_audit"])
def test_the_examples_have_no_problem_and_no_warning(example: str) -> None:
    found = inspect_flows(str(EXAMPLES / f"{example}.py"))
    assert found.flows
    assert [*found.problems, *found.warnings()] == []


def test_the_flows_of_the_torture_have_one_output_that_only_the_torture_reads() -> None:
    assert [(str(w.code), w.step_slug) for flow in FLOWS for w in flow.warnings()] == [("PF-W202", "beyond")]


def test_the_problem_shown_in_the_documentation_is_the_real_one(project: Project) -> None:
    source = (EXAMPLES / "hello_flow.py").read_text()
    assert "collect(reserve))" in source
    project.write("hello_flow.py", source.replace("collect(reserve))", "reserve)"))
    shown = re.findall(
        r"^```text\n(hello_flow.*?)```", (EXAMPLES.parent / "docs" / "errors.md").read_text(), re.MULTILINE | re.DOTALL
    )
    assert project.pgflow("check", "hello_flow.py").out.startswith(shown[0])


def test_what_a_module_prints_is_no_part_of_the_answer(project: Project) -> None:
    project.write("loud.py", f"print('hello')\n{HELLO}")
    outcome = project.ok("check", "loud.py", "--json")
    assert outcome.json == []
    assert outcome.err == "hello\n"


def test_what_a_module_prints_is_no_part_of_any_commands_data(project: Project) -> None:
    project.write("loud.py", f"print('hello')\n{HELLO}")
    project.write("pyproject.toml", '[tool.pgflow]\nflows = ["loud"]\n')
    project.ok("init")
    for command in (["compile", "--json"], ["graph", "loud.py", "--json"], ["check", "--json"]):
        outcome = project.ok(*command)
        assert outcome.json is not None
        assert outcome.err.startswith("hello\n")
    project.write("more.py", f"print('hello')\n{HELLO}\n".replace('"hello"', '"more"'))
    assert project.ok("compile", "more.py", "--sql").out.startswith("-- more: new flow")
    assert project.ok("client", "more.py").out.startswith('"""')


def test_wrong_flows_are_what_check_looks_for_and_what_other_commands_cannot_use(project: Project) -> None:
    project.write("shop.py", WRONG)
    assert project.pgflow("check", "shop.py").code == 1
    assert project.pgflow("check", "no_such_file.py").code == 1
    assert {project.pgflow(command, "shop.py").code for command in ("compile", "graph", "client", "worker")} == {3}
    assert "1 there are problems" in " ".join(project.ok("check", "--help").out.replace("│", "").split())


def test_problems_of_a_flow_that_goes_on_from_a_sound_one_are_no_warnings_of_that(project: Project) -> None:
    words = WRONG.partition("one = ")[0]
    project.write("base.py", f"{words}\nbase = Flow('base', str).array(words)\n_wrong = base.step(join, shout)\n")
    said = project.pgflow("check", "base.py").out
    assert "\nok base: 1 step  base.py:14\n1 problem in 1 flow\n" in said
