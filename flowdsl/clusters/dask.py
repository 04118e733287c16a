"""Handlers on a Dask cluster: an executor over `distributed.Client(…).get_executor()` that outlives its scheduler.

Dask's own executor is bound to one connection: when the scheduler goes away it cancels its futures without a word, and
after a while it is closed for good. This one tells why a call failed, and connects again.
"""

import concurrent.futures
import contextlib
import functools
import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from flowdsl.clusters import calls
from flowdsl.clusters.address import check_dask_address
from flowdsl.clusters.relay import Future, Relay
from flowdsl.errors import ClusterError, ConfigError

if TYPE_CHECKING:
    from distributed import Client

logger = logging.getLogger(__name__)

CONNECT_SECONDS = 10.0
"""How long the scheduler may take to answer, at the start and when it has gone away."""

PATIENCE_SECONDS = 30.0
"""How long a call waits for a scheduler that has gone away before it fails."""

ANSWER_SECONDS = 1.0
PAUSE_SECONDS = 0.5

# One call there is one attempt here: nothing is answered from an earlier call, and nothing is tried again over there.
SUBMIT_OPTIONS: dict[str, Any] = {"pure": False, "retries": 0}


@dataclass(slots=True)
class _Job:
    """A call that was submitted: what the cluster gets, and the future its caller has."""

    name: str
    data: bytes
    future: Future
    since: float = field(default_factory=time.monotonic)


@dataclass(frozen=True, slots=True)
class _Link:
    """One connection to the scheduler, with Dask's executor for it."""

    client: "Client"
    executor: Any

    def is_open(self) -> bool:
        """Tell whether calls can be sent, or are kept by Dask until it has connected again."""
        return self.client.status in {"running", "connecting"}


