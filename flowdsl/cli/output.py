"""Where output goes: data to stdout, talk to stderr, and nothing a handler wrote may act on the terminal."""

import json
import sys
from datetime import datetime, timedelta

from rich.console import Console
from rich.table import Table
from rich.text import Text

# Wide enough for any listing; without a terminal, rich would cut at 80 columns.
WIDTH_OF_A_PIPE = 200
RUN_ID_WIDTH = 36
STYLES = {
    "completed": "green",
    "started": "cyan",
    "failed": "bold red",
    "lost": "bold red",
    "retrying": "yellow",
    "queued": "yellow",
    "created": "dim",
    "skipped": "dim",
    "cancelled": "magenta",
}


def out() -> Console:
    """Return the console for data."""
    return _console(stderr=False)


def err() -> Console:
    """Return the console for everything said beside the data: notes, progress, errors."""
    return _console(stderr=True)


def _console(*, stderr: bool) -> Console:
    is_terminal = (sys.stderr if stderr else sys.stdout).isatty()
    return Console(
        stderr=stderr, highlight=False, markup=False, emoji=False, width=None if is_terminal else WIDTH_OF_A_PIPE
    )


def note(message: str) -> None:
    """Say something beside the data."""
    err().print(Text(harmless(message), style="dim"), soft_wrap=True)


def warning(message: str) -> None:
    """Say what is not as it should be, and stops nothing."""
    err().print(Text.assemble(("warning: ", "bold yellow"), harmless(message)), soft_wrap=True)


def error(message: str, hint: str | None = None) -> None:
    """Say what went wrong, and how to mend it."""
    line = Text.assemble(("error: ", "bold red"), harmless(message))
    if hint:
        line.append(f"\n{harmless(hint)}")
    err().print(line, soft_wrap=True)


def print_json(value: object, *, indent: int | None = 2) -> None:
    """Print one JSON document on stdout; times in ISO 8601, ids as text."""
    # Text from anywhere may hold what stdout cannot take: in an old locale, or half of a surrogate pair.
    text = json.dumps(value, ensure_ascii=False, indent=indent, default=_json_of)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        text = json.dumps(value, indent=indent, default=_json_of)
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _json_of(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def columns(*titles: str) -> Table:
    """Return an empty table with these columns, without lines around it."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for title in titles:
        # An id that is cut or folded cannot be copied.
        table.add_column(title, overflow="fold", min_width=RUN_ID_WIDTH if title == "RUN" else None)
    return table


def status_text(status: str) -> Text:
    """Return a status in its colour."""
    return Text(status, style=STYLES.get(status, ""))


def harmless(text: str) -> str:
    """Return the text without control characters, which could move the cursor or recolour the terminal."""
    return "".join(char if char.isprintable() or char in "\n\t" else "\N{REPLACEMENT CHARACTER}" for char in text)


def one_line(text: str, limit: int = 200) -> str:
    """Return the text in one line, cut where it gets too long.

    >>> one_line("a  b\\nc", limit=4)
    'a b…'
    """
    joined = " ".join(harmless(text).split())
    return joined if len(joined) <= limit else f"{joined[: limit - 1].rstrip()}…"


def moment(at: datetime | None) -> str:
    """Return an instant in local time, to the second."""
    return "" if at is None else f"{at.astimezone():%Y-%m-%d %H:%M:%S}"


def brief_moment(at: datetime | None, now: datetime) -> str:
    """Return an instant in local time; without the date when it is today's, for a column has little room."""
    if at is None:
        return ""
    here = at.astimezone()
    return f"{here:%H:%M:%S}" if here.date() == now.astimezone().date() else f"{here:%Y-%m-%d %H:%M:%S}"


def duration(took: timedelta | None) -> str:
    """Return a length of time with as much precision as a reader can use.

    >>> duration(timedelta(milliseconds=12)), duration(timedelta(seconds=3.21)), duration(timedelta(seconds=3723))
    ('12 ms', '3.2 s', '1 h 02 min')
    """
    if took is None:
        return ""
    seconds = max(0.0, took.total_seconds())
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"
