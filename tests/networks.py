"""Networks that a test makes and cuts: namespaces with cables, and, where those are not to be had, sockets that fall silent.

A `Network` is a hub with a bridge, and spokes that are connected to it by a pair of virtual interfaces each; all of it lies
in namespaces of its own, so that nothing outside changes and no address is taken that anybody else could reach. A cable that
is cut loses packets without a word, as a switch that fails does: connections do not break, they hang.

A `Wire` does the same to a Unix socket, without any rights: what is sent through it while it is cut arrives when it is mended.
"""

import asyncio
import contextlib
import ctypes
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

SUBNET = "10.203.0"
"""Exists inside of the namespaces only."""
SPOKES_MAX = 16
_PREFIX = "flowdsl-test"
_CLONE_NEWNET = 0x40000000
_LIBC = ctypes.CDLL(None, use_errno=True)


def _ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, timeout=10, check=False)
    if done.returncode != 0:
        raise OSError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")


@dataclass(frozen=True, slots=True)
class Namespace:
    """A network namespace that has a name."""

    name: str

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Let this thread, and the processes it starts meanwhile, live in the namespace."""
        with Path("/proc/thread-self/ns/net").open() as before, Path(f"/run/netns/{self.name}").open() as here:
            _set_namespace(here.fileno())
            try:
                yield
            finally:
                _set_namespace(before.fileno())


def _set_namespace(file: int) -> None:
    if _LIBC.setns(file, _CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


@dataclass(frozen=True, slots=True)
class Spoke:
    """A place at the end of a cable."""

    namespace: Namespace
    _hub: Namespace
    _port: str

    def cut(self) -> None:
        """Let the cable lose everything."""
        _ip("-n", self._hub.name, "link", "set", self._port, "down")

    def mend(self) -> None:
        """Let the cable carry again."""
        _ip("-n", self._hub.name, "link", "set", self._port, "up")


@dataclass(frozen=True, slots=True)
class Network:
    """A hub that is reached at `address`, and its spokes."""

    hub: Namespace
    spokes: tuple[Spoke, ...]
    address: str = f"{SUBNET}.1"


@contextmanager
def network(spokes: int) -> Iterator[Network]:
    """Make a network, and remove it at the end, whatever happened."""
    if not 1 <= spokes <= SPOKES_MAX:
        raise ValueError(f"1 to {SPOKES_MAX} spokes, not {spokes}")
    _remove_abandoned()
    names = [f"{_PREFIX}-{os.getpid()}-{number}" for number in range(spokes + 1)]
    hub = Namespace(names[0])
    try:
        for name in names:
            _ip("netns", "add", name)
            _ip("-n", name, "link", "set", "lo", "up")
        _ip("-n", hub.name, "link", "add", "bridge0", "type", "bridge")
        _ip("-n", hub.name, "addr", "add", f"{SUBNET}.1/24", "dev", "bridge0")
        _ip("-n", hub.name, "link", "set", "bridge0", "up")
        yield Network(hub, tuple(_spoke(hub, number, name) for number, name in enumerate(names[1:], 1)))
    finally:
        for name in names:
            with contextlib.suppress(OSError):
                _ip("netns", "del", name)


def _spoke(hub: Namespace, number: int, name: str) -> Spoke:
    port = f"port{number}"
    _ip("-n", hub.name, "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", name)
    _ip("-n", hub.name, "link", "set", port, "master", "bridge0", "up")
    _ip("-n", name, "addr", "add", f"{SUBNET}.{number + 1}/24", "dev", "eth0")
    _ip("-n", name, "link", "set", "eth0", "up")
    return Spoke(Namespace(name), hub, port)


def _remove_abandoned() -> None:
    """Remove what a test left behind that was killed."""
    home = Path("/run/netns")
    for entry in home.glob(f"{_PREFIX}-*") if home.exists() else ():
        owner = re.fullmatch(rf"{_PREFIX}-(\d+)-\d+", entry.name)
        if owner is not None and not Path(f"/proc/{owner[1]}").exists():
            with contextlib.suppress(OSError):
                _ip("netns", "del", entry.name)


@cache
def why_no_network() -> str | None:
    """Return why this machine lets us make no namespaces; None when it does."""
    if shutil.which("ip") is None:
        return "the program `ip` (iproute2) is missing"
    if os.geteuid() != 0:
        return "only root may make network namespaces"
    try:
        with network(1) as made, made.spokes[0].namespace.entered():
            pass
    except OSError as error:
        return f"network namespaces cannot be made here: {error}"
    return None


class Wire:
    """A Unix socket below `directory` that leads to another one, until it is cut."""

    def __init__(self, upstream: Path) -> None:
        # The path of a socket has room for about a hundred characters.
        self._home = tempfile.TemporaryDirectory(prefix="wire-")
        self._upstream = upstream
        self._carries = asyncio.Event()
        self._carries.set()
        self._pumps: set[asyncio.Task[None]] = set()

    @property
    def directory(self) -> Path:
        """Where the socket lies: what libpq takes as the host."""
        return Path(self._home.name)

    def cut(self) -> None:
        """Let nothing through any more; connections do not notice."""
        self._carries.clear()

    def mend(self) -> None:
        """Let through what has been waiting, and all that follows."""
        self._carries.set()

    @asynccontextmanager
    async def laid(self) -> AsyncIterator["Wire"]:
        """Accept connections inside of the context."""
        server = await asyncio.start_unix_server(self._accept, self.directory / self._upstream.name)
        try:
            yield self
        finally:
            server.close()
            for pump in self._pumps:
                pump.cancel()
            await asyncio.gather(*self._pumps, return_exceptions=True)
            self._home.cleanup()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back, forth = await asyncio.open_unix_connection(self._upstream)
        for source, target in ((reader, forth), (back, writer)):
            pump = asyncio.ensure_future(self._pump(source, target))
            self._pumps.add(pump)
            pump.add_done_callback(self._pumps.discard)

    async def _pump(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            try:
                while data := await source.read(65536):
                    await self._carries.wait()
                    target.write(data)
                    await target.drain()
            finally:
                target.close()
