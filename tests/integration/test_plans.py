"""What calls cost does not grow with the history, the backlog or the sleepers, whatever the statistics say.

One server of its own without autovacuum, one database of 200,000 due, 1,000,000 finished and 200,000 far-future tasks.
The tables were analysed while they were nearly empty and are measured so (`stale`), then without any statistics (`none`),
then with true ones (`fresh`); each time over a new connection and over one whose plans are from the time of the nearly empty
tables. Costs are pages touched, see plans_support.py.
"""

import shutil
from collections.abc import Iterator

import pytest

from flowdsl.postgres import PostgresServer
from tests import servers
from tests.integration.plans_support import (
    CALLS,
    Size,
    connect,
    costs,
    fill,
    flow_through,
    forget_statistics,
    old_snapshot,
    prepare,
)

SIZE = Size()
FLOWED = 200_000
"""Tasks that are claimed and completed while an old snapshot is open."""

# Pages at most: about twice what was measured. The tasks of a cancelled or retried run may be a map of a hundred.
BOUNDS = {
    "claim 10": 600,
    "complete 10": 1500,
    "complete and claim 10": 2000,
    "fail 10, retry": 900,
    "fail 10 for good": 5000,
    "release 10": 1000,
    "recover 10": 800,
    "heartbeat": 60,
    "which of 10 are lost": 250,
    "start 10 runs": 600,
    "cancel a run": 2000,
    "retry a run": 4000,
    "reserve 10": 500,
    "start 10 reserved": 900,
    "make 10 visible": 500,
    "promote 10 due": 350,
    "promote, none due": 50,
    "recover, none lost": 50,
    "deadlines, none over": 20,
    "stalled, none": 250,
    "prune 10": 3000,
    "prune, none old": 50,
}

# Calls whose cost may not depend on anything but the batch: at most so many times the cost in a nearly empty database.
RATIOS = {
    "complete 10": 8,
    "fail 10, retry": 4,
    "fail 10 for good": 4,
    "release 10": 4,
    "recover 10": 4,
    "heartbeat": 4,
    "which of 10 are lost": 4,
    "start 10 runs": 4,
}

# While an old snapshot is open, what has flowed through leaves dead entries behind. These calls read some of them: versions of
# lanes, promoted tasks; the sweep for stalled tasks all that was started since (about 50 ms after 200,000 tasks).
BOUNDS_UNDER_AN_OLD_SNAPSHOT = BOUNDS | {
    "cancel a run": 3000,  # of a map of a hundred; 2,038 were seen
    "promote 10 due": 2500,  # what vacuum has taken away until then varies: 400 to 1,200 were seen
    "promote, none due": 100,
    "recover, none lost": 300,
    "stalled, none": 40_000,
}

STATISTICS = ("stale", "none", "fresh")
CONNECTIONS = ("new", "old")

Figures = dict[tuple[str, str], dict[str, int]]
"""Pages of each call, by statistics and connection."""


@pytest.fixture(scope="module")
def figures() -> Iterator[Figures]:
    directory = servers.scratch_directory()
    server: PostgresServer | None = None
    try:
        server = servers.new_server(directory)
        server.settings = {**server.settings, "autovacuum": "off", "shared_buffers": "512MB", "max_wal_size": "8GB"}
        server.start()
        servers.install_core(server.url())
        yield measured(server.url())
    finally:
        if server is not None:
            server.stop("immediate")
        shutil.rmtree(directory, ignore_errors=True)


def measured(url: str) -> Figures:
    figures: Figures = {}
    with connect(url) as conn, connect(url) as old, connect(url) as older:
        prepare(conn)
        conn.execute("analyze")
        figures["nearly empty", "new"] = costs(old)
        costs(older)
        fill(conn, SIZE)
        for statistics in STATISTICS:
            if statistics == "none":
                forget_statistics(conn)
            elif statistics == "fresh":
                conn.execute("analyze")
            figures[statistics, "old"] = costs(old)
            with connect(url) as new:
                figures[statistics, "new"] = costs(new)
        with old_snapshot(url):
            flow_through(conn, FLOWED)
            figures["old snapshot", "old"] = costs(older)
            with connect(url) as new:
                figures["old snapshot", "new"] = costs(new)
    return figures


def test_every_call_has_a_bound() -> None:
    assert {call.name for call in CALLS} == set(BOUNDS)


@pytest.mark.parametrize("connection", CONNECTIONS)
@pytest.mark.parametrize("statistics", STATISTICS)
def test_no_call_touches_more_pages_than_its_bound(figures: Figures, statistics: str, connection: str) -> None:
    found = figures[statistics, connection]
    assert {name: pages for name, pages in found.items() if pages > BOUNDS[name]} == {}


@pytest.mark.parametrize("connection", CONNECTIONS)
@pytest.mark.parametrize("statistics", STATISTICS)
def test_calls_for_a_batch_cost_about_what_they_do_in_an_empty_database(
    figures: Figures, statistics: str, connection: str
) -> None:
    small, found = figures["nearly empty", "new"], figures[statistics, connection]
    assert {name: (found[name], small[name]) for name, most in RATIOS.items() if found[name] > most * small[name]} == {}


@pytest.mark.parametrize("connection", CONNECTIONS)
def test_calls_stay_as_cheap_while_an_old_snapshot_keeps_what_has_flowed_through(
    figures: Figures, connection: str
) -> None:
    found = figures["old snapshot", connection]
    assert {name: pages for name, pages in found.items() if pages > BOUNDS_UNDER_AN_OLD_SNAPSHOT[name]} == {}
