import functools

import pytest

from flowdsl import collect, named
from flowdsl.model.refs import Named, Ref, handler_name, same_handler
from tests.names import readable

from .handlers_for_tests import sentiment, summary, website


class Store:
    def save(self, text: str) -> str:
        return text

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("handlers are never compared by value")

    __hash__ = None  # type: ignore[assignment]


def test_collect_stands_for_results_and_cannot_be_called() -> None:
    ref = collect(summary)
    assert isinstance(ref, Ref)
    assert ref.handler is summary
    with pytest.raises(TypeError, match=r"collect\(summary\) stands for results"):
        ref()


def test_a_named_handler_can_still_be_called() -> None:
    from .handlers_for_tests import Page

    assert named("again", summary)(Page(content="text")) == "text"


def test_named_handlers_are_equal_by_slug_and_handler() -> None:
    assert named("again", summary) == named("again", summary)
    assert len({named("again", summary), named("again", summary)}) == 1
    assert named("again", summary) != named("other", summary)
    assert not same_handler(named("again", summary), named("again", sentiment))
    assert named("again", summary) != summary


def test_a_bound_method_is_the_same_handler_at_each_access() -> None:
    store, other = Store(), Store()
    assert same_handler(store.save, store.save)
    assert not same_handler(store.save, other.save)
    assert not same_handler(store, other)
    assert same_handler(named("a", store.save), named("a", store.save))


def test_a_named_handler_is_not_the_handler_itself() -> None:
    assert not same_handler(named("summary", summary), summary)
    assert not same_handler(summary, named("summary", summary))


def test_partials_are_the_same_only_as_one_object() -> None:
    partial = functools.partial(summary)
    assert same_handler(partial, partial)
    assert not same_handler(partial, functools.partial(summary))


@pytest.mark.parametrize(
    ("handler", "name"),
    [
        (website, "website"),
        (functools.partial(functools.partial(summary)), "summary"),
        (named("again", website), "again"),
        (collect(website), "collect(website)"),
        (collect(named("again", website)), "collect(again)"),
        (Store().save, "save"),
        (functools.partial(Store().save), "save"),
        (Store(), "Store"),
        ("text", "text"),
    ],
    ids=readable,
)
def test_handlers_go_by_their_names(handler: object, name: str) -> None:
    assert handler_name(handler) == name


def test_named_is_seen_as_such_at_run_time() -> None:
    ref: object = named("again", website)
    assert isinstance(ref, Named)
    assert ref.handler is website
