"""A flow as text and as Mermaid."""

from itertools import pairwise
from typing import Any

from flowdsl import Flow, collect, named
from flowdsl.cli.graph import graph_text, levels, mermaid_text


def split(text: str) -> list[str]:
    return text.split()


def size(word: str) -> int:
    return len(word)


def end(text: str, sizes: list[int]) -> str:
    return f"{text}: {sum(sizes)}"


def same(number: int) -> int:
    return number


def letters(word: str, text: str) -> list[str]:
    return [*word, text]


FLOW = (
    Flow("count", str).array(split).map(size, split).map(letters, split, str).step(end, str, collect(size)).returns(end)
)


def test_a_step_stands_below_all_it_waits_for() -> None:
    assert levels(FLOW.shape()) == [["split"], ["size", "letters"], ["end"]]


def test_the_text_names_what_each_step_needs() -> None:
    types = {"split": "list[str]", "size": "list[int]", "letters": "list[list[str]]", "end": "str"}
    assert graph_text(FLOW.shape(), types).splitlines() == [
        "  1  split    list[str]        <- run",
        "  2  size     list[int]        <- each of split",
        "     letters  list[list[str]]  <- each of split, run",
        "  3  end      str              <- run, collect(size)",
        "     returns end",
    ]


def test_mermaid_frames_maps_and_survives_a_step_called_end() -> None:
    assert mermaid_text(FLOW.shape()).splitlines() == [
        "flowchart TD",
        "    run([count])",
        "    step_split[split]",
        "    step_size[[size]]",
        "    step_letters[[letters]]",
        "    step_end[end]",
        "    run --> step_split",
        "    step_split ==>|each| step_size",
        "    run --> step_letters",
        "    step_split ==>|each| step_letters",
        "    run --> step_end",
        "    step_size --> step_end",
        "    output([output])",
        "    step_end --> output",
    ]


def test_a_root_map_takes_the_elements_of_the_runs_input() -> None:
    flow = Flow("lengths", list[str]).map(size)
    assert graph_text(flow.shape(), {}) == "  1  size    <- each of run"
    assert "    run ==>|each| step_size" in mermaid_text(flow.shape()).splitlines()


def test_a_chain_of_300_steps_has_300_levels() -> None:
    refs = [named(f"s{number}", same) for number in range(300)]
    flow: Flow[int, Any] = Flow("deep", int).step(refs[0])
    for before, after in pairwise(refs):
        flow = flow.step(after, before)
    assert levels(flow.shape()) == [[f"s{number}"] for number in range(300)]
