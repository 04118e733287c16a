"""Handlers on a Ray cluster: each call is a Ray task, in a process of its own, done once.

Ray is told not to try anything again: a process that dies is a failed attempt here, and the database decides what comes of
it. A call that is cancelled while it runs has its process ended, as a child process of the worker's would be.
"""

import concurrent.futures
import contextlib
import functools
import pickle
import socket
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from flowdsl.clusters import calls
from flowdsl.clusters.address import check_ray_address
from flowdsl.clusters.relay import Future, Relay
from flowdsl.errors import ClusterError, ConfigError

CONNECT_SECONDS = 10.0
CHECK_SECONDS = 60.0
"""How long Ray may take to start a process and load the handlers there."""


class RayExecutor(concurrent.futures.Executor):
    """Runs calls on a Ray cluster; for `Worker(executor=…)`, and for flows and steps.

    Making one connects to nothing and needs no Ray, so a module with flows can be imported anywhere. A worker connects when it
    starts, anybody else with the first call, which waits for it.

    The worker has to run on a machine of the cluster (`ray start`), or connect through Ray's client (`ray://host:10001`).
    Ray knows one connection per process, and ends the process when the node it runs on is lost.

    Args:
        address: `host:6379`, `ray://host:10001`, or `auto` for the cluster of this machine.
        connect_seconds: how long it may take until the address answers.
        options: of Ray for every call: `num_cpus`, `resources`, `runtime_env`.

    Raises:
        ConfigError: the address cannot be one.
    """

    def __init__(self, address: str, *, connect_seconds: float = CONNECT_SECONDS, **options: Any) -> None:
        check_ray_address(address)
        self._address = address
        self._connect_seconds = connect_seconds
        self._options = {"max_retries": 0} | options
        self._connecting = threading.Lock()
        self._session: _Session | None = None
        self._errands = concurrent.futures.ThreadPoolExecutor(1, "flowdsl-ray-errands")
        self._shut_down = False

    def __str__(self) -> str:
        return f"the Ray cluster at {self._address}"

    def connect(self) -> None:
        """Connect, unless that is done.

        Raises:
            ConfigError: Ray is not installed, or cannot use the address.
            ClusterError: no cluster answers there.
            RuntimeError: the executor is shut down.
        """
        self._connected()

    def _connected(self) -> "_Session":
        with self._connecting:
            if self._shut_down:
                raise RuntimeError(f"the executor for {self} is shut down")
            if self._session is None:
                self._session = _session(self._address, self._connect_seconds)
            return self._session

    @property
    def slots(self) -> int:
        """How many calls run at a time, by Ray's count of processors."""
        return int(self._connected().ray.cluster_resources().get("CPU", 0))

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future:
        """Call the function on the cluster; it is pickled by its name and imported there.

        Raises:
            RuntimeError: the executor is shut down.
            Exception: the function or an argument cannot be pickled.
        """
        session = self._connected()
        name = calls.name_of(fn)
        data = calls.pack(functools.partial(fn, **kwargs) if kwargs else fn, args, by_value=_by_value())
        reference = session.do.options(**self._options, name=name).remote(data)
        outer: Future = concurrent.futures.Future()
        Relay(
            reference.future(),
            outer,
            functools.partial(self._explained, session, name),
            functools.partial(self._cancel, session, reference),
        )
        return outer

    def check(self, functions: Iterable[Callable[..., Any]]) -> None:
        """Load functions, without calling them, in a process of the cluster.

        Raises:
            ConfigError: they cannot be loaded there; it names the function and the reason.
            ClusterError: the cluster does not answer.
        """
        session = self._connected()
        do = session.do.options(**(self._options | {"num_cpus": 0, "name": "check"}))
        for function in functions:
            reference = do.remote(calls.check(function, by_value=_by_value()))
            try:
                session.ray.get(reference, timeout=CHECK_SECONDS)
            except session.ray.exceptions.GetTimeoutError as error:
                raise ClusterError(f"{self} starts no process within {CHECK_SECONDS:g} s.".capitalize()) from error
            except Exception as error:
                cause = _cause(error)
                raise ConfigError(
                    calls.cannot_load(calls.name_of(function), f"A process of {self}", cause), hint=calls.INSTALL_THERE
                ) from error

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Leave the cluster, which gives up what runs there. Calling it again does nothing."""
        del wait, cancel_futures  # Ray ends the tasks of a process that leaves
        with self._connecting:
            session, self._session = self._session, None
            self._shut_down = True
        self._errands.shutdown(wait=False)
        if session is not None:
            session.ray.shutdown()

    def _explained(self, session: "_Session", name: str, error: BaseException) -> BaseException:
        if isinstance(error, session.ray.exceptions.WorkerCrashedError):
            described = ClusterError(
                f"The process of {self} that ran step '{name}' died.",
                hint="It may have been out of memory, or killed. Ray's logs tell more: `ray logs`, or ray/session_latest/logs in its temporary folder",
            )
            described.__cause__ = error
            return described
        return calls.explained(_cause(error), name, f"A process of {self}")

    def _cancel(self, session: "_Session", reference: Any) -> None:
        with contextlib.suppress(RuntimeError):  # shut down, which gives up everything
            self._errands.submit(session.ray.cancel, reference, force=True)


_START = (
    "Start one: ray start --head. The worker has to run on a machine of the cluster, or connect to ray://HOST:10001."
)


@dataclass(frozen=True, slots=True)
class _Session:
    """What there is once the process is connected: the library, and the function that the cluster is asked to call."""

    ray: Any
    do: Any


def _session(address: str, connect_seconds: float) -> _Session:
    try:
        import ray
    except ModuleNotFoundError as error:
        raise calls.not_installed("Ray", "ray") from error
    _answered(address, connect_seconds)  # Ray itself tries for two minutes
    try:
        ray.init(address=address, configure_logging=False, ignore_reinit_error=True)
    except (ConnectionError, RuntimeError) as error:
        raise ClusterError(f"No Ray cluster answers at {address}: {error}", hint=_START) from error
    except (ValueError, ImportError) as error:
        raise ConfigError(f"'{address}' cannot be used as the address of a Ray cluster: {error}") from error
    # A lambda goes there as code: what is asked for is in the bytes, and nothing of ours has to be there to read them.
    return _Session(ray, ray.remote(lambda data: pickle.loads(data)))  # noqa: S301 - our own bytes


def _answered(address: str, seconds: float) -> None:
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host:
        return  # `auto`
    try:
        socket.create_connection((host.strip("[]"), int(port)), seconds).close()
    except OSError as error:
        raise ClusterError(f"No Ray cluster answers at {address} within {seconds:g} s.", hint=_START) from error


def _cause(error: BaseException) -> BaseException:
    """Return the error as it was raised over there, without Ray's wrapping."""
    cause = getattr(error, "cause", None)
    return cause if isinstance(cause, BaseException) else error


def _by_value() -> calls.Dumps:
    from ray import cloudpickle

    dumps: calls.Dumps = cloudpickle.dumps
    return dumps
