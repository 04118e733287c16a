"""Lists: what a map goes over, what `collect` gathers, what an array step returns."""

from tests.typing.entry import Entry, Says

MAPS = (
    Entry(
        name="map over something that is no list",
        wrong="base.map(each_link, website)",
        right="assert_type(base.map(each_link, links).returns(collect(each_link)), Flow[Site, list[str]])",
        says=Says("PF-E107", "a map needs a list, but 'website' is Page."),
    ),
    Entry(
        name="map over a text",
        wrong="base.map(each_word, summary)",
        right="assert_type(base.map(each_word, words).returns(collect(each_word)), Flow[Site, list[str]])",
        says=Says("PF-E107", "a map needs a list, but 'summary' is str."),
    ),
    Entry(
        name="map over elements of another type",
        wrong="base.map(each_page, links)",
        right="assert_type(base.map(each_page, collect(fetch)).returns(collect(each_page)), Flow[Site, list[int]])",
        says=Says("PF-E105", "parameter 'page' takes Page, but an element of 'links' is Site."),
    ),
    Entry(
        name="map over a map step without collect",
        wrong="base.map(each_page, fetch)",
        right='base.map(named("each_page_again", each_page), collect(fetch))',
        says=Says("PF-E108", "Depend on collect(fetch), to map over its results."),
    ),
    Entry(
        name="map over collected elements of another type",
        wrong="base.map(each_number, collect(fetch))",
        right="base.map(each_page, collect(fetch)).map(each_number, collect(each_page))",
        says=Says("PF-E105", "parameter 'number' takes int, but an element of collect(fetch) is Page."),
    ),
    Entry(
        name="map without its second dependency",
        wrong="base.map(each_link_with_mood, links)",
        right="assert_type(base.map(each_link_with_mood, links, sentiment).returns(collect(each_link_with_mood)), Flow[Site, list[float]])",
        says=Says("PF-E106", "takes 2 parameters (link, mood), but is given 1 value (links)."),
    ),
    Entry(
        name="map with a second dependency of another type",
        wrong="base.map(each_link_with_mood, links, summary)",
        right="base.map(each_link_with_mood, links, sentiment, queue='slow')",
        says=Says("PF-E105", "parameter 'mood' takes Mood, but 'summary' is str."),
    ),
    Entry(
        name="map with one dependency too many",
        wrong="base.map(each_link, links, sentiment)",
        right="base.map(each_link, links, priority=1)",
        says=Says("PF-E106", "but is given an element and 1 dependency (links, sentiment)."),
    ),
    Entry(
        name="root map over an input that is no list",
        wrong="base.map(each_link)",
        right='assert_type(Flow("sites", list[Site]).map(each_link).returns(collect(each_link)), Flow[list[Site], list[str]])',
        says=Says("PF-E107", "a map needs a list, but the run's input is Site."),
    ),
    Entry(
        name="root map over a text",
        wrong='Flow("letters", str).map(each_word)',
        right='Flow("letters", str).array(list_words).map(each_word, list_words)',
        says=Says("PF-E107", "a map needs a list, but the run's input is str."),
    ),
    Entry(
        name="root map over elements of another type",
        wrong="texts.map(each_link)",
        right="assert_type(texts.map(each_word), Flow[list[str], dict[str, Any]])",
        says=Says("PF-E105", "parameter 'link' takes Site, but an element of the run's input is str."),
    ),
    Entry(
        name="root map of a handler of two parameters",
        wrong="texts.map(each_word_times)",
        right="def each_with_context(word: str, ctx: Context) -> int:\n    return ctx.task_index\n"
        "assert_type(texts.map(each_with_context).returns(collect(each_with_context)), Flow[list[str], list[int]])",
        says=Says("PF-E106", "takes 2 parameters (word, times), but is given 1 value (an element of the run's input)."),
    ),
    Entry(
        name="map over the input with another second type",
        wrong="texts.step(longest).map(each_word_times, list[str], list[str])",
        right="texts.step(longest).map(each_word_times, list[str], longest).returns(longest)",
        says=Says("PF-E104", "the run's input twice", (("PF-E105", "parameter 'times' takes int"),)),
    ),
    Entry(
        name="map over an input type that is no list",
        wrong="base.map(each_link, Site)",
        right="base.array(list_links, website).map(each_link, list_links)",
        says=Says("PF-E107", "a map needs a list, but the run's input is Site."),
    ),
    Entry(
        name="map over an optional list",
        wrong="def some(site: Site) -> list[Site] | None:\n    return [site]\nbase.step(some).map(each_link, some)",
        right="def some(site: Site) -> list[Site]:\n    return [site]\nbase.step(some).map(each_link, some)",
        says=Says("PF-E107", "a map needs a list, but 'some' is list[Site] | None."),
    ),
    Entry(
        name="map over a tuple",
        wrong="def pair(site: Site) -> tuple[Site, ...]:\n    return (site,)\nbase.step(pair).map(each_link, pair)",
        right="def pair(site: Site) -> list[Site]:\n    return [site, site]\nbase.array(pair).map(each_link, pair)",
        says=Says("PF-E107", "a map needs a list, but 'pair' is tuple[Site, ...]."),
    ),
    Entry(
        name="collect forgotten",
        wrong="base.step(read_pages, fetch)",
        right="assert_type(base.step(read_pages, collect(fetch)).returns(read_pages), Flow[Site, int])",
        says=Says("PF-E108", "Depend on collect(fetch)."),
    ),
    Entry(
        name="collect of a step of one task",
        wrong="base.step(read_links, collect(website))",
        right="base.step(read_links, links).step(read_number, read_links)",
        says=Says("PF-E109", "collect(website) takes the results of a map step, but 'website' is a step of one task."),
    ),
    Entry(
        name="all results for one of them",
        wrong="base.step(read_page, collect(fetch))",
        right="base.step(read_pages, collect(fetch)).step(read_number, read_pages)",
        says=Says("PF-E105", "parameter 'page' takes Page, but collect(fetch) is list[Page]."),
    ),
    Entry(
        name="results of another map step",
        wrong="base.step(read_pages, collect(weigh))",
        right="assert_type(base.step(read_weights, collect(weigh), sentiment).returns(read_weights), Flow[Site, float])",
        says=Says("PF-E105", "parameter 'given' takes list[Page], but collect(weigh) is list[float]."),
    ),
    Entry(
        name="collect around a name",
        wrong='base.step(read_pages, collect("fetch"))',
        right="base.step(read_pages, collect(fetch), max_attempts=1)",
        says=Says("PF-E102", "unknown dependency 'fetch'"),
    ),
    Entry(
        name="an array step that returns no list",
        wrong="base.array(read_page, website)",
        right="assert_type(base.array(list_links, website).returns(list_links), Flow[Site, list[Site]])",
        says=Says("PF-E113", "an array step has to return a list, but its handler returns str."),
    ),
    Entry(
        name="an async array step that returns no list",
        wrong="base.array(read_mood, sentiment)",
        right="assert_type(base.array(read_pages_and_mood, collect(fetch), sentiment).returns(read_pages_and_mood), Flow[Site, list[int]])",
        says=Says("PF-E113", "an array step has to return a list, but its handler returns float."),
    ),
    Entry(
        name="a root array step that returns no list",
        wrong="base.array(read_site)",
        right="def list_tags(site: Site) -> list[str]:\n    return site.tags\n"
        "assert_type(base.array(list_tags).returns(list_tags), Flow[Site, list[str]])",
        says=Says("PF-E113", "an array step has to return a list, but its handler returns str."),
    ),
    Entry(
        name="an array step given another type",
        wrong="base.array(list_links, summary)",
        right="base.array(list_words, summary)",
        says=Says("PF-E105", "parameter 'page' takes Page, but 'summary' is str."),
    ),
)
