"""The second ring: what a definition says about the same table, in which words, and what is none of its business."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.typing.definition import defined
from tests.typing.entry import Says, Table, Unseen, exchanged, first_of_each_topic
from tests.typing.mended import mended
from tests.typing.source import write_sources
from tests.typing.table import TABLE
from tests.typing.verdict import Verdict

SAMPLES = first_of_each_topic([entry for entry in TABLE if isinstance(entry.says, Says)])


def judged(table: Table, directory: Path) -> Verdict:
    return defined(write_sources(table, directory), table)


def test_definition_says_what_the_table_says_and_nothing_about_correct_snippets(tmp_path: Path) -> None:
    verdict = judged(TABLE, tmp_path)
    assert verdict.is_right, str(verdict)


def test_each_mended_line_is_right_when_it_is_defined(tmp_path: Path) -> None:
    (tmp_path / "wrong").mkdir()
    table = mended(write_sources(TABLE, tmp_path / "wrong"), TABLE)
    assert len(table) >= 60
    verdict = judged(table, tmp_path)
    assert verdict.is_right, str(verdict)


def test_each_expectation_has_words_or_a_reason() -> None:
    for entry in TABLE:
        words = [entry.says.why] if isinstance(entry.says, Unseen) else [text for _, text in entry.says.problems]
        assert all(words), entry.name


# ---- negative controls ----


def test_exchanged_snippets_are_all_judged_wrong(tmp_path: Path) -> None:
    verdict = judged(exchanged(SAMPLES), tmp_path)
    assert verdict.missed == exchanged(SAMPLES)
    assert len(verdict.flagged) == len(SAMPLES)


@pytest.mark.parametrize(
    "says", [Says("PF-E999", ""), Says("PF-E105", "words that nobody says"), Unseen("nobody looks")]
)
def test_other_codes_other_words_and_a_promise_of_silence_are_noticed(says: Says | Unseen, tmp_path: Path) -> None:
    other = tuple(replace(entry, says=says) for entry in SAMPLES)
    assert judged(other, tmp_path).missed == other


def test_one_problem_more_than_expected_is_noticed(tmp_path: Path) -> None:
    single = tuple(entry for entry in SAMPLES if isinstance(entry.says, Says) and not entry.says.others)
    fewer = tuple(
        replace(entry, says=replace(entry.says, others=(("PF-E105", ""),)))
        for entry in single
        if isinstance(entry.says, Says)
    )
    assert judged(fewer, tmp_path).missed == fewer
