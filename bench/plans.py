"""What a claim costs with a long history and a large backlog, by what the planner knows of the tables.

    python -m bench.plans [--scale X] [--claims N] [--postgres 18]

It fills a database of a server of its own (fsync and autovacuum off: the disk is not what is measured) with 200,000 due, 1,000,000 finished and 200,000
far-future tasks, and measures claims of ten: their time (median and 95th percentile, each a committed call), and the pages
that one call touches, with those of the other calls.

    nearly empty     before the fill
    stale            the tables were analysed when they were nearly empty, never since
    stale, cached    the same over a connection that has its plans from that time
    none             the tables were never analysed
    fresh            just analysed
    old snapshot     another connection keeps a snapshot open that is 150,000 tasks old
"""

import argparse
import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from flowdsl.core.manifest import install_sql
from flowdsl.postgres import PostgresServer, bundled_programs, reachable_programs, server_account
from tests.integration.plans_support import (
    CALLS,
    Size,
    connect,
    costs,
    fill,
    flow_through,
    forget_statistics,
    latencies,
    old_snapshot,
    prepare,
)

Columns = dict[str, dict[str, int]]


@contextlib.contextmanager
def server(version: int) -> Iterator[str]:
    """The URL of an empty database with the core."""
    directory = Path(tempfile.mkdtemp(prefix="pgflow-plans-"))
    directory.chmod(0o755)  # the server may run under another account
    account = server_account()
    own = PostgresServer(
        programs=reachable_programs(bundled_programs(version), account, directory / "programs"),
        data=directory / "data",
        sockets=directory / "socket",
        account=account,
        settings={"fsync": "off", "autovacuum": "off", "shared_buffers": "1GB", "max_wal_size": "8GB"},
    )
    try:
        own.create()
        own.start()
        with connect(own.url()) as conn:
            conn.execute(install_sql().encode())
        yield own.url()
    finally:
        own.stop("immediate")
        shutil.rmtree(directory, ignore_errors=True)


def measure(url: str, scale: float, claims: int) -> Columns:
    """Fill the database and measure all scenarios; prints the line of each."""
    columns: Columns = {}
    waiting = int(200_000 * scale)

    def scenario(name: str, connection_url: str | None = None) -> None:
        with contextlib.ExitStack() as stack:
            conn = cached if connection_url is None else stack.enter_context(connect(connection_url))
            columns[name] = costs(conn)
            median, high = latencies(conn, 12 if name == "nearly empty" else claims)
            print(f"{name:16}{median:10.2f}{high:10.2f}{columns[name]['claim 10']:10,}", flush=True)

    print(f"{'claim of 10':16}{'p50 ms':>10}{'p95 ms':>10}{'pages':>10}")
    with connect(url) as conn, connect(url) as cached:
        prepare(conn, runs=200)
        conn.execute("analyze")
        scenario("nearly empty", url)
        costs(cached)
        fill(conn, Size(due=waiting, finished=5 * waiting, future=waiting))
        conn.execute("checkpoint")
        scenario("stale", url)
        scenario("stale, cached")
        forget_statistics(conn)
        scenario("none", url)
        conn.execute("analyze")
        scenario("fresh", url)
        with old_snapshot(url):
            flow_through(conn, waiting * 3 // 4)
            scenario("old snapshot", url)
    return columns


def main() -> None:
    """Parse the arguments, measure, and print the pages of all calls."""
    parser = argparse.ArgumentParser(description="What calls cost with a long history and a large backlog.")
    parser.add_argument("--scale", type=float, default=1.0, help="of the numbers of tasks")
    parser.add_argument("--claims", type=int, default=400, help="timed claims in each scenario")
    parser.add_argument("--postgres", type=int, default=18, choices=(16, 18))
    options = parser.parse_args()
    with server(options.postgres) as url:
        columns = measure(url, options.scale, options.claims)
    print(f"\n{'pages of a call':22}" + "".join(f"{name:>15}" for name in columns))
    for call in CALLS:
        print(f"{call.name:22}" + "".join(f"{found[call.name]:15,}" for found in columns.values()))


if __name__ == "__main__":
    main()
