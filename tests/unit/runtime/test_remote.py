"""A handler between JSON and JSON, and on its way to another process."""

import pickle
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Annotated, Literal
from uuid import UUID

import pytest
from pydantic import BaseModel, Field

from flowdsl import Context, Flow, collect, maybe
from flowdsl.errors import ConfigError, NonRetryable, RetryAfter
from flowdsl.gateway.rows import AttemptFailure
from flowdsl.model.context import Cancellation
from flowdsl.runtime.remote import RemoteCall, check_picklable, remote_calls

CONTEXT = Context(
    run_id=UUID(int=1), flow_slug="flow", flow_version=1, step_slug="step", task_index=0, attempt=1, max_attempts=3
)


class Page(BaseModel):
    text: str
    size: Annotated[int, Field(ge=0)] = 0


def links(page: Page) -> list[str]:
    return page.text.split()


def visit(link: str, page: Page, context: Context) -> Page:
    return Page(text=f"{link} of {page.text}", size=context.attempt)


async def guess(page: Page) -> Literal["short", "long"]:
    return "short" if len(page.text) < 10 else "long"


def report(pages: list[Page], kind: Literal["short", "long"] | None) -> dict[str, int | None]:
    return {"pages": len(pages), "kind": None if kind is None else len(kind)}


def told(context: Context) -> bool:
    return context.cancelled


def listens(_: Page, context: Context) -> bool:
    return told(context)


def gives_up(_: Page) -> int:
    raise NonRetryable("never")


def waits(_: Page) -> int:
    raise RetryAfter(7)


SITE = (
    Flow("site", Page)
    .array(links, Page)
    .map(visit, links, Page)
    .step(guess, Page, when=lambda page: page.size > 3)
    .step(report, collect(visit), maybe(guess))
    .step(listens, Page)
    .step(gives_up, Page)
    .step(waits, Page)
)
CALLS = {call.__name__: call for call in remote_calls([SITE])}


@pytest.mark.parametrize("is_copy", [False, True])
@pytest.mark.parametrize(
    ("slug", "input", "element", "output"),
    [
        ("links", b'{"run":{"text":"a b"}}', None, b'["a","b"]'),
        ("visit", b'{"run":{"text":"p"}}', b'"l"', b'{"text":"l of p","size":1}'),
        ("guess", b'{"run":{"text":"p"}}', None, b'"short"'),
        ("report", b'{"visit":[{"text":"p"}],"guess":"long"}', None, b'{"pages":1,"kind":4}'),
        ("report", b'{"visit":[]}', None, b'{"pages":0,"kind":null}'),
        ("listens", b'{"run":{"text":"p"}}', None, b"false"),
    ],
)
def test_a_call_goes_from_json_to_json_here_and_elsewhere(
    slug: str, input: bytes, element: bytes | None, output: bytes, is_copy: bool
) -> None:
    here = RemoteCall(CALLS[slug].spec)
    call = pickle.loads(pickle.dumps(here)) if is_copy else here  # noqa: S301 - our own
    assert (call is here) is not is_copy
    assert call(input, element, CONTEXT) == output


def test_what_is_unpickled_twice_is_the_same_object() -> None:
    data = pickle.dumps(RemoteCall(CALLS["links"].spec))
    assert pickle.loads(data) is pickle.loads(data)  # noqa: S301 - our own


def test_an_input_that_does_not_fit_is_final_and_an_error_is_described_where_it_was_raised() -> None:
    misfit = CALLS["links"](b'{"run":{"text":5}}', None, CONTEXT)
    assert isinstance(misfit, AttemptFailure)
    assert (misfit.retryable, misfit.traceback) == (False, "")
    final = CALLS["gives_up"](b'{"run":{"text":"p"}}', None, CONTEXT)
    assert isinstance(final, AttemptFailure)
    assert (final.retryable, final.message) == (False, "never")
    later = CALLS["waits"](b'{"run":{"text":"p"}}', None, CONTEXT)
    assert isinstance(later, AttemptFailure)
    assert later.retry_after == 7


def test_a_context_in_the_same_process_hears_that_it_is_cancelled() -> None:
    cancelled = Context(
        **{name: getattr(CONTEXT, name) for name in CONTEXT.__dataclass_fields__ if name != "cancellation"},
        cancellation=Cancellation(requested=True),
    )
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(CALLS["listens"], b'{"run":{"text":"p"}}', None, cancelled).result() == b"true"


def test_a_call_is_named_after_its_step() -> None:
    assert [call.__name__ for call in remote_calls([SITE])][:2] == ["links", "visit"]


def test_all_that_cannot_be_pickled_is_told_at_once() -> None:
    class Local(BaseModel):
        number: int

    def takes_local(local: Local) -> int:
        return local.number

    def lends(_: Local) -> int:
        return 1

    flow = Flow("locals", Local).step(takes_local).step(partial(lends), slug="lends")
    with pytest.raises(ConfigError) as caught:
        check_picklable(remote_calls([flow]))
    text = caught.value.message
    assert text.count("its handler cannot be pickled") == 2
    assert text.count("the type of its input 'run', Local, cannot be pickled") == 2
    check_picklable(list(CALLS.values()))
