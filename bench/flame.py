"""A flame graph as a picture: each box is a function, as wide as its share of the samples, on top of its caller."""

import html
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

Stacks = Counter[tuple[str, ...]]
"""How often each stack was seen, from the outermost function to the innermost."""

WIDTH = 1200.0
ROW = 17
_LETTER = 6.6
_NARROWEST = 0.8
"""In pixels. Narrower boxes are left out; nobody could read them."""


@dataclass(slots=True)
class _Box:
    samples: int = 0
    inner: "dict[str, _Box]" = field(default_factory=dict)


def stacks_of(lines: Iterable[str]) -> Stacks:
    """Read stacks in the folded form: `outer;inner;innermost 12` a line."""
    stacks: Stacks = Counter()
    for line in lines:
        names, _, count = line.rstrip().rpartition(" ")
        if names and count.isdigit():
            stacks[tuple(names.split(";"))] += int(count)
    return stacks


def shares(stacks: Stacks, *, most: int) -> list[tuple[str, float, float]]:
    """The functions with the largest own share: name, own share, share with all it calls; of 1."""
    own: Counter[str] = Counter()
    whole: Counter[str] = Counter()
    for names, count in stacks.items():
        own[names[-1]] += count
        for name in set(names):
            whole[name] += count
    total = max(stacks.total(), 1)
    return [(name, count / total, whole[name] / total) for name, count in own.most_common(most)]


def svg(title: str, stacks: Stacks) -> str:
    """Draw it; a box tells its name and share when the mouse is over it."""
    root = _Box(stacks.total())
    for names, count in stacks.items():
        box = root
        for name in names:
            box = box.inner.setdefault(name, _Box())
            box.samples += count
    boxes = list(_boxes(root, 0.0, 0, WIDTH / max(root.samples, 1)))
    height = (max((level for *_, level in boxes), default=0) + 3) * ROW
    drawn = "\n".join(_drawn(*box, total=root.samples, height=height) for box in boxes)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH:.0f}" height="{height}" font-family="monospace" font-size="11">\n'
        f'<rect width="100%" height="100%" fill="white"/>\n<text x="4" y="13">{html.escape(title)}</text>\n{drawn}\n</svg>\n'
    )


def _boxes(box: _Box, left: float, level: int, scale: float) -> Iterator[tuple[str, int, float, float, int]]:
    for name, inner in sorted(box.inner.items()):
        width = inner.samples * scale
        if width >= _NARROWEST:
            yield name, inner.samples, left, width, level
            yield from _boxes(inner, left, level + 1, scale)
        left += width


def _drawn(name: str, samples: int, left: float, width: float, level: int, *, total: int, height: int) -> str:
    top = height - (level + 1) * ROW
    room = int((width - 4) / _LETTER)
    text = name if len(name) <= room else f"{name[: room - 1]}…" if room > 3 else ""
    label = f'<text x="{left + 2:.1f}" y="{top + 12}">{html.escape(text)}</text>' if text else ""
    # The same function has the same warm colour wherever it stands, and in every drawing.
    hue = sum(map(ord, name)) % 50
    return (
        f"<g><title>{html.escape(name)} {samples / total:.1%}</title>"
        f'<rect x="{left:.1f}" y="{top}" width="{width:.1f}" height="{ROW - 1}" fill="hsl({hue},85%,72%)"/>{label}</g>'
    )
