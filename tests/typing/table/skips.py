"""What may be skipped: `maybe` turns an output into a value or None, and the parameter has to take both."""

from tests.typing.entry import Entry, Says

SKIPS = (
    Entry(
        name="maybe for a value",
        wrong="base.step(read_mood, maybe(judge))",
        right="assert_type(base.step(read_maybe_mood, maybe(judge)).returns(read_maybe_mood), Flow[Site, str | None])",
        says=Says("PF-E105", "parameter 'mood' takes Mood, but maybe(judge) is Mood | None."),
    ),
    Entry(
        name="maybe of a sync step for a value",
        wrong="base.step(read_links, maybe(pages))",
        right="def read_maybe_links(given: list[Site] | None) -> int:\n    return len(given or ())\n"
        "base.step(read_maybe_links, maybe(pages))",
        says=Says("PF-E105", "parameter 'given' takes list[Site], but maybe(pages) is list[Site] | None."),
    ),
    Entry(
        name="maybe of another type",
        wrong="base.step(read_title, maybe(judge))",
        right="assert_type(base.step(read_title, maybe(ticket)).returns(read_title), Flow[Site, int])",
        says=Says("PF-E105", "parameter 'title' takes str | None, but maybe(judge) is Mood | None."),
    ),
    Entry(
        name="maybe in the first place, where a value is needed",
        wrong="base.step(read_mood_and_title, maybe(judge), maybe(ticket))",
        right="assert_type(base.step(read_mood_and_title, sentiment, maybe(ticket)).returns(read_mood_and_title), Flow[Site, Totals])",
        says=Says("PF-E105", "parameter 'mood' takes Mood, but maybe(judge) is Mood | None."),
    ),
    Entry(
        name="maybe in the second place of another type",
        wrong="base.step(read_mood_and_title, sentiment, maybe(judge))",
        right="base.step(read_mood_and_title, sentiment, maybe(ticket), when_exhausted='skip')",
        says=Says("PF-E105", "parameter 'title' takes str | None, but maybe(judge) is Mood | None."),
    ),
    Entry(
        name="maybe of all results for the results",
        wrong="base.step(read_pages, maybe(collect(visit)))",
        right="assert_type(base.step(read_maybe_pages, maybe(collect(visit))).returns(read_maybe_pages), Flow[Site, int])",
        says=Says("PF-E105", "parameter 'given' takes list[Page], but maybe(collect(visit)) is list[Page] | None."),
    ),
    Entry(
        name="maybe of a map step without collect",
        wrong="base.step(read_maybe_pages, maybe(visit))",
        right="base.step(read_maybe_pages, maybe(collect(visit)), timeout=5)",
        says=Says("PF-E108", "Depend on maybe(collect(visit))."),
    ),
    Entry(
        name="collect and maybe the wrong way round",
        wrong="base.step(read_maybe_pages, collect(maybe(visit)))",
        right="base.step(read_maybe_pages, maybe(collect(visit)), queue='slow')",
        says=Says("PF-E102", "both together are maybe(collect(handler))"),
    ),
    Entry(
        name="map over something that may be None",
        wrong="base.map(each_link, maybe(pages))",
        right="assert_type(base.map(each_link, pages).returns(collect(each_link)), Flow[Site, list[str]])",
        says=Says("PF-E126", "a map over 'pages' has no tasks when that was skipped"),
    ),
    Entry(
        name="map over results that may be None",
        wrong="base.map(each_page, maybe(collect(visit)))",
        right="base.map(each_page, collect(visit))",
        says=Says("PF-E126", "a map over 'visit' has no tasks when that was skipped"),
    ),
    Entry(
        name="map with a second dependency that may be None",
        wrong="base.map(each_link_with_mood, links, maybe(judge))",
        right="base.map(each_link_with_title, links, maybe(ticket))",
        says=Says("PF-E105", "parameter 'mood' takes Mood, but maybe(judge) is Mood | None."),
    ),
    Entry(
        name="array given something that may be None",
        wrong="base.array(list_words, maybe(ticket))",
        right="def list_titles(title: str | None) -> list[str]:\n    return [title or '']\n"
        "assert_type(base.array(list_titles, maybe(ticket)).returns(list_titles), Flow[Site, list[str]])",
        says=Says("PF-E105", "parameter 'text' takes str, but maybe(ticket) is str | None."),
    ),
    Entry(
        name="maybe around a name",
        wrong='base.step(read_maybe_mood, maybe("judge"))',
        right="base.step(read_maybe_mood, maybe(judge), priority=2)",
        says=Says("PF-E102", "unknown dependency 'judge'"),
    ),
    Entry(
        name="maybe around nothing",
        wrong="base.step(read_maybe_mood, maybe())",
        right="base.step(read_maybe_mood, maybe(judge), base_delay=2)",
        says=Says("TypeError", "missing 1 required positional argument"),
    ),
)
