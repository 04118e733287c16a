"""What it costs to partition the tables of runs by run id: the core on hash partitions, against the core as it is.

    python -m bench.partitions [--partitions N …] [--runs N] [--repeat K]

Each round works the same runs (of three no-op steps) off without handlers, over one connection, on each layout in turn; what
counts is the processor time of the server's process, which depends less than a rate on what else the machine does. A trial, not a feature: the
installed core is not partitioned. `partitioned` shows what would have to change, apart from the tables themselves: rows are
updated by `ctid`, which several partitions have, so each such update has to name the run as well; then it also prunes.
"""

import argparse
import asyncio
import os
import re
import statistics
import uuid
from pathlib import Path

import psycopg

from bench.server import own_server
from flowdsl.compiler.diff import diff
from flowdsl.compiler.migration import upgrade_statements
from flowdsl.core.manifest import install_sql
from flowdsl.gateway import calls
from flowdsl.gateway.rows import Completed
from flowdsl.model.flow import Flow

TABLES = ("runs", "step_states", "step_tasks", "task_attempts")
BATCH = 50
_TABLE = r"create table pgflow\.({}) \((.*?)\n\)( with \([^)]*\))?;"


def partitioned_tables(sql: str, partitions: int) -> str:
    """Let the four tables consist of so many hash partitions by run id; nothing else changes."""

    def table(found: re.Match[str]) -> str:
        name, body, storage = found[1], found[2], found[3] or ""
        # A unique constraint has to contain the key of the partitions.
        body = body.replace("primary key (attempt_id)", "primary key (run_id, attempt_id)")
        parts = "".join(
            f"\ncreate table pgflow.{name}_{number} partition of pgflow.{name}"
            f" for values with (modulus {partitions}, remainder {number}){storage};"
            for number in range(partitions)
        )
        return f"create table pgflow.{name} ({body}\n) partition by hash (run_id);{parts}"

    return re.sub(_TABLE.format("|".join(TABLES)), table, sql, flags=re.DOTALL)


def named_rows(sql: str) -> str:
    """Let each update by `ctid` name the run as well."""
    sql = re.sub(r"(\w+)\.ctid as tid\b", r"\1.ctid as tid, \1.run_id as rid", sql)
    sql = re.sub(r"\btid tid,", "tid tid, rid uuid,", sql)
    sql = re.sub(r"(?<!= )(\b(?!x\b)\w+)\.tid\b(?!,? as)", r"\1.tid, \1.rid", sql)
    return re.sub(r"(\w+)\.ctid = (\w+)\.tid\b(?:, \w+\.rid)?", r"\1.ctid = \2.tid and \1.run_id = \2.rid", sql)


def partitioned(sql: str, partitions: int) -> str:
    """The whole of it: what installs a core on hash partitions."""
    return named_rows(partitioned_tables(sql, partitions))


async def first(number: int) -> int:
    """Do nothing; nobody calls it."""
    return number


async def second(number: int) -> int:
    """Do nothing; nobody calls it."""
    return number


async def third(number: int) -> int:
    """Do nothing; nobody calls it."""
    return number


linear = Flow("linear", int).step(first).step(second, first).step(third, second).returns(third)


def prepare(url: str, partitions: int) -> None:
    """Install the core, on so many partitions (0: as it is)."""
    change = diff((), linear.shape())
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute((partitioned(install_sql(), partitions) if partitions else install_sql()).encode())
        conn.execute("\n".join(upgrade_statements([change] if change else [])).encode())


def processor_seconds(pid: int) -> float:
    """Processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def work_off(url: str, runs: int) -> float:
    """Start runs and work them off; returns microseconds of the server's processor per step."""
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as conn:
        for chunk in range(0, runs, 1000):
            ids = [uuid.uuid4() for _ in range(min(1000, runs - chunk))]
            await calls.start_flows(conn, linear.slug, [b"1"] * len(ids), ids, linear.fingerprint)
        worker_id = uuid.uuid4()
        await calls.register_worker(conn, worker_id, [(linear.slug, linear.fingerprint)], None, "driver", 3600)
        done: list[Completed] = []
        steps, begin = 0, processor_seconds(conn.info.backend_pid)
        while True:
            tasks, _ = await calls.complete_and_claim_tasks(conn, worker_id, BATCH, done)
            if not tasks:
                break
            done = [Completed(task.ref, b"1") for task in tasks]
            steps += len(tasks)
        seconds = processor_seconds(conn.info.backend_pid) - begin
        if steps != 3 * runs:
            raise RuntimeError(f"{steps} steps of {3 * runs}: rows of other partitions were updated")
        cursor = await conn.execute("select count(*) from pgflow.check_invariants()")
        if await cursor.fetchone() != (0,):
            raise RuntimeError("check_invariants finds rows that do not fit together")
        return seconds / steps * 1e6


def main() -> None:
    """Parse the arguments and measure."""
    parser = argparse.ArgumentParser(description="The cost of a step on hash partitions.")
    parser.add_argument("--partitions", type=int, nargs="+", default=[0, 4, 16])
    parser.add_argument("--runs", type=int, default=2000)
    parser.add_argument("--repeat", type=int, default=5)
    options = parser.parse_args()
    with own_server() as url:
        urls = {}
        for partitions in options.partitions:
            name = f"partitions_{partitions}"
            with psycopg.connect(url, autocommit=True) as conn:
                conn.execute(f"create database {name}".encode())
            urls[partitions] = url.replace("/postgres?", f"/{name}?")
            prepare(urls[partitions], partitions)
        rates: dict[int, list[float]] = {partitions: [] for partitions in urls}
        for _ in range(options.repeat):
            for partitions, target in urls.items():
                rates[partitions].append(asyncio.run(work_off(target, options.runs)))
        for partitions, measured in rates.items():
            layout = f"{partitions} partitions" if partitions else "as it is"
            median = statistics.median(measured)
            print(f"{layout:>14}: {median:6,.0f} µs per step  ({min(measured):,.0f}-{max(measured):,.0f})")


if __name__ == "__main__":
    main()
