"""The database to torture."""

import pytest

from flowdsl.torture.scratch import host


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("postgresql://db.example:5432/postgres", "db.example"),
        ("postgresql://user:a[b@db.example/postgres", "db.example"),
        ("postgresql://one.example:1,two.example:2/postgres", "one.example,two.example"),
        ("postgresql:///postgres", "a server"),
    ],
)
def test_a_server_is_named_whatever_its_url_holds(url: str, name: str) -> None:
    assert host(url) == name
