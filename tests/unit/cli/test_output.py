"""How things are written for people and for machines."""

from datetime import UTC, datetime, timedelta
from io import StringIO
from uuid import UUID

import pytest
from rich.console import Console

from flowdsl.cli.output import (
    STYLES,
    brief_moment,
    columns,
    duration,
    harmless,
    moment,
    one_line,
    out,
    print_json,
    status_text,
)
from flowdsl.types import RunStatus, StepStatus, TaskStatus


@pytest.mark.parametrize(
    ("took", "written"),
    [
        (None, ""),
        (timedelta(0), "0 ms"),
        (timedelta(milliseconds=999), "999 ms"),
        (timedelta(seconds=1), "1.0 s"),
        (timedelta(seconds=59.94), "59.9 s"),
        (timedelta(seconds=61), "1 min 01 s"),
        (timedelta(seconds=3599.6), "1 h 00 min"),
        (timedelta(days=2), "48 h 00 min"),
        (timedelta(seconds=-3), "0 ms"),
    ],
)
def test_durations_are_written_as_precisely_as_a_reader_needs(took: timedelta | None, written: str) -> None:
    assert duration(took) == written


def test_moments_are_written_in_local_time() -> None:
    at = datetime(2026, 3, 1, 12, 0, 30, tzinfo=UTC)
    assert moment(at) == f"{at.astimezone():%Y-%m-%d %H:%M:%S}"
    assert moment(None) == ""


def test_a_moment_of_today_is_written_without_its_date() -> None:
    now = datetime(2026, 3, 1, 12).astimezone()
    assert brief_moment(now - timedelta(hours=1), now) == "11:00:00"
    assert brief_moment(now - timedelta(days=1), now) == "2026-02-28 12:00:00"
    assert brief_moment(None, now) == ""


def test_a_run_id_is_never_folded() -> None:
    table = columns("RUN", "FLOW")
    table.add_row("1" * 36, "x" * 80)
    console = Console(file=StringIO(), width=60)
    console.print(table)
    assert isinstance(console.file, StringIO)
    assert "1" * 36 in console.file.getvalue()


def test_control_characters_are_made_visible_and_other_text_is_kept() -> None:
    assert harmless("a\x1b[2Jb\r\n\tü 漢 \x07") == "a\ufffd[2Jb\ufffd\n\tü 漢 \ufffd"


def test_one_line_joins_and_cuts() -> None:
    assert one_line("a\n  b\tc") == "a b c"
    assert one_line("x" * 300) == "x" * 199 + "…"


def test_json_holds_times_as_iso_8601_ids_as_text_and_unicode_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"at": datetime(2026, 3, 1, tzinfo=UTC), "id": UUID(int=1), "name": "Ädä"}, indent=None)
    assert capsys.readouterr().out == (
        '{"at": "2026-03-01T00:00:00+00:00", "id": "00000000-0000-0000-0000-000000000001", "name": "Ädä"}\n'
    )


def test_json_is_escaped_where_stdout_cannot_take_it(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"half": "\ud83d"}, indent=None)
    assert capsys.readouterr().out == '{"half": "\\ud83d"}\n'


def test_a_table_in_a_pipe_is_not_cut_at_80_columns(capsys: pytest.CaptureFixture[str]) -> None:
    table = columns("A", "B")
    table.add_row("x" * 90, "y" * 90)
    out().print(table)
    assert capsys.readouterr().out.splitlines()[1].split() == ["x" * 90, "y" * 90]


def test_every_status_has_its_colour() -> None:
    assert {*RunStatus, *StepStatus, *TaskStatus} <= set(STYLES)
    assert status_text("failed").style == "bold red"
