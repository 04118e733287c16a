"""The peers in our run: after each of our rounds, a round of each peer on the same server."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.comparison import SHARED
from bench.peers import catalog
from flowdsl.bench.figures import Samples
from flowdsl.bench.report import PeerResult
from flowdsl.bench.workload import Scale, Workload

UNITS = {shared.key: (shared.label, shared.unit) for shared in SHARED}
QUICK: dict[str, dict[str, catalog.Option]] = {
    "W1": {"runs": 100},
    "W2": {"elements": (1_000,)},
    "W3": {"samples": 20},
    "W4": {"runs": 100},
    "W5": {"queued": (1_000,)},
}
"""How much of each workload is measured where it is to be quick."""


class Rivals:
    """Measures the peers, round by round, and keeps what they answer."""

    def __init__(self, url: str, python: Path, scale: Scale, say: Callable[[str], None]) -> None:
        self._url = url
        self._python = python
        self._scale = scale
        self._say = say
        self._answers: dict[tuple[str, str], list[dict[str, Any]]] = {}
        self._failures: dict[tuple[str, str], str] = {}
        self._dates: dict[tuple[str, str], str] = {}

    def measure(self, workload: Workload, number: int) -> None:
        """Measure one round of a workload of every peer. One that has failed is not asked again."""
        if workload.key not in catalog.WORKLOADS:
            return
        options = QUICK[workload.key] if self._scale is not Scale.FULL else {}
        for peer in catalog.PEERS:
            at = (peer, workload.key)
            if at in self._failures:
                continue
            self._say(f"{workload.key}, round {number + 1}: {peer}")
            self._dates.setdefault(at, datetime.now(UTC).isoformat(timespec="seconds"))
            try:
                answer = catalog.measure(peer, self._url, workload.key, self._python, **options)
            except catalog.PeerFailed as failure:
                self._say(str(failure))
                self._failures[at] = str(failure)
            else:
                self._answers.setdefault(at, []).append(answer)

    def results(self, workload: str) -> tuple[PeerResult, ...]:
        """Return what each peer came to at a workload."""
        return tuple(self._result(at) for at in self._dates if at[1] == workload)

    def _result(self, at: tuple[str, str]) -> PeerResult:
        answers = self._answers.get(at, [])
        samples = Samples()
        for answer in answers:
            for key, value in answer["metrics"].items():
                label, unit = UNITS.get(key, (key.replace("_", " "), ""))
                samples.add(key, label, unit, float(value))
        missing = {name: why for answer in answers for name, why in answer["not_measured"].items()}
        if at in self._failures:
            missing["the rest"] = self._failures[at]
        last: dict[str, Any] = answers[-1] if answers else {"version": "", "settings": {}}
        return PeerResult(
            peer=at[0],
            workload=at[1],
            version=last["version"],
            date=self._dates[at],
            figures=tuple(samples),
            settings=last["settings"],
            missing=missing,
        )
