"""The first ring: what type checkers say about the table, which is each mistake at its line and nothing else."""

from pathlib import Path

import pytest

from tests.typing.checkers import CHECKERS, CheckerMissingError
from tests.typing.entry import Table, exchanged, first_of_each_topic
from tests.typing.mended import mended
from tests.typing.source import write_sources
from tests.typing.table import TABLE, TOPICS
from tests.typing.verdict import Verdict, judged


def checked(name: str, table: Table, directory: Path) -> Verdict:
    sources = write_sources(table, directory)
    try:
        return judged(sources, CHECKERS[name](directory))
    except CheckerMissingError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def mended_table(tmp_path_factory: pytest.TempPathFactory) -> Table:
    return mended(write_sources(TABLE, tmp_path_factory.mktemp("mended")), TABLE)


@pytest.mark.parametrize("name", CHECKERS)
def test_checker_finds_each_mistake_and_nothing_wrong_with_correct_snippets_and_with_mended_lines(
    name: str, mended_table: Table, tmp_path: Path
) -> None:
    verdict = checked(name, (*TABLE, *mended_table), tmp_path)
    assert verdict.is_right, f"{name}:\n{verdict}"


# ---- negative controls: the ring has to notice a checker that finds nothing, and one that flags everything ----


EXCHANGED = exchanged(first_of_each_topic(TABLE))


@pytest.mark.parametrize("name", CHECKERS)
def test_exchanged_snippets_are_all_judged_wrong(name: str, tmp_path: Path) -> None:
    verdict = checked(name, EXCHANGED, tmp_path)
    assert verdict.missed == EXCHANGED
    assert len(verdict.flagged) == len(EXCHANGED)


def test_checker_that_finds_nothing_misses_every_mistake(tmp_path: Path) -> None:
    verdict = judged(write_sources(TABLE, tmp_path), set())
    assert verdict.missed == TABLE
    assert not verdict.is_right


def test_checker_that_flags_everything_is_judged_wrong(tmp_path: Path) -> None:
    sources = write_sources(TABLE, tmp_path)
    everything = {
        (file.name, number)
        for file in sources.files
        for number in range(1, len(file.read_text(encoding="utf-8").splitlines()) + 1)
    }
    verdict = judged(sources, everything)
    assert not verdict.missed
    assert len(verdict.flagged) > len(TABLE)
    assert len(verdict.astray) >= len(TABLE)


# ---- the table itself ----


def test_table_holds_many_mistakes_of_each_topic_with_names_of_their_own() -> None:
    assert len(TABLE) >= 200
    assert all(len(entries) >= 10 for entries in TOPICS.values())
    names = [(entry.topic, entry.name) for entry in TABLE]
    assert len(names) == len(set(names))


def test_no_snippet_stands_twice_in_the_table() -> None:
    wrong, right = [entry.wrong for entry in TABLE], [entry.right for entry in TABLE]
    assert sorted(wrong) == sorted(set(wrong))
    assert sorted(right) == sorted(set(right))
    assert not set(wrong) & set(right)
