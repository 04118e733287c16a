r"""SQL as Python source that means the same wherever it is indented.

Alembic indents whatever it puts into `upgrade()`, the lines inside of a triple-quoted text too, and takes the spaces from
their ends. Between the words of a statement that changes nothing; inside of a quoted value it would. So a line break of a
value is written as `\n`, unless the value is JSON, where a break can only stand between two tokens.
"""

import re
from typing import Final

from flowdsl.compiler.source import Source, prose

# What may hold a quote without opening a value comes first.
_QUOTED: Final = re.compile(
    r"""--[^\n]* | "(?:[^"]|"")*" | (?P<escaped>[eE]'(?:[^'\\]|\\.|'')*') | (?P<plain>'(?:[^']|'')*')""",
    re.VERBOSE | re.DOTALL,
)


def indentable(statement: str) -> Source:
    r"""Return a triple-quoted literal of one SQL statement; it holds no dollar quotes.

    >>> print(indentable("select 'two\nlines',\n  1;"))
    \"""
    select 'two\nlines',
      1;
    \"""
    """
    parts: list[str] = []
    position = 0
    for match in _QUOTED.finditer(statement):
        parts.append(prose(statement[position : match.start()]).text)
        quoted = prose(match.group()).text
        # A jsonb value is laid out by us, and JSON has no line breaks but between its tokens.
        is_layout = match.lastgroup is None or statement.startswith("::jsonb", match.end())
        parts.append(quoted if is_layout else quoted.replace("\n", "\\n"))
        position = match.end()
    parts.append(prose(statement[position:]).text)
    return Source('"""\n' + "".join(parts) + '\n"""')
