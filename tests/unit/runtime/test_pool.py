"""Child processes without a database: what runs in them, how they end, and that the pool mends itself."""

import asyncio
import ctypes
import importlib
import logging
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from uuid import UUID

import pytest
from pydantic import BaseModel

from flowdsl import Context, Flow
from flowdsl.errors import ConfigError, ProcessDied
from flowdsl.gateway.rows import AttemptFailure
from flowdsl.runtime.pool import ProcessPool
from flowdsl.runtime.remote import Outcome, RemoteCall
from tests.conftest import Run

CONTEXT = Context(
    run_id=UUID(int=1), flow_slug="flow", flow_version=1, step_slug="step", task_index=0, attempt=2, max_attempts=3
)

logger = logging.getLogger(__name__)


class Number(BaseModel):
    value: int


class UnpicklableError(Exception):
    def __init__(self, one: int, other: int) -> None:
        super().__init__(f"{one} and {other}")
        self.lock = sys.stderr


def pid(_: int) -> int:
    return os.getpid()


def double(number: Number) -> Number:
    return Number(value=2 * number.value)


async def double_soon(number: Number) -> Number:
    await asyncio.sleep(0)
    return Number(value=2 * number.value)


async def loop_id(_: int) -> int:
    return id(asyncio.get_running_loop())


def attempt_of(_: int, context: Context) -> list[str]:
    return [str(context.run_id), str(context.attempt), str(context.cancelled)]


def raises(_: int) -> int:
    raise UnpicklableError(1, 2)


def returns_text(_: int) -> int:
    text: object = "text"
    return text  # type: ignore[return-value] # on purpose


def exits(_: int) -> int:
    sys.exit(3)


def dies(code: int) -> int:
    os._exit(code)


def crashes(_: int) -> int:
    os.kill(os.getpid(), signal.SIGSEGV)
    return 0


