"""Reports made of nothing but the figures a test is about."""

from flowdsl.bench.figures import Figure
from flowdsl.bench.report import PeerResult, Report, Result

ENVIRONMENT = {
    "machine": {"processor": "Abacus", "architecture": "wood", "cores": 2, "memory_gb": 0.5, "system": "Linux 6"},
    "versions": {"postgresql": "18.4", "python": "3.11.7"},
    "settings": {"fsync": "on"},
}


def figures(**values: tuple[float, ...]) -> tuple[Figure, ...]:
    return tuple(
        Figure(key=key, label=key.replace("_", " "), unit="units", values=found) for key, found in values.items()
    )


def result(
    key: str, *, date: str = "2026-11-21T10:00:00+00:00", scale: str = "full", **values: tuple[float, ...]
) -> Result:
    return Result(
        key=key,
        title=f"title of {key}",
        description=f"Description of {key}.",
        date=date,
        scale=scale,
        rounds=3,
        seconds=61.25,
        environment=ENVIRONMENT,
        figures=figures(**values),
        tables={"Windows": {"first": 10.0, "last": 9.0}} if key == "W6" else {},
        notes=(f"Note of {key}.",),
    )


def peer(name: str, workload: str, **values: tuple[float, ...]) -> PeerResult:
    return PeerResult(
        peer=name,
        workload=workload,
        version="1.2.3",
        date="2026-11-21T11:00:00+00:00",
        figures=figures(**values),
        settings={"batch": "as its documentation says"},
        missing={"p99_ms": "it has no results"},
    )


def report(*results: Result, peers: tuple[PeerResult, ...] = ()) -> Report:
    return Report(results=results, peers=peers)