class DaskExecutor(concurrent.futures.Executor):
    """Runs calls on a Dask cluster; for `Worker(executor=…)`, and for flows and steps.

    Making one connects to nothing and needs no Dask, so a module with flows can be imported anywhere. A worker connects when
    it starts, anybody else with the first call.

    The worker's slots (`concurrency`) are what is on the cluster at a time; more of them than the cluster has threads wait
    there while their step's timeout runs. A call that is cancelled before it runs is taken back; one that runs goes on to
    its end, since a thread cannot be stopped, and its result is dropped.

    Args:
        address: of the scheduler, as Dask writes it: `tcp://host:8786`, `tls://host:8786`, `host:8786`.
        connect_seconds: how long the scheduler may take to answer.
        patience_seconds: how long a call waits for a scheduler that has gone away before it fails.
        options: of Dask for every call: `resources`, `workers`, `allow_other_workers`.

    Raises:
        ConfigError: the address cannot be one.
    """

    def __init__(
        self,
        address: str,
        *,
        connect_seconds: float = CONNECT_SECONDS,
        patience_seconds: float = PATIENCE_SECONDS,
        **options: Any,
    ) -> None:
        check_dask_address(address)
        self._address = address
        self._connect_seconds = connect_seconds
        self._patience_seconds = patience_seconds
        self._options = SUBMIT_OPTIONS | options
        self._connecting = threading.Lock()
        self._lock = threading.Lock()
        self._link: _Link | None = None
        self._waiting: list[_Job] = []
        self._connector: threading.Thread | None = None
        self._shut_down = threading.Event()
        self._opening: Future | None = None
        self._errands = concurrent.futures.ThreadPoolExecutor(1, "flowdsl-dask-errands")

    def __str__(self) -> str:
        return f"the Dask cluster at {self._address}"

    def connect(self) -> None:
        """Connect, unless that is done.

        Raises:
            ConfigError: Dask is not installed, or does not know the address or an option.
            ClusterError: no scheduler answers there.
            RuntimeError: the executor is shut down.
        """
        self._linked()

    @property
    def client(self) -> "Client":
        """The connection, made now if there is none; it is another one after the scheduler was away for long."""
        link = self._link
        return (self._linked() if link is None else link).client

    @property
    def slots(self) -> int:
        """How many calls run at a time, as far as workers are there."""
        threads: dict[str, int] = self.client.nthreads()
        return sum(threads.values())

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future:
        """Call the function on the cluster; it is pickled by its name and imported there.

        Raises:
            RuntimeError: the executor is shut down.
            Exception: the function or an argument cannot be pickled.
        """
        data = calls.pack(functools.partial(fn, **kwargs) if kwargs else fn, args, by_value=_by_value())
        job = _Job(calls.name_of(fn), data, concurrent.futures.Future())
        self._send(job)
        return job.future

    def check(self, functions: Iterable[Callable[..., Any]]) -> None:
        """Load functions, without calling them, on each worker that is there now.

        Raises:
            ConfigError: a worker cannot; it names the function, the workers, and the reason.
            ClusterError: a worker does not answer.
        """
        for function in functions:
            answers = self._everywhere(calls.check(function, by_value=_by_value()))
            failed = {where: answer for where, answer in sorted(answers.items()) if isinstance(answer, BaseException)}
            if failed:
                which = "Each worker" if len(failed) == len(answers) else f"The worker at {', '.join(failed)}"
                error = next(iter(failed.values()))
                raise ConfigError(
                    calls.cannot_load(calls.name_of(function), f"{which} of {self}", error), hint=calls.INSTALL_THERE
                ) from error

    def _everywhere(self, data: bytes) -> dict[str, Any]:
        try:
            # `callback_timeout` goes to Client.sync, which all of a client's calls end in.
            answers: dict[str, Any] = self.client.run(
                calls.do, data, on_error="return", callback_timeout=self._connect_seconds
            )
        except TimeoutError as error:
            raise ClusterError(
                f"Not all workers of {self} answer within {self._connect_seconds:g} s.",
                hint="Look at them on the scheduler's dashboard, or with: dask.distributed.Client(…).scheduler_info()",
            ) from error
        return answers

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Leave the cluster; what runs there is waited for, or given up. Calling it again does nothing."""
        with self._lock:
            self._shut_down.set()
            waiting, self._waiting = self._waiting, []
            connector = self._connector
        self._errands.shutdown(wait=False)
        for job in waiting:
            job.future.cancel()
        if connector is not None:
            connector.join()
        link = self._link
        if link is not None and link.client.status != "closed":
            link.executor.shutdown(wait=wait and not cancel_futures)
            link.client.close()

    # -- the way there

    def _send(self, job: _Job) -> None:
        with self._lock:
            self._refuse_when_shut_down()
            link = self._link
            if self._connector is not None or link is None or not link.is_open():
                self._wait(job)
                return
        try:
            # The key begins with the name under which Dask shows the call and keeps how long such calls take.
            inner = link.executor.submit(calls.do, job.data, key=f"{job.name}-{uuid.uuid4()}")
        except Exception:
            if link.is_open():
                raise
            with self._lock:  # the connection was closed at this very moment
                self._wait(job)
            return
        Relay(
            inner,
            job.future,
            functools.partial(self._explained, job.name),
            functools.partial(self._cancel, inner),
        )

    def _cancel(self, inner: Future) -> None:
        # Dask waits for its own thread, a few milliseconds each time; the event loop of a worker must not.
        with contextlib.suppress(RuntimeError):  # shut down, which cancels everything
            self._errands.submit(inner.cancel)

    def _explained(self, name: str, error: BaseException) -> BaseException:
        if isinstance(error, concurrent.futures.CancelledError):
            return ClusterError(
                f"The connection to {self} was lost during the call; what became of it there is not known.",
                hint="The next attempt waits until the scheduler is back. See its log if this happens often.",
            )
        return calls.explained(error, name, f"A worker of {self}")

    # -- connections

    def _linked(self) -> _Link:
        with self._connecting:
            self._refuse_when_shut_down()
            link = self._link
            if link is None or not link.is_open():
                link = self._connected()
                with self._lock:
                    self._link = link
                if self._shut_down.is_set():
                    link.client.close()
            self._refuse_when_shut_down()
            return link

    def _refuse_when_shut_down(self) -> None:
        if self._shut_down.is_set():
            raise RuntimeError(f"the executor for {self} is shut down")

    def _connected(self) -> _Link:
        # Dask bounds the time until a connection stands, not the time until somebody answers on it. The one that is not
        # answered is kept for the next time, or an outage of an hour would leave hundreds of them.
        opening = self._opening or _opening(self._address, self._connect_seconds)
        self._opening = opening
        try:
            client = opening.result(self._connect_seconds + ANSWER_SECONDS)
            self._opening = None
        except (OSError, TimeoutError) as error:
            if opening.done():
                self._opening = None
            raise ClusterError(
                f"No Dask scheduler answers at {self._address} within {self._connect_seconds:g} s.",
                hint="Start one: dask scheduler. It says at which address it is to be reached.",
            ) from error
        except (ValueError, TypeError, ImportError) as error:
            self._opening = None
            raise ConfigError(
                f"'{self._address}' cannot be used as the address of a Dask scheduler: {error}"
            ) from error
        try:
            return _Link(client, client.get_executor(**self._options))
        except TypeError as error:
            client.close()
            raise ConfigError(f"Dask does not know these options: {error}") from error

    def _wait(self, job: _Job) -> None:
        """Keep a call until there is a connection again. To be called with the lock."""
        self._waiting.append(job)
        if self._connector is None and not self._shut_down.is_set():
            if self._link is not None:
                logger.warning("%s is gone; trying to connect again", self)
            self._connector = threading.Thread(target=self._connect_again, name="flowdsl-dask-connector", daemon=True)
            self._connector.start()

    def _connect_again(self) -> None:
        while not self._shut_down.is_set():
            try:
                self._linked()
            except Exception as error:  # whatever it is: the calls that wait are told, and it may work the next time
                if self._give_up_waiting(error):
                    return
                self._shut_down.wait(PAUSE_SECONDS)
                continue
            with self._lock:
                self._connector = None
                waiting, self._waiting = self._waiting, []
            logger.info("connected to %s", self)
            for job in waiting:
                self._send_late(job)
            return

    def _send_late(self, job: _Job) -> None:
        if job.future.cancelled():
            return
        try:
            self._send(job)
        except Exception as error:
            if job.future.set_running_or_notify_cancel():
                job.future.set_exception(error)

    def _give_up_waiting(self, error: Exception) -> bool:
        """Fail the calls that have waited for too long, and forget those nobody waits for.

        Returns True when it is no use to try again before there is another call.
        """
        now = time.monotonic()
        hopeless = isinstance(error, ConfigError)
        with self._lock:
            overdue = [job for job in self._waiting if hopeless or now - job.since >= self._patience_seconds]
            if hopeless:
                self._connector = None
            self._waiting = [job for job in self._waiting if job not in overdue and not job.future.cancelled()]
        for job in overdue:
            if job.future.set_running_or_notify_cancel():
                job.future.set_exception(error)
        return hopeless


def _opening(address: str, seconds: float) -> Future:
    """Connect in a thread; return the future of the client."""
    try:
        from distributed import Client
    except ModuleNotFoundError as error:
        raise calls.not_installed("Dask", "dask") from error
    opened: Future = concurrent.futures.Future()

    def open_client() -> None:
        client = Client.__new__(Client)
        try:
            # It keeps to a thread and an event loop of its own, whichever thread calls it.
            Client.__init__(client, address, timeout=seconds, set_as_default=False, name="flowdsl")
        except BaseException as error:
            # Or it waits for a farewell that nobody answers when it is collected, and writes a traceback.
            client.status = "closed"
            opened.set_exception(error)
        else:
            opened.set_result(client)

    threading.Thread(target=open_client, name="flowdsl-dask-connect", daemon=True).start()
    return opened


def _by_value() -> calls.Dumps:
    try:
        import cloudpickle
    except ModuleNotFoundError as error:
        raise calls.not_installed("Dask", "dask") from error

    dumps: calls.Dumps = cloudpickle.dumps
    return dumps
