"""Reading what the samplers say, and drawing it."""

from collections import Counter
from xml.etree import ElementTree

from bench.flame import shares, stacks_of, svg
from bench.profile import folded

PERF = """\
postgres  101  12.5:  500000 cpu-clock:
        55d1 hash_search+0x12 (/usr/lib/postgres)
        55d0 ExecScan+0x1 (/usr/lib/postgres)
        55c0 PostgresMain+0xa (/usr/lib/postgres)
        55b0 main+0xa (/usr/lib/postgres)

postgres  101  12.6:  500000 cpu-clock:
        ffff do_syscall_64 ([kernel.kallsyms])
        55d0 write+0x1 (/usr/lib/libc)

"""


def parsed(picture: str) -> ElementTree.Element:
    return ElementTree.fromstring(picture)  # noqa: S314 - what we drew ourselves


def test_stacks_of_perf_begin_with_the_backend() -> None:
    assert folded(PERF.splitlines()) == Counter(
        {("PostgresMain", "ExecScan", "hash_search"): 1, ("(beside)", "write", "do_syscall_64"): 1}
    )


def test_a_last_stack_without_an_empty_line_counts() -> None:
    assert folded(PERF.rstrip("\n").splitlines()) == folded(PERF.splitlines())


def test_folded_lines_are_read_and_others_passed_over() -> None:
    assert stacks_of(["a;b c (x.py:1) 3", "a;b c (x.py:1) 2", "", "no count"]) == Counter({("a", "b c (x.py:1)"): 5})


def test_shares_count_a_function_that_calls_itself_once() -> None:
    stacks = Counter({("a", "b", "b"): 3, ("a",): 1})
    assert shares(stacks, most=2) == [("b", 0.75, 0.75), ("a", 0.25, 1.0)]


def test_a_drawing_is_valid_and_a_box_is_as_wide_as_its_share() -> None:
    drawn = parsed(svg("a < b", Counter({("outer<T>", "left"): 3, ("outer<T>", "right"): 1})))
    space = "{http://www.w3.org/2000/svg}"
    boxes = {
        group.findtext(f"{space}title"): rect.attrib
        for group in drawn.iter(f"{space}g")
        for rect in group.iter(f"{space}rect")
    }
    assert {title: box["width"] for title, box in boxes.items()} == {
        "outer<T> 100.0%": "1200.0", "left 75.0%": "900.0", "right 25.0%": "300.0"
    }  # fmt: skip
    assert float(boxes["left 75.0%"]["y"]) < float(boxes["outer<T> 100.0%"]["y"])


def test_nothing_sampled_draws_nothing() -> None:
    assert parsed(svg("nothing", Counter())).tag.endswith("svg")
