"""What all peers share: the payload, the command line, the statistics and the answer."""

import argparse
import json
import platform
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from importlib.metadata import PackageNotFoundError, version

from pydantic import BaseModel

STEPS = 3
LIBRARIES = ("psycopg", "asyncpg", "pydantic", "sqlalchemy", "uvloop")


class Item(BaseModel):
    """What a step takes and returns: about 100 bytes of JSON, as in our own benchmark."""

    number: int
    text: str = "lorem ipsum dolor sit amet, consectetur adipiscing elit, sed do eiu"
    # Tells the last job of a plain queue to send word to the client; queues keep no result that one could wait for.
    reply: bool = False


class Role(StrEnum):
    """What a worker process is about to do; a peer may have other settings for each."""

    FLOW = "flow"
    FAN_OUT = "fan_out"
    BACKLOG = "backlog"


class MeasurementFailed(Exception):  # noqa: N818 - it says what happened
    """A measurement could not be made; the message says what, where and what to do."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """How much is measured."""

    url: str
    workload: str
    runs: int
    elements: tuple[int, ...]
    processes: tuple[int, ...]
    samples: int
    queued: tuple[int, ...]


@dataclass
class Result:
    """The figures of one workload, and the reasons for those that are missing."""

    metrics: dict[str, float] = field(default_factory=dict)
    not_measured: dict[str, str] = field(default_factory=dict)
    settings: dict[str, str] = field(default_factory=dict)


def parser(name: str, runs: int) -> argparse.ArgumentParser:
    """Build the command line that every peer has; `runs` is what takes this peer some ten seconds."""
    command = argparse.ArgumentParser(prog=f"bench.peers {name}", description=f"Measure {name} once.")
    command.add_argument("--database-url", required=True, help="any database of the server; databases are created")
    command.add_argument("--workload", choices=["W1", "W2", "W3", "W4", "W5"])
    command.add_argument("--runs", type=positive, default=runs, help="runs of the 3-step flow (default: %(default)s)")
    command.add_argument(
        "--elements", type=positive, nargs="+", default=[1_000, 10_000], help="W2: elements of the map"
    )
    command.add_argument("--processes", type=positive, nargs="+", default=[1, 2], help="W1: worker processes")
    command.add_argument("--samples", type=positive, default=200, help="W3: how often (default: %(default)s)")
    command.add_argument("--queued", type=positive, nargs="+", default=[1_000, 100_000], help="W5: runs queued")
    command.add_argument("--serve", choices=list(Role), help=argparse.SUPPRESS)
    return command


def positive(text: str) -> int:
    """Read a count of at least one."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is no count: give 1 or more")
    return number


def options(arguments: argparse.Namespace) -> Options:
    """Turn parsed arguments into options."""
    return Options(
        url=arguments.database_url,
        workload=arguments.workload,
        runs=arguments.runs,
        elements=tuple(arguments.elements),
        processes=tuple(arguments.processes),
        samples=arguments.samples,
        queued=tuple(arguments.queued),
    )


def timed(action: Callable[[], object]) -> float:
    """Return the seconds the action takes."""
    begin = time.perf_counter()
    action()
    return time.perf_counter() - begin


def percentile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that `share` of the values do not exceed (nearest rank: always a measured value)."""
    if not values:
        raise ValueError("percentile of no values")
    ordered = sorted(values)
    rank = -(-len(ordered) * round(share * 1000) // 1000)  # rounded up, without the noise of floats
    return ordered[max(rank, 1) - 1]


def answer(peer: str, package: str, workload: str, result: Result) -> str:
    """Return the one line of JSON that the caller reads."""
    return json.dumps(
        {
            "peer": peer,
            "version": version(package),
            "workload": workload,
            "metrics": {name: rounded(value) for name, value in result.metrics.items()},
            "settings": result.settings,
            "not_measured": result.not_measured,
            "versions": {"python": platform.python_version()} | installed(),
        }
    )


def rounded(value: float) -> float:
    """Keep four digits: the rest is noise, and noise is not to be compared."""
    return float(f"{value:.4g}")


def installed() -> dict[str, str]:
    """Return the versions of the libraries under the peers."""
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # a peer alone in an environment lacks some
            continue
    return found


def say(text: str) -> None:
    """Tell a person what is going on."""
    print(text, file=sys.stderr, flush=True)
