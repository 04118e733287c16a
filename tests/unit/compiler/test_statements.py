"""A script is split at the semicolons that end a statement, and at no other."""

import pytest

from flowdsl.compiler.statements import split_statements
from flowdsl.core.manifest import install_sql, uninstall_sql, upgrade_sql


@pytest.mark.parametrize(
    "statement",
    [
        "select ';';",
        "select 'it''s; fine';",
        "select E'a\\';b';",
        "select e'\\\\';",
        'select 1 as "a;""b;";',
        "select $$;$$;",
        "select $fn$ $$;$$ $other$; $fn$;",
        "select 1 -- no; end\n;",
        "select /* a; /* nested; */ still; */ 1;",
        "create function f() returns int begin atomic select 1; select case when true then 2 else 3 end; end;",
        "create function f() returns int language sql begin atomic; select 1; end;",
        "select $1, a$b$c, 2;",
        "select 'C:\\temp;';",
        "select 'ž;' as ž;",
    ],
)
def test_a_semicolon_inside_of_something_ends_nothing(statement: str) -> None:
    assert split_statements(f"select 1; {statement}\nselect 2;") == ("select 1;", statement, "select 2;")


def test_comments_stay_with_the_statement_after_them() -> None:
    assert split_statements("-- first\nselect 1;\n\n-- second;\nselect 2;\n-- the end\n") == (
        "-- first\nselect 1;",
        "-- second;\nselect 2;",
    )


def test_a_missing_last_semicolon_is_added_where_no_comment_can_swallow_it() -> None:
    assert split_statements("select 1 -- one") == ("select 1 -- one\n;",)


def test_a_transaction_block_is_not_taken_for_an_atomic_body() -> None:
    assert split_statements("begin; select 1; end;") == ("begin;", "select 1;", "end;")


@pytest.mark.parametrize("script", ["", " \n", ";;", "-- nothing\n", "/* nothing */;"])
def test_nothing_gives_no_statements(script: str) -> None:
    assert split_statements(script) == ()


@pytest.mark.parametrize(
    "script", [install_sql(), upgrade_sql(1), uninstall_sql()], ids=["install", "upgrade", "uninstall"]
)
def test_no_character_of_the_core_is_lost(script: str) -> None:
    statements = split_statements(script)
    assert "".join("".join(statements).split()) == "".join(script.split())
    assert all(statement.count("create function") <= 1 for statement in statements)
