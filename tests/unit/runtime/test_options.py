from datetime import timedelta
from typing import Any

import pytest

from flowdsl.errors import ConfigError
from flowdsl.runtime.options import WorkerOptions


def test_the_defaults_are_sound() -> None:
    assert WorkerOptions().concurrency == 200


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("concurrency", 0),
        ("concurrency", True),
        ("concurrency", 1.5),
        ("batch", -1),
        ("batch", "50"),
        ("lease_seconds", 0),
        ("lease_seconds", 2**31),
        ("grace_seconds", -1),
        ("grace_seconds", float("nan")),
        ("poll_seconds", 0),
        ("linger_ms", float("inf")),
        ("retention", timedelta()),
        ("retention", timedelta(days=-1)),
        ("retention", 30),
        ("queues", ()),
        ("queues", ("ok", " ")),
        ("queues", ("x" * 129,)),
        ("queues", (1,)),
    ],
)
def test_an_option_that_cannot_be_used_is_named(name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=name.removesuffix("s")):
        WorkerOptions(**{name: value})


def test_all_bad_options_are_reported_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        WorkerOptions(concurrency=0, batch=0, poll_seconds=-1)
    for name in ("concurrency", "batch", "poll_seconds"):
        assert name in caught.value.message
