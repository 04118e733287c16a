"""Everything, measured and published: python -m bench [--quick] [--only W1,W3] [--skip W7] [--repeat N] [--peers]

Starts PostgreSQL 18 from the wheel with fsync and synchronous_commit on, unless --database-url names a server. Each workload's
result goes into docs/benchmarks.json as soon as it is there, in the place of an older one, and docs/benchmarks.md is rendered
from that. With --quick nothing is published unless --output names a file.
"""

import argparse
import contextlib
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from bench.comparison import comparison
from bench.page import RESULTS, publish
from bench.peers.catalog import SETUP, peers_python
from bench.rivals import Rivals
from bench.server import own_server
from bench.tables import plain
from flowdsl.bench.report import Report
from flowdsl.bench.suite import Plan, chosen, run
from flowdsl.bench.workload import Scale, Workload
from flowdsl.errors import ConfigError, FlowError


def main() -> None:
    """Parse the arguments, measure, publish."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    options = _options()
    try:
        measure(options)
    except FlowError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


def measure(options: argparse.Namespace) -> None:
    """Measure what is asked for, and publish each result as soon as it is there."""
    output = options.output or (None if options.quick else RESULTS)
    if output is not None and not output.parent.is_dir():
        raise ConfigError(
            f"There is no directory {output.parent} for the results.", hint="Make it, or name another --output."
        )
    report, began = Report(), time.monotonic()
    with _server(options.database_url) as url:
        plan = Plan(
            url=url,
            workloads=chosen(_names(options.only), _names(options.skip)),
            scale=Scale.QUICK if options.quick else Scale.FULL,
            rounds=options.repeat,
            soak_seconds=options.soak_seconds,
        )
        rivals = _rivals(url, plan.scale) if options.peers else None
        for result in run(plan, _say, _nothing if rivals is None else rivals.measure):
            peers = () if rivals is None else rivals.results(result.key)
            newer = Report(results=(result,), peers=peers)
            report = report.merged(newer)
            if output is not None:
                publish(output, newer)
    print(plain(report))
    if options.peers:
        print(f"\n{comparison(report)}")
    _say(f"{time.monotonic() - began:.0f} s in all" + (f"; published in {output}" if output is not None else ""))


def _rivals(url: str, scale: Scale) -> Rivals:
    python = peers_python()
    if python is None:
        raise ConfigError("The peers are not installed.", hint=f"Install them: {SETUP}")
    return Rivals(url, python, scale, _say)


def _nothing(workload: Workload, number: int) -> None:
    del workload, number


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure everything, and publish it.")
    parser.add_argument(
        "--database-url", help="measure on this server, in databases made for it, not on one of our own"
    )
    parser.add_argument("--quick", action="store_true", help="less of everything, in under two minutes")
    parser.add_argument("--only", default="", metavar="W1,W3", help="these workloads only")
    parser.add_argument("--skip", default="", metavar="W7", help="not these workloads")
    parser.add_argument("--repeat", type=int, metavar="N", help="how many rounds (3, or 1 with --quick)")
    parser.add_argument("--soak-seconds", type=float, metavar="SECONDS", help="how long the soak takes (20 minutes)")
    parser.add_argument("--peers", action="store_true", help="the other libraries, too; see bench/peers")
    parser.add_argument("--output", type=Path, metavar="FILE.json", help="publish here, and in FILE.md")
    return parser.parse_args()


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


@contextlib.contextmanager
def _server(url: str | None) -> Iterator[str]:
    if url is not None:
        yield url
        return
    with own_server() as own:
        yield own


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