def sleeps(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


def holds_the_interpreter(seconds: float) -> float:
    ctypes.PyDLL(None).sleep(int(seconds))
    return seconds


def listens(_: int, context: Context) -> str:
    while not context.cancelled:
        time.sleep(0.005)
    return "heard it"


async def cleans_up(file: str) -> str:
    try:
        await asyncio.sleep(60)
    finally:
        Path(file).write_text("cleaned")  # noqa: ASYNC240 - in a process of its own
    return file


def logs(number: int) -> int:
    try:
        raise ValueError("inside")
    except ValueError:
        logger.exception("number %d", number, extra={"answer": 42, "odd": Number(value=1)})
    logger.debug("not asked for")
    return number


class Odd(str):
    """Text that cannot be pickled and come back."""

    __slots__ = ()

    def __new__(cls, one: str, other: str) -> "Odd":
        return super().__new__(cls, one + other)


def logs_odd_text(number: int) -> int:
    logger.info("odd", extra={"odd": Odd("so", "so")})
    return number


class ToStandardError(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        os.write(2, f"seen: {record.getMessage()}\n".encode())


own = logging.getLogger(f"{__name__}.own")
own.addHandler(ToStandardError())


def logs_to_its_own(number: int) -> int:
    own.warning("own %d", number)
    return number


def dies_beside_its_fork(_: int) -> int:
    if os.fork() == 0:
        time.sleep(60)
    os._exit(7)


def prints(text: str) -> str:
    print(text, flush=True)  # noqa: T201 - what the test is about
    return text


def scaled(factor: int, number: int) -> int:
    return factor * number


class Scale:
    def __init__(self, factor: int) -> None:
        self.factor = factor

    def apply(self, number: int) -> int:
        return self.factor * number

    def __call__(self, number: int) -> int:
        return self.factor * number


NUMBERS = (
    Flow("numbers", int)
    .step(pid)
    .step(loop_id)
    .step(attempt_of)
    .step(raises)
    .step(returns_text)
    .step(exits)
    .step(dies)
    .step(crashes)
    .step(listens)
    .step(logs)
    .step(logs_odd_text)
    .step(logs_to_its_own)
    .step(dies_beside_its_fork)
    .step(partial(scaled, 3), slug="partial")
    .step(Scale(4).apply, slug="bound")
    .step(Scale(5), slug="callable")
)
MODELS = Flow("models", Number).step(double).step(double_soon)
SECONDS = Flow("seconds", float).step(sleeps).step(holds_the_interpreter)
TEXTS = Flow("texts", str).step(cleans_up).step(prints)
CALLS = [RemoteCall(spec) for flow in (NUMBERS, MODELS, SECONDS, TEXTS) for spec in flow.steps]


@asynccontextmanager
async def pool(size: int = 1) -> AsyncIterator[ProcessPool]:
    made = ProcessPool(CALLS, size, {})
    try:
        await made.start()
        yield made
    finally:
        await made.close()


def index(slug: str) -> int:
    return next(index for index, call in enumerate(CALLS) if call.__name__ == slug)


async def call(made: ProcessPool, slug: str, run: str = "1", *, grace_seconds: float = 0.0) -> Outcome | str:
    """Have a step run; return what came of it, or, of a call that was cancelled and killed, where it stood."""
    async with made.lent() as child:
        try:
            return await child.call(index(slug), b'{"run":%s}' % run.encode(), None, CONTEXT)
        except asyncio.CancelledError:
            outcome, where = await child.stop(grace_seconds=grace_seconds, stack_seconds=1.0)
            return where if outcome is None else outcome


async def failure(made: ProcessPool, slug: str) -> AttemptFailure:
    outcome = await call(made, slug)
    assert isinstance(outcome, AttemptFailure)
    return outcome


async def until(condition: object, seconds: float = 10.0) -> None:
    assert callable(condition)
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - another process brings it about
            await asyncio.sleep(0.01)


def living_in_group(number: int) -> list[str]:
    """The processes of a group, without those that only wait to be noticed."""
    found = []
    for file in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has just ended
            state, _, group = file.read_text().rpartition(") ")[2].split()[:3]
            if int(group) == number and state != "Z":
                found.append(file.parent.name)
    return found


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_handlers_of_all_kinds_run_in_a_child(run: Run) -> None:
    async def scenario() -> None:
        async with pool() as made:
            assert await call(made, "pid") == str(next(iter(made.pids))).encode()
            assert await call(made, "double", '{"value":4}') == b'{"value":8}'
            assert await call(made, "double_soon", '{"value":4}') == b'{"value":8}'
            assert await call(made, "partial", "7") == b"21"
            assert await call(made, "bound", "7") == b"28"
            assert await call(made, "callable", "7") == b"35"

    run(scenario())


def test_all_coroutines_of_a_child_share_one_event_loop(run: Run) -> None:
    async def scenario() -> None:
        async with pool() as made:
            assert await call(made, "loop_id") == await call(made, "loop_id")

    run(scenario())


def test_a_context_tells_of_the_attempt(run: Run) -> None:
    async def scenario() -> None:
        async with pool() as made:
            assert await call(made, "attempt_of") == f'["{CONTEXT.run_id}","2","False"]'.encode()

    run(scenario())


def test_errors_come_back_as_class_message_and_traceback_and_the_child_lives_on(run: Run) -> None:
    async def scenario() -> None:
        async with pool() as made:
            before = made.pids
            failed = await failure(made, "raises")
            assert failed.error_class == f"{__name__}.UnpicklableError"
            assert failed.message == "1 and 2"
            assert "raise UnpicklableError(1, 2)" in failed.traceback
            assert "runtime/remote.py" not in failed.traceback
            misfit = await call(made, "double", '{"value":"x"}')
            assert isinstance(misfit, AttemptFailure)
            assert not misfit.retryable
            assert (await failure(made, "returns_text")).error_class == "flowdsl.errors.InputError"
            assert (await failure(made, "exits")).error_class == "SystemExit"
            assert made.pids == before

    run(scenario())


@pytest.mark.parametrize(
    ("slug", "how"), [("dies", "ended with exit code 1"), ("crashes", "killed by signal 11 (SIGSEGV)")]
)
def test_a_child_that_dies_fails_its_call_and_is_replaced(run: Run, slug: str, how: str) -> None:
    async def scenario() -> None:
        async with pool() as made:
            before = made.pids
            with pytest.raises(ProcessDied, match=how.replace("(", r"\(").replace(")", r"\)")):
                await call(made, slug)
            assert await call(made, "partial", "2") == b"6"
            assert not made.pids & before

    run(scenario())


def test_the_death_of_one_child_hurts_no_other(run: Run) -> None:
    async def scenario() -> None:
        async with pool(2) as made, asyncio.TaskGroup() as group:
            slow = group.create_task(call(made, "sleeps", "1"))
            await until(lambda: len(made.pids) == 1 and not made.has_idle)
            for _ in range(3):
                with pytest.raises(ProcessDied):
                    await call(made, "dies")
            assert await slow == b"1.0"

    run(scenario())


def test_the_death_of_a_child_shows_although_its_fork_lives_on(run: Run) -> None:
    async def scenario() -> None:
        async with pool() as made:
            (child,) = made.pids
            with pytest.raises(ProcessDied, match="exit code 7"):
                await call(made, "dies_beside_its_fork")
            # What the handler has started is gone before another attempt can meet it.
            assert living_in_group(child) == []
            assert await call(made, "double", '{"value": 2}') == b'{"value":4}'

    run(scenario(), 30)


def test_a_handler_that_later_children_cannot_find_is_a_failed_attempt_that_says_so(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "found_at_first.py"
    file.write_text("def found(number: int) -> int:\n    return number\n")
    monkeypatch.syspath_prepend(tmp_path)
    flow = Flow("later", int).step(importlib.import_module("found_at_first").found)

    async def scenario() -> None:
        made = ProcessPool([RemoteCall(spec) for spec in flow.steps], 1, {})
        try:
            await made.start()
            file.unlink()
            async with made.lent() as child:
                child.kill()
            async with made.lent() as child:
                outcome = await child.call(0, b'{"run":1}', None, CONTEXT)
        finally:
            await made.close()
        assert isinstance(outcome, AttemptFailure)
        assert outcome.error_class == "ImportError"
        assert "No module named 'found_at_first'" in outcome.message

    run(scenario())


def test_a_child_whose_imports_hang_is_a_failed_attempt_in_time(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "hangs_later.py"
    file.write_text("def found(number: int) -> int:\n    return number\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("flowdsl.runtime.pool.START_SECONDS", 1.0)
    flow = Flow("later", int).step(importlib.import_module("hangs_later").found)

    async def scenario() -> None:
        made = ProcessPool([RemoteCall(spec) for spec in flow.steps], 1, {})
        try:
            await made.start()
            file.write_text("import time\ntime.sleep(600)\n")
            async with made.lent() as child:
                child.kill()
            with pytest.raises(TimeoutError, match="not ready within 1 s"):
                async with made.lent():
                    pass
            assert not made.pids
        finally:
            await made.close()

    run(scenario(), 30)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("os._exit(3)", "imported the module ends_early to find handlers ended with exit code 3"),
        ("os.kill(os.getpid(), 9)", "imported the module ends_early to find handlers was killed by signal 9"),
    ],
)
def test_a_child_that_ends_when_it_imports_a_module_is_told_with_its_name_and_the_mend(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, message: str
) -> None:
    file = tmp_path / "ends_early.py"
    file.write_text("def found(number: int) -> int:\n    return number\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "ends_early", raising=False)
    flow = Flow("ending", int).step(importlib.import_module("ends_early").found)
    file.write_text(f"import os\n{body}\n")
    made = ProcessPool([RemoteCall(spec) for spec in flow.steps], 1, {})
    with pytest.raises(ConfigError, match=message) as caught:
        run(made.start())
    assert caught.value.hint is not None
    assert "must not be done on import" in caught.value.hint


def test_a_child_that_takes_long_to_import_a_module_is_told(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "takes_long.py"
    file.write_text("def found(number: int) -> int:\n    return number\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("flowdsl.runtime.pool._PATIENCE_SECONDS", 1.0)
    flow = Flow("slow", int).step(importlib.import_module("takes_long").found)
    file.write_text("import time\ntime.sleep(600)\n")

    async def scenario() -> None:
        made = ProcessPool([RemoteCall(spec) for spec in flow.steps], 1, {})
        start = asyncio.create_task(made.start())
        try:
            await until(lambda: caplog.messages)
        finally:
            start.cancel()
            await asyncio.wait([start])
            await made.close()

    run(scenario(), 30)
    (said,) = caplog.messages
    assert "is still importing the module takes_long after 1 s; handlers wait for it" in said


def test_no_more_children_than_asked_for_and_all_are_used(run: Run) -> None:
    async def scenario() -> None:
        async with pool(2) as made:
            pids = await asyncio.gather(
                *(call(made, "pid") for _ in range(20)), *(call(made, "sleeps", "0.3") for _ in range(2))
            )
            assert len(made.pids) == 2
            assert {int(outcome) for outcome in pids[:20] if isinstance(outcome, bytes)} <= made.pids

    run(scenario())


def test_a_call_that_is_stopped_has_its_process_killed_and_tells_where_it_stood(run: Run) -> None:
    async def scenario() -> None:
        async with pool() as made:
            (child,) = made.pids
            work = asyncio.create_task(call(made, "sleeps", "60"))
            await until(lambda: not made.has_idle)
            await asyncio.sleep(0.1)
            work.cancel()
            where = await work
            assert isinstance(where, str)
            assert "time.sleep(seconds)" in where
            await until(lambda: not is_alive(child))

    run(scenario())


def test_a_handler_that_holds_the_interpreter_is_killed_as_well(run: Run) -> None:
    async def scenario() -> None:
        async with pool() as made:
            (child,) = made.pids
            work = asyncio.create_task(call(made, "holds_the_interpreter", "60"))
            await until(lambda: not made.has_idle)
            await asyncio.sleep(0.1)
            work.cancel()
            assert await work == ""
            await until(lambda: not is_alive(child))

    run(scenario())


def test_a_handler_that_hears_its_cancellation_may_end_by_itself(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with pool() as made:
            before = made.pids
            for slug, run_input in (("listens", "1"), ("cleans_up", f'"{tmp_path / "file"}"')):
                work = asyncio.create_task(call(made, slug, run_input, grace_seconds=10))
                await until(lambda: not made.has_idle)
                await asyncio.sleep(0.1)
                work.cancel()
                outcome = await work
                if slug == "listens":
                    assert outcome == b'"heard it"'
                else:
                    assert isinstance(outcome, AttemptFailure)
                    assert outcome.error_class.endswith("CancelledError")
                    assert (tmp_path / "file").read_text() == "cleaned"
            assert made.pids == before

    run(scenario())


def test_log_records_of_a_child_reach_the_workers_logging(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        async with pool() as made:
            await call(made, "logs", "7")

    with caplog.at_level(logging.INFO, logger=__name__):
        run(scenario())
    (record,) = [record for record in caplog.records if record.name == __name__]
    assert record.getMessage() == "number 7"
    assert record.exc_text is not None
    assert "ValueError: inside" in record.exc_text
    assert (vars(record)["answer"], vars(record)["odd"]) == (42, "value=1")


def test_log_records_with_any_text_reach_the_worker(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        async with pool() as made:
            assert await call(made, "logs_odd_text", "7") == b"7"

    with caplog.at_level(logging.INFO, logger=__name__):
        run(scenario())
    (record,) = [record for record in caplog.records if record.name == __name__]
    assert vars(record)["odd"] == "soso"


def test_a_filter_that_raises_harms_no_child(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: logging.LogRecord) -> bool:
        raise RuntimeError("a filter of the worker's program")

    async def scenario() -> None:
        async with pool() as made:
            assert await call(made, "logs", "7") == b"7"

    monkeypatch.setattr(logger, "filters", [broken])
    run(scenario())


def test_records_of_loggers_with_handlers_of_their_own_are_seen_once(
    run: Run, capfd: pytest.CaptureFixture[str]
) -> None:
    async def scenario() -> None:
        async with pool() as made:
            await call(made, "logs_to_its_own", "7")

    run(scenario())
    assert capfd.readouterr().err.count("seen: own 7") == 1


def test_what_a_child_prints_is_printed(run: Run, capfd: pytest.CaptureFixture[str]) -> None:
    async def scenario() -> None:
        async with pool() as made:
            await call(made, "prints", '"to the terminal"')

    run(scenario())
    assert capfd.readouterr().out == "to the terminal\n"


def test_closing_ends_all_children(run: Run) -> None:
    async def scenario() -> frozenset[int]:
        async with pool(2) as made:
            await asyncio.gather(call(made, "sleeps", "0.2"), call(made, "sleeps", "0.2"))
            return made.pids

    pids = run(scenario())
    assert len(pids) == 2
    assert not [pid for pid in pids if is_alive(pid)]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_that_stop_a_worker_do_not_stop_its_children(run: Run, number: signal.Signals) -> None:
    async def scenario() -> None:
        async with pool() as made:
            (child,) = made.pids
            work = asyncio.create_task(call(made, "sleeps", "0.3"))
            await until(lambda: not made.has_idle)
            os.kill(child, number)
            assert await work == b"0.3"
            assert os.getpgid(child) != os.getpgid(0)

    run(scenario())


def test_handlers_and_types_without_a_name_to_find_them_by_are_refused_at_the_start(run: Run) -> None:
    class Local(BaseModel):
        value: int

    def local(number: int) -> int:
        return number

    def gives_local(number: int) -> Local:
        return Local(value=number)

    class Held:
        def __init__(self) -> None:
            self.file = sys.stderr

        def method(self, number: int) -> int:
            return number

    flow = Flow("refused", int).step(local).step(gives_local).step(Held().method, slug="method").step(double_int)
    made = ProcessPool([RemoteCall(spec) for spec in flow.steps], 1, {})
    with pytest.raises(ConfigError) as caught:
        run(made.start())
    text = str(caught.value)
    assert "step 'local'" in text
    assert "its handler cannot be pickled" in text
    assert "its output type Local cannot be pickled" in text
    assert "step 'method'" in text
    assert "double_int" not in text
    assert "top level of a module" in text


def double_int(number: int) -> int:
    return 2 * number


def test_when_no_child_can_be_started_all_who_wait_are_told_after_three_tries(
    run: Run, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        async with pool(2) as made:
            with pytest.raises(ProcessDied):
                await call(made, "dies")
            with monkeypatch.context() as broken:
                broken.setattr(sys, "executable", "/bin/false")
                outcomes = await asyncio.gather(*(call(made, "partial") for _ in range(30)), return_exceptions=True)
            assert {type(outcome) for outcome in outcomes} == {ProcessDied}
            assert await call(made, "partial", "2") == b"6"

    run(scenario(), 30)
    # Two places, which are tried twice before the last time.
    assert len([text for text in caplog.messages if "ended while it started" in text]) <= 4


def test_who_waits_gets_a_child_that_runs_although_no_other_can_be_started(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        async with pool(2) as made:
            slow = asyncio.create_task(call(made, "sleeps", "1"))
            await until(lambda: not made.has_idle)
            with monkeypatch.context() as broken:
                broken.setattr(sys, "executable", "/bin/false")
                unlucky = asyncio.create_task(call(made, "partial"))
                await asyncio.sleep(0)
                lucky = asyncio.create_task(call(made, "partial", "2"))
                outcomes = await asyncio.gather(slow, unlucky, lucky, return_exceptions=True)
            assert isinstance(outcomes[1], ProcessDied)
            assert (outcomes[0], outcomes[2]) == (b"1.0", b"6")

    run(scenario(), 30)


def test_who_waits_gets_a_child_in_turn(run: Run) -> None:
    async def scenario() -> None:
        order: list[int] = []

        async def wait(made: ProcessPool, number: int) -> None:
            await call(made, "partial", str(number))
            order.append(number)

        async with pool(1) as made:
            await asyncio.gather(*(wait(made, number) for number in range(20)))
        assert order == list(range(20))

    run(scenario())


def test_who_gives_up_waiting_leaves_the_child_to_the_next(run: Run) -> None:
    async def scenario() -> None:
        async with pool(1) as made:
            first = asyncio.create_task(call(made, "sleeps", "0.2"))
            await until(lambda: not made.has_idle)
            impatient = [asyncio.create_task(call(made, "partial")) for _ in range(3)]
            patient = asyncio.create_task(call(made, "partial", "2"))
            await asyncio.sleep(0)
            first.add_done_callback(lambda _: [task.cancel() for task in impatient])
            for task in impatient[1:]:
                task.cancel()
            assert await patient == b"6"
            assert await call(made, "partial", "3") == b"9"

    run(scenario())


def test_a_process_that_cannot_be_started_is_an_error_and_another_try_may_succeed(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        async with pool(1) as made:
            with pytest.raises(ProcessDied):
                await call(made, "dies")
            with monkeypatch.context() as broken:
                broken.setattr(sys, "executable", "/bin/false")
                with pytest.raises(ProcessDied, match="ended with exit code 1"):
                    await call(made, "partial")
                broken.setattr(sys, "executable", "/nowhere/python")
                with pytest.raises(FileNotFoundError):
                    await call(made, "partial")
            assert await call(made, "partial", "2") == b"6"

    run(scenario())
