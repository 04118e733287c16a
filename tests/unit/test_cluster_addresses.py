"""The addresses of clusters: told apart before anybody connects."""

import pytest

from flowdsl.clusters.address import check_dask_address, check_ray_address
from flowdsl.errors import ConfigError


@pytest.mark.parametrize(
    "address",
    [
        "tcp://127.0.0.1:8786",
        "tls://scheduler.example.org:8786",
        "scheduler:8786",
        "tcp://[::1]:8786",
        "wss://host:443/path",
        "inproc://10.0.0.1/8596/1",
    ],
)
def test_an_address_that_dask_can_connect_to_passes(address: str) -> None:
    check_dask_address(address)


@pytest.mark.parametrize(
    ("address", "problem"),
    [
        ("tcp://127.0.0.1", "there is no port in it"),
        ("tcp://127.0.0.1:", "there is no port in it"),
        ("127.0.0.1", "there is no port in it"),
        ("tcp://[::1]", "there is no port in it"),
        ("tcp://", "there is no host in it"),
        ("tcp://:8786", "there is no host in it"),
        ("", "there is no host in it"),
        ("tcp://h:p", "'p' is no port"),
        ("tcp://h:-1", "'-1' is no port"),
        ("tcp://h:0", "'0' is no port"),
        ("tcp://h:65536", "'65536' is no port"),
        ("tcp://::1:8786", r"a host with colons \(IPv6\) stands in brackets, as in \[::1\]:8786"),
        ("tcp://my host:8786", "there is a blank in it"),
        ("foo://h:1", "it does not begin with one of tcp://, tls://, ws://, wss://, ucx://"),
        ("://h:1", "it does not begin with one of"),
    ],
)
def test_what_is_no_address_of_a_dask_scheduler_is_refused_with_the_reason_and_the_form(
    address: str, problem: str
) -> None:
    with pytest.raises(ConfigError, match=f"is no address of a Dask scheduler: {problem}.*\n.*tcp://HOST:8786$"):
        check_dask_address(address)


@pytest.mark.parametrize("address", ["head:6379", "ray://head:10001", "auto", "local", "[::1]:6379"])
def test_an_address_that_ray_can_connect_to_passes(address: str) -> None:
    check_ray_address(address)


@pytest.mark.parametrize(
    ("address", "problem"),
    [
        ("head", "there is no port in it"),
        ("ray://head:", "there is no port in it"),
        ("head:port", "'port' is no port"),
        ("tcp://head:1", "it does not begin with ray://, the only scheme there is"),
    ],
)
def test_what_is_no_address_of_a_ray_cluster_is_refused_with_the_reason_and_the_form(
    address: str, problem: str
) -> None:
    with pytest.raises(ConfigError, match=f"is no address of a Ray cluster: {problem}.*\n.*HOST:6379"):
        check_ray_address(address)
