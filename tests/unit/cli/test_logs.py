"""Log lines of the worker command."""

import json
import logging
import sys
from collections.abc import Iterator

import pytest

from flowdsl.cli.logs import HumanFormatter, JsonFormatter, LogFormat, configure_logging

ABOUT = {"worker_id": "w", "run_id": "r", "flow_slug": "f", "step_slug": "s", "task_index": 0, "attempt": 2}


@pytest.fixture
def _logging_as_before() -> Iterator[None]:
    root, ours = logging.getLogger(), logging.getLogger("flowdsl")
    handlers, levels = root.handlers[:], (root.level, ours.level)
    root.handlers[:] = []
    yield
    root.handlers[:] = handlers
    root.setLevel(levels[0])
    ours.setLevel(levels[1])


def record(message: str, **extra: object) -> logging.LogRecord:
    made = logging.getLogger("flowdsl.runtime").makeRecord(
        "flowdsl.runtime", logging.WARNING, "f", 1, message, (), None
    )
    made.__dict__.update(extra)
    return made


def test_a_json_line_holds_the_keys_every_part_uses() -> None:
    line = json.loads(JsonFormatter().format(record("attempt failed", **ABOUT, secret="no")))
    assert line.pop("time").endswith("+00:00")
    assert line == {"level": "warning", "logger": "flowdsl.runtime", "message": "attempt failed", **ABOUT}


def test_a_human_line_names_run_step_and_attempt() -> None:
    line = HumanFormatter().format(record("attempt failed", **ABOUT))
    assert line.split(maxsplit=1)[1] == (
        "WARNING attempt failed  run_id=r flow_slug=f step_slug=s task_index=0 attempt=2"
    )


def test_a_human_line_cannot_act_on_the_terminal() -> None:
    assert "\x1b" not in HumanFormatter().format(record("\x1b[2J"))


def test_both_formats_hold_the_traceback() -> None:
    made = record("broke")
    try:
        raise ValueError("inner")
    except ValueError:
        made.exc_info = sys.exc_info()
    assert "ValueError: inner" in HumanFormatter().format(made)
    assert "ValueError: inner" in json.loads(JsonFormatter().format(made))["traceback"]


@pytest.mark.usefixtures("_logging_as_before")
def test_debug_lines_of_ours_come_with_verbose_only(capsys: pytest.CaptureFixture[str]) -> None:
    ours, theirs = logging.getLogger("flowdsl.runtime.attempt"), logging.getLogger("psycopg")
    for verbose in (False, True):
        configure_logging(LogFormat.HUMAN, verbose=verbose)
        ours.debug("ours %s", verbose)
        theirs.debug("theirs %s", verbose)
    said = capsys.readouterr()
    assert "ours True" in said.err
    assert "ours False" not in said.err
    assert "theirs" not in said.err
    assert said.out == ""
