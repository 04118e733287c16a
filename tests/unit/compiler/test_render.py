"""A template can print finished fragments and nothing else."""

import pytest
from jinja2 import UndefinedError

from flowdsl.compiler.quoting import Sql
from flowdsl.compiler.render import python_environment, sql_environment
from flowdsl.compiler.source import Source


def test_a_value_without_a_filter_is_an_error_and_not_an_injection() -> None:
    template = sql_environment().from_string("select {{ name }};")
    with pytest.raises(TypeError, match="is a filter missing"):
        template.render(name="'; drop table users; --")


def test_a_number_without_a_filter_is_an_error_too() -> None:
    with pytest.raises(TypeError, match="no Sql fragment"):
        sql_environment().from_string("{{ n }}").render(n=1)
    with pytest.raises(TypeError, match="no Sql fragment"):
        sql_environment().from_string("{{ n }}").render(n=None)


def test_the_fragments_of_one_language_are_refused_in_the_other() -> None:
    with pytest.raises(TypeError, match="no Sql fragment"):
        sql_environment().from_string("{{ x }}").render(x=Source("'x'"))
    with pytest.raises(TypeError, match="no Source fragment"):
        python_environment().from_string("{{ x }}").render(x=Sql("'x'"))


def test_a_missing_variable_is_an_error() -> None:
    with pytest.raises(UndefinedError, match="slug"):
        sql_environment().from_string("{{ slug }}").render()
    with pytest.raises(UndefinedError, match="slug"):
        sql_environment().from_string("{{ slug | literal }}").render()


def test_text_that_looks_like_a_template_is_only_text() -> None:
    rendered = sql_environment().from_string("select {{ v | literal }};").render(v="{{ 7 * 7 }} {% if %} & <b>")
    assert rendered == "select '{{ 7 * 7 }} {% if %} & <b>';"
