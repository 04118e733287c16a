"""An SQL script as single statements, since a revision hands them to the driver one by one (`execute.run_sql`).

A scanner, not a parser: it knows exactly what can hold a semicolon that ends nothing, namely comments, quoted text and names,
dollar-quoted bodies, and `begin atomic … end`. The statements keep their comments, so nothing of the script is lost.
"""

import re
from typing import Final

_TOKEN: Final = re.compile(
    r"""
      (?P<line_comment>--[^\n]*)
    | (?P<block_comment>/\*)
    | (?P<dollar>\$(?:[A-Za-z_\x80-\U0010ffff][A-Za-z0-9_\x80-\U0010ffff]*)?\$)
    | (?P<escaped>[eE]'(?:[^'\\]|\\.|'')*')
    | (?P<text>'(?:[^']|'')*')
    | (?P<name>"(?:[^"]|"")*")
    | (?P<word>[A-Za-z_\x80-\U0010ffff][A-Za-z0-9_$\x80-\U0010ffff]*)
    | (?P<end>;)
    | (?P<other>.)
    """,
    re.VERBOSE | re.DOTALL,
)
_COMMENT_EDGE: Final = re.compile(r"/\*|\*/")


def split_statements(script: str) -> tuple[str, ...]:
    """Return the statements of a script in order, each with the comments before it and its semicolon.

    >>> split_statements("-- one\\nselect ';'; select $$;$$;")
    ("-- one\\nselect ';';", 'select $$;$$;')
    """
    statements: list[str] = []
    start = position = 0
    depth = 0  # of `begin atomic` and the `case`s in it
    empty = True
    previous = ""
    while position < len(script):
        match = _TOKEN.match(script, position)
        if match is None:  # cannot happen: `other` takes any character
            raise ValueError(f"no token at {position}")
        kind = match.lastgroup
        position = _end(script, match)
        if kind in ("line_comment", "block_comment") or match.group().isspace():
            continue
        if kind == "end" and depth == 0:
            if not empty:
                statements.append(script[start:position].strip())
            start, empty, previous = position, True, ""
            continue
        empty = False
        word = match.group().lower() if kind == "word" else ""
        if (depth and word == "case") or (previous == "begin" and word == "atomic"):
            depth += 1
        elif depth and word == "end":
            depth -= 1
        previous = word
    if not empty:
        statements.append(script[start:].strip() + "\n;")
    return tuple(statements)


def _end(script: str, match: re.Match[str]) -> int:
    if match.lastgroup == "dollar":
        closing = script.find(match.group(), match.end())
        return len(script) if closing < 0 else closing + len(match.group())
    if match.lastgroup == "block_comment":
        return _comment_end(script, match.end())
    return match.end()


def _comment_end(script: str, position: int) -> int:
    depth = 1  # PostgreSQL's block comments nest
    while depth:
        edge = _COMMENT_EDGE.search(script, position)
        if edge is None:
            return len(script)
        depth += 1 if edge.group() == "/*" else -1
        position = edge.end()
    return position
