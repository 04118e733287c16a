"""What a benchmark came to, as JSON that later ones can be merged into: each workload keeps its own date and circumstances."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from flowdsl.bench.figures import Figure, rounded

FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What one workload came to. `seconds` is how long it took to measure it, `date` when that began, in ISO 8601."""

    key: str
    title: str
    description: str
    date: str
    scale: str
    rounds: int
    seconds: float
    environment: Mapping[str, Any]
    figures: tuple[Figure, ...]
    tables: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """How something went on: values by table and label."""
    notes: tuple[str, ...] = ()

    def json(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {
            "key": self.key,
            "title": self.title,
            "description": self.description,
            "date": self.date,
            "scale": self.scale,
            "rounds": self.rounds,
            "seconds": round(self.seconds, 1),
            "environment": dict(self.environment),
            "figures": [figure.json() for figure in self.figures],
            "tables": {table: {at: rounded(rows[at]) for at in rows} for table, rows in self.tables.items()},
            "notes": list(self.notes),
        }

    @classmethod
    def of_json(cls, found: Mapping[str, Any]) -> "Result":
        """Read what `json` wrote."""
        return cls(
            key=found["key"],
            title=found["title"],
            description=found["description"],
            date=found["date"],
            scale=found["scale"],
            rounds=found["rounds"],
            seconds=found["seconds"],
            environment=found["environment"],
            figures=tuple(Figure.of_json(figure) for figure in found["figures"]),
            tables=found["tables"],
            notes=tuple(found["notes"]),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerResult:
    """What another project's library came to at one workload, in the same words as ours. `missing`: what, and why."""

    peer: str
    workload: str
    version: str
    date: str
    figures: tuple[Figure, ...]
    settings: Mapping[str, str]
    missing: Mapping[str, str]

    def json(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {
            "peer": self.peer,
            "workload": self.workload,
            "version": self.version,
            "date": self.date,
            "figures": [figure.json() for figure in self.figures],
            "settings": dict(self.settings),
            "missing": dict(self.missing),
        }

    @classmethod
    def of_json(cls, found: Mapping[str, Any]) -> "PeerResult":
        """Read what `json` wrote."""
        return cls(
            peer=found["peer"],
            workload=found["workload"],
            version=found["version"],
            date=found["date"],
            figures=tuple(Figure.of_json(figure) for figure in found["figures"]),
            settings=found["settings"],
            missing=found["missing"],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The results of some workloads, by key and in their order, and those of peers."""

    results: tuple[Result, ...] = ()
    peers: tuple[PeerResult, ...] = ()

    def merged(self, newer: "Report") -> "Report":
        """Return both; of a workload (and peer) that both have, the newer result."""
        results = {result.key: result for result in (*self.results, *newer.results)}
        peers = {(peer.peer, peer.workload): peer for peer in (*self.peers, *newer.peers)}
        return Report(
            results=tuple(results[key] for key in sorted(results)), peers=tuple(peers[key] for key in sorted(peers))
        )

    def figure(self, workload: str, key: str, peer: str | None = None) -> Figure | None:
        """Return what was measured under this key, by us or by a peer, if it was."""
        found = [result.figures for result in self.results if result.key == workload and peer is None]
        found += [other.figures for other in self.peers if (other.peer, other.workload) == (peer, workload)]
        return next((figure for figures in found for figure in figures if figure.key == key), None)

    def scale(self, workload: str) -> str | None:
        """Return at which scale a workload was measured, if it was."""
        return next((result.scale for result in self.results if result.key == workload), None)

    def json(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {
            "format": FORMAT,
            "results": [result.json() for result in self.results],
            "peers": [peer.json() for peer in self.peers],
        }

    @classmethod
    def of_json(cls, found: Mapping[str, Any]) -> "Report":
        """Read what `json` wrote."""
        return cls(
            results=tuple(Result.of_json(result) for result in found["results"]),
            peers=tuple(PeerResult.of_json(peer) for peer in found["peers"]),
        )
