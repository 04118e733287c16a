"""Random predicates, each written twice: as a lambda that flowdsl traces, and as plain Python with the rules about None.

The plain form uses `and`, `or`, `not` and Python's own operators on the real objects, and nothing of flowdsl.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, TypeAlias

from .predicate_types import FLOATS, INTS, TEXTS, Spec

PATTERNS = [
    *("a", "^a", "a$", "^$", "", ".", r"^.$", r"\d", r"^\w+$", r"\s", "[^a]", r"[a-c]b?", "(a|b)+", "a{2,3}|b", r"\bb"),
    *(
        r"\\",
        '"',
        r"\$",
        "[\\]^-]",
        "(?=a)",
        "(?!a)",
        "^(?:a|\u00e9)",
        r"x*$",
        "\U0001f600",
        r"[\W\d]",
        r"a.b",
        r"\Aa\Z",
    ),
]
ORDERED = {"int", "float", "str", "bool", "uuid", "date", "moment", "level", "tone", "choice"}
RELATED = [{"str", "tone"}, {"str", "choice"}, {"int", "level"}]


@dataclass(frozen=True)
class Access:
    """A way to a value: the name of an input or an element, and the steps from there."""

    name: str
    steps: tuple[tuple[str, Any], ...]
    spec: Spec
    may_be_none: bool

    def step(self, kind: str, part: Any, spec: Spec, *, may_lack: bool) -> "Access":
        """Go on by one step."""
        may_be_none = self.may_be_none or may_lack or spec.is_nullable
        return Access(self.name, (*self.steps, (kind, part)), spec, may_be_none)

    def traced(self) -> str:
        """Write it as a predicate would."""
        return self.name + "".join(f".{part}" if kind == "attribute" else f"[{part!r}]" for kind, part in self.steps)

    def plain(self) -> str:
        """Write it such that what None has is None."""
        text = self.name
        for kind, part in self.steps:
            text = f"{kind}({text}, {part!r})"
        return text


@dataclass(frozen=True)
class Tree:
    """One condition: what it is, and what it is made of."""

    kind: str
    parts: tuple[Any, ...]

    def subtrees(self) -> list["Tree"]:
        """Return the conditions it joins."""
        return [part for part in self.parts if isinstance(part, Tree)] if self.kind in ("and", "or", "not") else []


Roots: TypeAlias = Sequence[Access]


# ---- drawing --------------------------------------------------------------------------------------------------------


def random_tree(dice: Random, roots: Roots, depth: int = 3) -> Tree:
    """Return any condition about the inputs."""
    kind = dice.choice(["and", "or", "not", "atom", "atom"] if depth > 0 else ["atom"])
    if kind == "atom":
        return random_atom(dice, roots, depth)
    if kind == "not":
        return Tree("not", (random_tree(dice, roots, depth - 1),))
    return Tree(kind, (random_tree(dice, roots, depth - 1), random_tree(dice, roots, depth - 1)))


def random_atom(dice: Random, roots: Roots, depth: int) -> Tree:
    """Return a condition about one place or two."""
    while True:
        place = random_place(dice, dice.choice(list(roots)))
        if place.may_be_none and dice.random() < 0.15:
            return dice.choice(
                [Tree("is_none", (place,)), Tree("compare", ("==", place, None)), Tree("compare", ("!=", place, None))]
            )
        if place.spec.family == "list":
            found = _list_atom(dice, place, roots, depth)
        elif place.spec.family in ("record", "dict"):
            found = None
        else:
            found = _scalar_atom(dice, place, roots)
        if found is not None:
            return found


def random_place(dice: Random, access: Access) -> Access:
    """Walk on from a place, most often to a simple value."""
    spec = access.spec
    if spec.family == "record" and spec.parts:
        part = dice.choice(list(spec.parts.values()))
        kind = "key" if spec.by_key else "attribute"
        return random_place(dice, access.step(kind, part.name, part.spec, may_lack=part.may_lack))
    if spec.family == "dict":
        assert spec.element is not None
        key = dice.choice(["a", 'q"\\', "\u00e9", "other"])
        return random_place(dice, access.step("key", key, spec.element, may_lack=True))
    if spec.family == "list" and dice.random() < 0.3:
        assert spec.element is not None
        index = dice.choice([0, 1, 2, -1, -2, -4])
        return random_place(dice, access.step("index", index, spec.element, may_lack=True))
    return access


def _scalar_atom(dice: Random, place: Access, roots: Roots) -> Tree | None:
    family = place.spec.family
    operators = ["==", "!=", "<", "<=", ">", ">="] if family in ORDERED else ["==", "!="]
    kind = dice.choice(["constant", "constant", "in", "two", "text", "bool"])
    if kind == "bool" and family == "bool":
        return Tree("bool", (place,))
    if kind == "text" and family in ("str", "tone", "choice"):
        return Tree(
            *dice.choice([("startswith", (place, dice.choice(TEXTS))), ("matches", (place, dice.choice(PATTERNS)))])
        )
    if kind == "in":
        return Tree("in", (place, tuple(random_constant(dice, place.spec) for _ in range(dice.randrange(1, 4)))))
    if kind == "two":
        others = [random_place(dice, dice.choice(list(roots))) for _ in range(6)]
        fitting = [other for other in others if _comparable(place.spec, other.spec)]
        if fitting:
            return Tree("compare", (dice.choice(operators), place, fitting[0]))
    return Tree("compare", (dice.choice(operators), place, random_constant(dice, place.spec)))


def _comparable(one: Spec, other: Spec) -> bool:
    if one.family == "union" or other.family == "union":
        return one.pool is other.pool and one.declared == other.declared and list not in (type(v) for v in one.pool)
    return one.family == other.family or any({one.family, other.family} <= related for related in RELATED)


def random_constant(dice: Random, spec: Spec) -> Any:
    """Return something the type can be compared with."""
    if spec.family in ("int", "float") and dice.random() < 0.4:
        return dice.choice([*INTS, *FLOATS])
    if spec.family == "level":
        return dice.choice([*spec.pool, 1, 10, 1.0])
    if spec.family == "tone":
        return dice.choice([*spec.pool, "soft", "loud"])
    while isinstance(value := spec.constant(dice), list):
        pass
    return value


def _list_atom(dice: Random, place: Access, roots: Roots, depth: int) -> Tree | None:
    element = place.spec.element
    assert element is not None
    kind = dice.choice(["count", "any", "all", "in"])
    if kind == "count":
        operator = dice.choice(["==", "!=", "<", "<=", ">", ">="])
        number = dice.randrange(1 if operator in ("<", ">=") else 0, 4)
        return Tree("count", (operator, place, number))
    may_be_list = element.family == "list" or any(isinstance(value, list) for value in element.pool)
    if kind == "in" and element.pool and not may_be_list:
        others = [random_place(dice, dice.choice(list(roots))) for _ in range(6)]
        fitting = [other for other in others if _comparable(element, other.spec)]
        if fitting and dice.random() < 0.5:
            return Tree("in_list", (fitting[0], place))
        return Tree("in_list", (random_constant(dice, element), place))
    if kind in ("any", "all") and not may_be_list and depth > 0:
        name = f"item{depth}"
        item = Access(name, (), element, element.is_nullable)
        whole = [root for root in roots if not root.name.startswith("item")]
        inner = [item, item, item, *whole] if _has_scalars(element) else whole
        return Tree(kind, (place, name, random_tree(dice, inner, depth - 1)))
    return None


def _has_scalars(spec: Spec) -> bool:
    return spec.family != "record" or bool(spec.parts)


# ---- writing --------------------------------------------------------------------------------------------------------


class Writer:
    """Writes a tree; constants are kept aside and named by their number."""

    def __init__(self) -> None:
        self.constants: list[Any] = []

    def operand(self, value: Any, *, traced: bool) -> str:
        """Write a place or a constant."""
        if isinstance(value, Access):
            return value.traced() if traced else value.plain()
        self.constants.append(value)
        return f"constants[{len(self.constants) - 1}]"

    def traced(self, tree: Tree) -> str:
        """Write the tree for flowdsl."""
        parts = tree.parts
        match tree.kind:
            case "and":
                return f"({self.traced(parts[0])}) & ({self.traced(parts[1])})"
            case "or":
                return f"({self.traced(parts[0])}) | ({self.traced(parts[1])})"
            case "not":
                return f"~({self.traced(parts[0])})"
            case "bool":
                return str(parts[0].traced())
            case "compare":
                return f"{parts[1].traced()} {parts[0]} {self.operand(parts[2], traced=True)}"
            case "count":
                return f"count({parts[1].traced()}) {parts[0]} {parts[2]}"
            case "any" | "all":
                return f"{tree.kind}_({parts[0].traced()}, lambda {parts[1]}: {self.traced(parts[2])})"
            case "in_list":
                return f"in_({self.operand(parts[0], traced=True)}, {parts[1].traced()})"
            case "is_none":
                return f"is_none({parts[0].traced()})"
            case _:
                name = {"in": "in_"}.get(tree.kind, tree.kind)
                return f"{name}({parts[0].traced()}, {self.operand(parts[1], traced=True)})"

    def plain(self, tree: Tree) -> str:
        """Write the tree as Python, with None equal to nothing but None."""
        parts = tree.parts
        match tree.kind:
            case "and" | "or":
                return f"(({self.plain(parts[0])}) {tree.kind} ({self.plain(parts[1])}))"
            case "not":
                return f"(not ({self.plain(parts[0])}))"
            case "bool":
                return f"({parts[0].plain()} is True)"
            case "compare":
                one, other = parts[1].plain(), self.operand(parts[2], traced=False)
                if parts[0] in ("==", "!="):
                    return f"({one} {parts[0]} {other})"
                return f"({one} is not None and {other} is not None and {one} {parts[0]} {other})"
            case "count":
                return f"(len({parts[1].plain()} or []) {parts[0]} {parts[2]})"
            case "any" | "all":
                return f"{tree.kind}({self.plain(parts[2])} for {parts[1]} in ({parts[0].plain()} or []))"
            case "in_list" | "in":
                swapped = (parts[0], parts[1])
                return f"({self.operand(swapped[0], traced=False)} in ({self.operand(swapped[1], traced=False)} or []))"
            case "is_none":
                return f"({parts[0].plain()} is None)"
            case "startswith":
                place = parts[0].plain()
                return f"({place} is not None and {place}.startswith({self.operand(parts[1], traced=False)}))"
            case _:
                place = parts[0].plain()
                pattern = self.operand(parts[1], traced=False)
                return f"({place} is not None and re.search({pattern}, {place}, re.ASCII) is not None)"


# ---- what the plain form calls --------------------------------------------------------------------------------------


def attribute(owner: Any, name: str) -> Any:
    """Return an attribute; None of None."""
    return None if owner is None else getattr(owner, name)


def key(owner: Any, name: str) -> Any:
    """Return what is at a key; None of None, and where there is none."""
    return None if owner is None else owner.get(name)


def index(owner: Any, place: int) -> Any:
    """Return an element; None of None, and where there is none."""
    return None if owner is None or not -len(owner) <= place < len(owner) else owner[place]


PLAIN = {"attribute": attribute, "key": key, "index": index, "re": re}
