"""Where the time goes when one worker process works off a flow of three steps (W1): in the worker, and in the server.

    python -m bench.profile [--runs N] [--seconds S]

The worker is sampled by py-spy (`pip install py-spy`), the server by perf (Debian: `apt-get install linux-perf`), each in a run
of its own; a third run counts the time in each function of the SQL core. Without perf the server's graph is left out. Writes
`docs/profile.md` and the graphs beside it.
"""

import argparse
import asyncio
import contextlib
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from psycopg import sql

from bench.flame import Stacks, shares, stacks_of, svg
from bench.server import own_server
from flowdsl.bench import flows
from flowdsl.bench.environment import environment
from flowdsl.bench.processes import Child, go, waiting
from flowdsl.bench.progress import until_completed
from flowdsl.bench.stage import Stage, connect, stage
from flowdsl.bench.starting import items, start_many

DOCS = Path(__file__).parent.parent / "docs"
WARM_SECONDS = 2.0
HERTZ = 500
# A stack's bytes that perf copies: the server's binary has no frame pointers, and its executor nests deeply.
STACK_BYTES = 32_768
MOST = 25
ABOUT = (
    "One worker process works off a flow of three no-op steps, all runs queued before (W1 of [the benchmarks](benchmarks.md)),"
    " with the default options. Written by `python -m bench.profile`."
)

_BACKEND = "select pid from pg_stat_activity where datname = current_database() and query like '%complete_and_claim_tasks(%' limit 1"
_FUNCTIONS = """
select funcname, calls, self_time * 1000 / %(steps)s, total_time * 1000 / %(steps)s
from pg_stat_user_functions where schemaname = 'pgflow' order by self_time desc limit 12
"""


@dataclass(frozen=True, slots=True)
class FunctionTime:
    """A function of the SQL core: microseconds a step, its own and with what it calls."""

    name: str
    calls: int
    own: float
    whole: float


@contextlib.contextmanager
def busy(place: Stage, runs: int) -> Iterator[tuple[str, Child]]:
    """A database with runs, and a worker that works them off: its URL and the worker."""
    with place.database() as url, waiting("worker", url, flows.linear.slug) as children:
        asyncio.run(start_many(url, flows.linear, items(runs)))
        go(children)
        yield url, children[0]


def worker_stacks(place: Stage, runs: int, seconds: int) -> Stacks:
    """Sample the worker's process."""
    program = shutil.which("py-spy", path=sysconfig.get_path("scripts")) or shutil.which("py-spy")
    if program is None:
        raise SystemExit("py-spy is not installed: pip install py-spy")
    with tempfile.TemporaryDirectory() as folder, busy(place, runs) as (_, worker):
        time.sleep(WARM_SECONDS)
        written = Path(folder, "stacks")
        command = [program, "record", "--pid", str(worker.pid), "--duration", str(seconds), "--rate", str(HERTZ)]
        subprocess.run(
            [*command, "--format", "raw", "--threads", "--output", written], check=True, stdout=subprocess.DEVNULL
        )
        stacks = stacks_of(written.read_text().splitlines())
    # Handlers run in the main thread here. The others wait, for the next heartbeat or the end of standard input, which py-spy
    # takes for work.
    kept = Stacks({names: count for names, count in stacks.items() if "MainThread" in names[0]})
    if not kept:
        raise SystemExit("py-spy saw no main thread")
    return kept


