"""The command's root: which commands there are, and the one place where errors become messages and exit codes."""

import contextlib
import errno
import os
import signal
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import Annotated, NoReturn

import typer

from flowdsl.cli.bench import bench_command
from flowdsl.cli.check import check_command
from flowdsl.cli.client import client_command
from flowdsl.cli.compile import compile_command
from flowdsl.cli.control import cancel_command, retry_command
from flowdsl.cli.core import core_app
from flowdsl.cli.exits import EXPLANATION, ExitCode, exit_code
from flowdsl.cli.explain import explain_command
from flowdsl.cli.graph import graph_command
from flowdsl.cli.init import init_command
from flowdsl.cli.runs import flows_command, runs_command
from flowdsl.cli.show import show_command
from flowdsl.cli.start import start_command
from flowdsl.cli.torture import torture_command
from flowdsl.cli.worker import worker_command
from flowdsl.errors import DatabaseError, DefinitionError, FlowError

# The disk or the quota is full, or the device fails: nothing we could mend, and no defect of ours.
NOT_WRITABLE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})
MORE = "Why, and the lines as they would be right: pgflow check"

app = typer.Typer(
    name="pgflow",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog=EXPLANATION,
)
app.command("init", short_help="Set up a project.")(init_command)
app.command("check", short_help="Tell everything that is wrong with the flows.")(check_command)
app.command("compile", short_help="Write one migration for the flows that changed.")(compile_command)
app.add_typer(core_app, name="core", short_help="Print the SQL core; upgrade it.")
app.command("client", short_help="Write a typed reference to a flow, for those who start it.")(client_command)
app.command("worker", short_help="Run a worker.")(worker_command)
app.command("start", short_help="Start a run, and wait for it with --wait.")(start_command)
app.command("runs", short_help="List runs, newest first.")(runs_command)
app.command("show", short_help="Show a run: steps, tasks, attempts, timings, errors.")(show_command)
app.command("explain", short_help="Tell what a run waits for.")(explain_command)
app.command("cancel", short_help="Cancel a run.")(cancel_command)
app.command("retry", short_help="Let a run go on after its end.")(retry_command)
app.command("flows", short_help="List the flows in the database.")(flows_command)
app.command("graph", short_help="Show a flow's steps and edges.")(graph_command)
app.command("bench", short_help="Measure what a server carries.")(bench_command)
app.command("torture", short_help="Kill everything under load, and tell what held.")(torture_command)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"flowdsl {version('flowdsl')}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Typed workflows in Python, executed by PostgreSQL."""
    del version


def main() -> NoReturn:
    """Run the command: one message and an exit code for every error of ours, a traceback for defects only."""
    signal.signal(signal.SIGTERM, _terminated)
    sys.unraisablehook = _not_swallowed
    if sys.stdout is None:
        # Closed by the caller (`>&-`): what is printed is lost, as with Python's own print, and nothing else gets its number.
        sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - until the process ends
    try:
        app(prog_name="pgflow")
    except FlowError as error:
        from flowdsl.cli.output import error as say_error

        if (
            isinstance(error, DatabaseError)
            and isinstance(error.__cause__, UnicodeEncodeError)
            and _was_given_broken_text()
        ):
            _refuse_broken_text()
        say_error(error.message, MORE if isinstance(error, DefinitionError) else error.hint)
        _end(exit_code(error))
    except KeyboardInterrupt:
        _end(ExitCode.INTERRUPTED)
    except BrokenPipeError:
        # The reader (`head`, a pager) has enough.
        _forget_output()
        _end(ExitCode.FAILED)
    except UnicodeEncodeError:
        if not _was_given_broken_text():
            raise
        _refuse_broken_text()
    except OSError as error:
        if error.errno not in NOT_WRITABLE:
            raise
        from flowdsl.cli.output import error as say_error

        _forget_output()
        say_error(f"{error.filename or 'The output'} cannot be written: {error.strerror}.")
        _end(ExitCode.FAILED)
    _end(ExitCode.OK)


def _was_given_broken_text() -> bool:
    # Python passes on bytes that are no text as halves of surrogate pairs.
    given = [*sys.argv[1:], os.environ.get("DATABASE_URL", "")]
    return any("\ud800" <= char <= "\udfff" for text in given for char in text)


def _refuse_broken_text() -> NoReturn:
    from flowdsl.cli.output import error as say_error

    say_error("An argument, or DATABASE_URL, is not valid UTF-8 text.")
    _end(ExitCode.USAGE)


def _forget_output() -> None:
    # Without this, Python would complain once more when it flushes stdout.
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _terminated(_signal: int, _frame: FrameType | None) -> NoReturn:
    # An orderly exit, so that the embedded PostgreSQL is given back.
    _end(ExitCode.TERMINATED)


def _not_swallowed(unraisable: "sys.UnraisableHookArgs") -> None:
    # A signal that arrives inside of a finalizer or a weak reference's callback ends nothing: Python ignores what is raised there.
    number = {SystemExit: signal.SIGTERM, KeyboardInterrupt: signal.SIGINT}.get(unraisable.exc_type)
    if number is None:
        sys.__unraisablehook__(unraisable)
        return
    again = threading.Timer(0.05, os.kill, (os.getpid(), number))
    again.daemon = True
    again.start()


def _end(code: ExitCode) -> NoReturn:
    raise SystemExit(int(code))


if __name__ == "__main__":
    main()
