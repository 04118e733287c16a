"""URLs that all drivers understand."""

from psycopg.conninfo import conninfo_to_dict

from bench.peers.database import url_of


def test_socket_directory_stays_a_parameter() -> None:
    url = url_of("postgresql://postgres@/postgres?host=%2Ftmp%2Fpg", dbname="other")
    assert url == "postgresql://postgres@/other?host=%2Ftmp%2Fpg"


def test_host_port_and_password_survive_with_their_special_characters() -> None:
    url = url_of("postgresql://me:p%40ss%2F@db.example:6432/app", dbname="new")
    assert conninfo_to_dict(url) == {
        "user": "me", "password": "p@ss/", "host": "db.example", "port": "6432", "dbname": "new",
    }  # fmt: skip


def test_host_can_be_put_elsewhere() -> None:
    assert conninfo_to_dict(url_of("postgresql://me@db/app", host="/sockets", port="5432")) == {
        "user": "me", "host": "/sockets", "port": "5432", "dbname": "app",
    }  # fmt: skip
