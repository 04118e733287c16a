"""What was measured: figures with all of their values, and how they are summed up."""

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """Something that was measured, once in each round. `key` names it within its workload."""

    key: str
    label: str
    unit: str
    values: tuple[float, ...]

    @property
    def median(self) -> float:
        """The middle one; what is quoted."""
        return statistics.median(self.values)

    @property
    def low(self) -> float:
        """The smallest one."""
        return min(self.values)

    @property
    def high(self) -> float:
        """The largest one."""
        return max(self.values)

    def json(self) -> dict[str, Any]:
        """Return it for JSON, as it is and summed up."""
        return {
            "key": self.key,
            "label": self.label,
            "unit": self.unit,
            "values": [rounded(value) for value in self.values],
            "median": rounded(self.median),
            "min": rounded(self.low),
            "max": rounded(self.high),
        }

    @classmethod
    def of_json(cls, found: Mapping[str, Any]) -> "Figure":
        """Read what `json` wrote."""
        values = tuple(float(value) for value in found["values"])
        return cls(key=found["key"], label=found["label"], unit=found["unit"], values=values)


class Samples:
    """Collects the values of a workload, round after round; figures come in the order they were first measured."""

    def __init__(self) -> None:
        self._figures: dict[str, tuple[str, str, list[float]]] = {}
        self._rows: dict[str, dict[str, list[float]]] = {}
        self.notes: list[str] = []

    def add(self, key: str, label: str, unit: str, value: float) -> None:
        """Note a value."""
        self._figures.setdefault(key, (label, unit, []))[2].append(value)

    def row(self, table: str, label: str, value: float) -> None:
        """Note a value in a table of its own, beside the figures: how something went on."""
        self._rows.setdefault(table, {}).setdefault(label, []).append(value)

    @property
    def tables(self) -> dict[str, dict[str, float]]:
        """The medians of the tables' values, by table and label."""
        return {
            table: {label: statistics.median(values) for label, values in rows.items()}
            for table, rows in self._rows.items()
        }

    def note(self, text: str) -> None:
        """Note in words what the figures cannot say; once is enough."""
        if text not in self.notes:
            self.notes.append(text)

    def __iter__(self) -> Iterator[Figure]:
        for key, (label, unit, values) in self._figures.items():
            yield Figure(key=key, label=label, unit=unit, values=tuple(values))


def percentile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that at least this share of the values does not exceed (nearest rank).

    >>> percentile([3, 1, 2, 4], 0.5), percentile([3, 1, 2, 4], 0.99), percentile([7], 0.5)
    (2, 4, 7)
    """
    if not values:
        raise ValueError("there is no percentile of nothing")
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def rounded(value: float) -> float:
    """Return it with four significant digits, or whole when it is large; more were never measured.

    >>> rounded(12345.678), rounded(0.0123456), rounded(0)
    (12346.0, 0.01235, 0.0)
    """
    if not value or abs(value) >= 10_000:
        return float(round(value))
    return round(value, 3 - math.floor(math.log10(abs(value))))


def said(value: float) -> str:
    """Return a figure for people, with as many digits as mean something.

    >>> said(12345.678), said(123.456), said(1.2345), said(0.0123456), said(5.0)
    ('12,346', '123.5', '1.234', '0.01235', '5')
    """
    short = rounded(value)
    if short == int(short):
        return f"{int(short):,}"
    return f"{short:,.{max(0, 3 - math.floor(math.log10(abs(short))))}f}".rstrip("0").rstrip(".")
