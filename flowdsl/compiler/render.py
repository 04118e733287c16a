"""The Jinja environments, and nothing else: templates hold layout, values arrive as finished fragments.

There is one environment for SQL and one for Python source. Each refuses to print anything but its own kind of fragment, so
a filter that was forgotten is an error at once and never an injection.
"""

from collections.abc import Callable
from functools import cache
from typing import Final

from jinja2 import Environment, PackageLoader, StrictUndefined, Undefined

from flowdsl.compiler import quoting, source
from flowdsl.compiler.quoting import Sql
from flowdsl.compiler.source import Source

SQL_FILTERS: Final[dict[str, Callable[..., Sql]]] = {
    "boolean": quoting.boolean,
    "ident": quoting.ident,
    "integer": quoting.integer,
    "jsonb": quoting.jsonb,
    "jsonb_block": quoting.jsonb_block,
    "literal": quoting.literal,
    "remark": quoting.remark,
    "text_array": quoting.text_array,
}
SOURCE_FILTERS: Final[dict[str, Callable[..., Source]]] = {
    "block": source.block,
    "json_block": source.json_block,
    "prose": source.prose,
    "string": source.string,
}


def sql(template: str, **values: object) -> str:
    """Render an SQL template; every expression in it must come out as a `Sql` fragment."""
    return sql_environment().get_template(template).render(values)


def python(template: str, **values: object) -> str:
    """Render a Python template; every expression in it must come out as a `Source` fragment."""
    return python_environment().get_template(template).render(values)


@cache
def sql_environment() -> Environment:
    """Return the environment of the `*.sql.j2` templates."""
    return _environment(Sql, SQL_FILTERS)


@cache
def python_environment() -> Environment:
    """Return the environment of the `*.py.j2` templates."""
    return _environment(Source, SOURCE_FILTERS)


def _environment(kind: type, filters: dict[str, Callable[..., Sql]] | dict[str, Callable[..., Source]]) -> Environment:
    def only_fragments(value: object) -> object:
        if isinstance(value, Undefined):
            return str(value)  # raises, and names the variable
        if not isinstance(value, kind):
            raise TypeError(
                f"the template prints {value!r}, which is no {kind.__name__} fragment: is a filter missing?"
            )
        return value

    environment = Environment(
        loader=PackageLoader("flowdsl", "templates"),
        undefined=StrictUndefined,
        autoescape=False,  # noqa: S701 - this is SQL and Python, not HTML; `finalize` is the guard
        finalize=only_fragments,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update({name: _defined(filter_) for name, filter_ in filters.items()})
    return environment


def _defined(filter_: Callable[..., Sql] | Callable[..., Source]) -> Callable[[object], object]:
    # A filter would complain about the type of a missing variable; Jinja's own error names it.
    def checked(value: object) -> object:
        return filter_(str(value) if isinstance(value, Undefined) else value)

    return checked
