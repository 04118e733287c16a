"""What an address of a cluster looks like: a mistake in one is told when it is written down, before anybody connects."""

from importlib.metadata import entry_points
from typing import Final

from flowdsl.errors import ConfigError

DASK_FORM: Final = "tcp://HOST:8786"
RAY_FORM: Final = "HOST:6379"

_DASK_SCHEMES: Final = ("tcp", "tls", "ws", "wss", "ucx")
_MAX_PORT: Final = 65_535


def check_dask_address(address: str) -> None:
    """Refuse what Dask could not connect to, however long it tried.

    Raises:
        ConfigError: with what is wrong with it, and how an address looks.
    """
    scheme, separator, rest = address.partition("://")
    if not separator:
        scheme, rest = "tcp", address
    if scheme not in _DASK_SCHEMES:
        # `inproc` is Dask's own for a cluster within the process, and others come with packages; their addresses are free.
        if separator and (scheme == "inproc" or scheme in _added_schemes()):
            return
        problem: str | None = f"it does not begin with one of {', '.join(f'{known}://' for known in _DASK_SCHEMES)}"
    else:
        problem = _wrong_with_place(rest.partition("/")[0] if scheme in {"ws", "wss"} else rest)
    _refuse(problem, "Dask scheduler", address, f"An address looks like this: {DASK_FORM}")


def check_ray_address(address: str) -> None:
    """Refuse what Ray could not connect to.

    Raises:
        ConfigError: with what is wrong with it, and how an address looks.
    """
    if address in {"auto", "local"}:
        return
    scheme, separator, rest = address.partition("://")
    problem = (
        "it does not begin with ray://, the only scheme there is"
        if separator and scheme != "ray"
        else _wrong_with_place(rest if separator else address)
    )
    _refuse(problem, "Ray cluster", address, f"An address looks like this: {RAY_FORM}, or ray://HOST:10001, or auto")


def _refuse(problem: str | None, what: str, address: str, form: str) -> None:
    if problem is not None:
        raise ConfigError(f"'{address}' is no address of a {what}: {problem}.", hint=form)


def _wrong_with_place(place: str) -> str | None:
    """Return what is wrong with `host:port`; None when nothing is."""
    host, colon, port = place.rpartition(":")
    if not colon or place.endswith("]"):  # [::1] has no port
        return "there is no port in it" if place else "there is no host in it"
    if not host:
        return "there is no host in it"
    if ":" in host and not (host.startswith("[") and host.endswith("]")):
        return "a host with colons (IPv6) stands in brackets, as in [::1]:8786"
    if not port:
        return "there is no port in it"
    if not (port.isascii() and port.isdigit() and 0 < int(port) <= _MAX_PORT):
        return f"'{port}' is no port"
    return "there is a blank in it" if any(character.isspace() for character in host) else None


def _added_schemes() -> set[str]:
    return {entry.name for entry in entry_points(group="distributed.comm.backends")}
