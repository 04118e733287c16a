"""A flow as text and as Mermaid."""

from itertools import pairwise
from typing import Any

from flowdsl import Flow, collect, maybe, named, not_, startswith
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


def careful(sizes: list[int] | None, word: str | None) -> str:
    return f"{word} {sizes}"


def last(text: str) -> str:
    return text


CAREFUL = (
    Flow("careful", str, deadline=60)
    .array(split)
    .map(size, split, when={"split": ["a"]}, unless={"run": '"quoted" <b>'}, when_exhausted="skip")
    .step(last, str, when_exhausted="skip")
    .step(careful, maybe(collect(size)), maybe(last), when={"run": "x"}, when_unmet="fail")
)


def test_the_text_tells_conditions_and_what_may_be_missing() -> None:
    assert graph_text(CAREFUL.shape(), {}).splitlines() == [
        "  1  split      <- run",
        "     last       <- run; when exhausted: skip",
        '  2  size       <- each of split; when {"split": ["a"]}; unless {"run": "\\"quoted\\" <b>"}; when unmet: skip; when exhausted: skip',
        '  3  careful    <- maybe(collect(size)), maybe(last); when {"run": "x"}; when unmet: fail',
    ]


def test_mermaid_tells_conditions_and_dots_what_may_be_missing() -> None:
    lines = mermaid_text(CAREFUL.shape()).splitlines()
    assert (
        '    step_size[["size<br/>when #123;#34;split#34;: #91;#34;a#34;#93;#125;'
        "<br/>unless #123;#34;run#34;: #34;#92;#34;quoted#92;#34; #60;b#62;#34;#125;"
        '<br/>when unmet: skip<br/>when exhausted: skip"]]'
    ) in lines
    assert '    step_last["last<br/>when exhausted: skip"]' in lines
    assert "    step_size -.-> step_careful" in lines
    assert "    step_last -.-> step_careful" in lines
    assert "    step_split ==>|each| step_size" in lines


def test_the_json_holds_conditions_only_where_there_are_some() -> None:
    steps = {str(step.slug): step.to_json() for step in CAREFUL.shape().steps}
    assert "when_unmet" not in steps["split"]
    assert steps["careful"]["required_input_pattern"] == {"run": "x"}
    assert steps["size"]["when_exhausted"] == "skip"


def told(text: str | None) -> str:
    return str(text)


def test_predicates_are_told_in_words_and_make_edges_dotted() -> None:
    start = Flow("words", str).step(last, when=lambda text: (text != "a") & not_(startswith(text, "<b>")))
    shape = start.step(told, maybe(last)).shape()
    assert graph_text(shape, {}).splitlines() == [
        "  1  last    <- run; when text is not 'a' and text does not start with '<b>'; when unmet: skip",
        "  2  told    <- maybe(last)",
    ]
    lines = mermaid_text(shape).splitlines()
    assert "    step_last -.-> step_told" in lines
    assert not any("<b>" in line for line in lines)
