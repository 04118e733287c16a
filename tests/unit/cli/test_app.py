"""The root of the command: help, version, unknown words, and what becomes of errors."""

import os
import signal
import sys
import threading
from importlib.metadata import version

import pytest

from flowdsl.cli import app as module
from flowdsl.cli.app import main
from flowdsl.errors import ConfigError

COMMANDS = [
    "init",
    "compile",
    "worker",
    "start",
    "runs",
    "show",
    "explain",
    "cancel",
    "retry",
    "flows",
    "graph",
    "core",
]


@pytest.fixture(autouse=True)
def _keep_signal_handlers() -> "object":
    before, hook = signal.getsignal(signal.SIGTERM), sys.unraisablehook
    yield
    signal.signal(signal.SIGTERM, before)
    sys.unraisablehook = hook


def pgflow(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["pgflow", *arguments])
    with pytest.raises(SystemExit) as caught:
        main()
    assert isinstance(caught.value.code, int)
    return caught.value.code


def test_the_help_lists_every_command_and_every_exit_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert pgflow(monkeypatch, "--help") == 0
    lines = capsys.readouterr().out.splitlines()
    first_words = [line.split()[0] for line in lines if line.strip()]
    assert [word for word in first_words if word in COMMANDS] == COMMANDS
    assert {"0", "1", "2", "3", "4", "5", "130"} <= set(first_words)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_its_help(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert pgflow(monkeypatch, command, "--help") == 0
    assert f"pgflow {command}" in capsys.readouterr().out


@pytest.mark.parametrize("command", [command for command in COMMANDS if command != "worker"])
def test_every_command_that_prints_data_prints_json_too(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pgflow(monkeypatch, command, "--help")
    assert "--json" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["worker", "start", "runs", "show", "explain", "cancel", "retry", "flows"])
def test_every_command_that_uses_a_database_lets_one_be_named(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pgflow(monkeypatch, command, "--help")
    assert "--database-url" in capsys.readouterr().out


def test_the_version_is_that_of_the_package(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert pgflow(monkeypatch, "--version") == 0
    assert capsys.readouterr().out == f"flowdsl {version('flowdsl')}\n"


def test_a_misspelt_command_is_answered_with_the_one_that_was_meant(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert pgflow(monkeypatch, "strat") == 2
    assert "Did you mean 'start'?" in capsys.readouterr().err


def test_a_misspelt_option_is_answered_with_the_one_that_was_meant(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert pgflow(monkeypatch, "runs", "--limt", "3") == 2
    assert "--limit" in capsys.readouterr().err


def fail_with(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def failing(**_options: object) -> None:
        raise error

    monkeypatch.setattr(module, "app", failing)


def test_an_error_of_ours_is_a_message_with_its_hint_and_no_markup(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fail_with(monkeypatch, ConfigError("no [tool.pgflow] in [red]x[/red]", hint="Write one: [tool.pgflow]"))
    assert pgflow(monkeypatch) == 3
    said = capsys.readouterr()
    assert said.err == "error: no [tool.pgflow] in [red]x[/red]\nWrite one: [tool.pgflow]\n"
    assert said.out == ""


def test_ctrl_c_ends_with_130_and_says_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fail_with(monkeypatch, KeyboardInterrupt())
    assert pgflow(monkeypatch) == 130
    assert capsys.readouterr() == ("", "")


def test_sigterm_is_an_orderly_exit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "app", lambda **_options: os.kill(os.getpid(), signal.SIGTERM))
    assert pgflow(monkeypatch) == 143


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_that_arrives_inside_of_a_finalizer_is_not_lost(
    monkeypatch: pytest.MonkeyPatch, number: signal.Signals, code: int
) -> None:
    class Finalized:
        def __del__(self) -> None:
            os.kill(os.getpid(), number)

    ended = threading.Event()

    def work(**_options: object) -> None:
        Finalized()
        ended.wait(60)

    monkeypatch.setattr(module, "app", work)
    assert pgflow(monkeypatch) == code


def test_a_defect_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    fail_with(monkeypatch, ZeroDivisionError("ours"))
    with pytest.raises(ZeroDivisionError):
        main()