def server_stacks(place: Stage, runs: int, seconds: int) -> Stacks | None:
    """Sample the server's process that serves the worker; None without perf."""
    program = shutil.which("perf")
    if program is None:
        return None
    with tempfile.TemporaryDirectory() as folder, busy(place, runs) as (url, _):
        time.sleep(WARM_SECONDS)
        with connect(url) as conn:
            row = conn.execute(_BACKEND).fetchone()
        if row is None:
            raise SystemExit("the worker was done before it could be sampled: give more --runs")
        written = Path(folder, "perf.data")
        command = [program, "record", "-q", "-F", str(HERTZ), "--call-graph", f"dwarf,{STACK_BYTES}", "-p", str(row[0])]
        subprocess.run([*command, "-o", written, "--", "sleep", str(seconds)], check=True, stdout=subprocess.DEVNULL)
        told = subprocess.run(
            [program, "script", "-i", written], check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        return folded(told.stdout.splitlines())


_FRAME = re.compile(r"^\s+[0-9a-f]+ (?P<name>.+?)(\+0x[0-9a-f]+)? \(")
# What every stack begins with says nothing.
_OUTERMOST = "PostgresMain"


def folded(lines: Iterable[str]) -> Stacks:
    """Read what `perf script` says: a head, the frames from the innermost on, an empty line."""
    stacks: Stacks = Counter()
    frames: list[str] = []
    for line in [*lines, ""]:
        if frame := _FRAME.match(line):
            frames.append(frame["name"])
        elif not line.strip() and frames:
            names = tuple(reversed(frames))
            stacks[names[names.index(_OUTERMOST) :] if _OUTERMOST in names else ("(beside)", *names[-3:])] += 1
            frames = []
    return stacks


def function_times(place: Stage, runs: int) -> list[FunctionTime]:
    """Let the server count the time in each function."""
    with place.database() as url:
        with connect(url) as conn:
            # It holds for connections that are made from now on.
            name = sql.Identifier(conn.info.dbname)
            conn.execute(sql.SQL("alter database {} set track_functions = 'all'").format(name))
        with waiting("worker", url, flows.linear.slug) as children:
            asyncio.run(start_many(url, flows.linear, items(runs)))
            with connect(url) as conn:
                conn.execute("select pg_stat_reset()")
            go(children)
            steps = until_completed(url, runs, children).steps
        # A backend reports its counters when it ends, at the latest.
        with connect(url) as conn:
            return [FunctionTime(*row) for row in conn.execute(_FUNCTIONS, {"steps": steps}).fetchall()]


def page(worker: Stacks, server: Stacks | None, functions: list[FunctionTime], where: dict[str, Any]) -> str:
    """The page, in Markdown."""
    parts = [
        "# Where the time goes\n",
        f"{ABOUT}\n",
        f"{datetime.now(UTC).date()}: {_facts(where['machine'])}; {_facts(where['versions'])}.\n",
        "## The server, by function of the SQL core\n",
        "Microseconds a step by the server's own count (`track_functions`, which costs some time itself).\n",
        "| function | calls | own µs a step | with what it calls |\n|---|---:|---:|---:|",
        *(f"| `{f.name}` | {f.calls:,} | {f.own:.1f} | {f.whole:.1f} |" for f in functions),
        "",
    ]
    for title, stacks, picture in (
        ("The server, by function of PostgreSQL", server, "profile_server.svg"),
        ("The worker", worker, "profile_worker.svg"),
    ):
        if stacks is not None:
            parts += [
                f"## {title}\n",
                f"{stacks.total():,} samples. Flame graph: [{picture}]({picture}).\n",
                "| function | own share | with what it calls |\n|---|---:|---:|",
                *(f"| `{name}` | {own:.1%} | {whole:.1%} |" for name, own, whole in shares(stacks, most=MOST)),
                "",
            ]
    return "\n".join(parts)


def _facts(facts: dict[str, Any]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in facts.items())


def main() -> None:
    """Measure, and write."""
    parser = argparse.ArgumentParser(prog="python -m bench.profile", description="Where the time goes.")
    parser.add_argument("--runs", type=int, default=40_000)
    parser.add_argument("--seconds", type=int, default=8, help="how long each is sampled")
    options = parser.parse_args()
    with own_server() as url, stage(url) as place:
        print("the worker", file=sys.stderr)
        worker = worker_stacks(place, options.runs, options.seconds)
        print("the server", file=sys.stderr)
        server = server_stacks(place, options.runs, options.seconds)
        print("the functions of the core", file=sys.stderr)
        functions = function_times(place, options.runs // 4)
        with place.connect() as conn:
            machine = environment(conn)
    (DOCS / "profile_worker.svg").write_text(svg("a worker process, W1", worker))
    if server is not None:
        (DOCS / "profile_server.svg").write_text(svg("the server process of a worker, W1", server))
    (DOCS / "profile.md").write_text(page(worker, server, functions, machine))


if __name__ == "__main__":
    main()
