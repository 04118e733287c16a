"""Conditions as predicates: they take what the handler takes, a map's the whole list."""

from tests.typing.entry import Entry, Says, Unseen

UNTRACED = "PF-E127"
TEN = "def add(*given: int) -> int:\n    return sum(given)\n"
EACH = "def each(link: Site, mood: Mood, page: Page, ctx: Context) -> int:\n    return ctx.task_index\n"
TAGS = "def list_tags(site: Site) -> list[str]:\n    return site.tags\n"

PREDICATES = (
    Entry(
        name="a misspelt attribute of the run's input",
        wrong='base.step(read_site, when=lambda site: site.ulr == "x")',
        right='base.step(read_site, when=lambda site: site.url == "x")',
        says=Says("PF-E122", "has no attribute 'ulr'"),
    ),
    Entry(
        name="a misspelt attribute of an output",
        wrong='base.step(read_page, website, when=lambda page: page.contnt == "x")',
        right='base.step(read_page, website, when=lambda page: page.content != "x")',
        says=Says("PF-E122", "has no attribute 'contnt'"),
    ),
    Entry(
        name="a misspelt attribute of the second input",
        wrong="base.step(read_site_and_mood, Site, sentiment, when=lambda site, mood: mood.scroe < 0)",
        right='base.step(read_site_and_mood, Site, sentiment, when=lambda site, mood: (mood.score < -0.5) & (mood.label != "spam"))',
        says=Says("PF-E122", "has no attribute 'scroe'"),
    ),
    Entry(
        name="a misspelt attribute behind and",
        wrong="base.step(read_site_and_mood, Site, sentiment, unless=lambda site, mood: (mood.score < 0) & (site.ulr == mood.label))",
        right="base.step(read_site_and_mood, Site, sentiment, unless=lambda site, mood: (mood.score < 0) | (site.url == mood.label))",
        says=Says("PF-E122", "has no attribute 'ulr'"),
    ),
    Entry(
        name="an unknown key of a typed dict",
        wrong='base.step(read_totals, totals, when=lambda given: given["pags"] > 3)',
        right='base.step(read_totals, totals, when=lambda given: given["pages"] > 3)',
        says=Says("PF-E122", "Totals has no key 'pags'"),
    ),
    Entry(
        name="one parameter too many",
        wrong='base.step(read_page, website, when=lambda page, mood: page.content == "x")',
        right='base.step(read_page, website, unless=lambda page: page.content == "x")',
        says=Says(UNTRACED, "takes 2 parameters (page, mood), but is given 1 value (website)"),
    ),
    Entry(
        name="one parameter too many at a root step",
        wrong='base.step(read_site, when=lambda site, page: site.url == "x")',
        right='base.step(read_site, unless=lambda site: not_(site.url == "x"))',
        says=Says(UNTRACED, "takes 2 parameters (site, page), but is given 1 value"),
    ),
    Entry(
        name="one parameter too few",
        wrong='base.step(read_site_and_mood, Site, sentiment, when=lambda site: site.url == "x")',
        right='base.step(read_site_and_mood, Site, sentiment, when=lambda site, mood: site.url == "x")',
        says=Says(UNTRACED, "takes 1 parameter (site), but is given 2 values"),
    ),
    Entry(
        name="no parameters",
        wrong="base.step(read_page, website, when=lambda: True)",
        right="base.step(read_page, website, when=lambda page: is_none(page.title))",
        says=Says(UNTRACED, "takes 0 parameters (none), but is given 1 value (website)"),
    ),
    Entry(
        name="parameters in another order than the dependencies",
        wrong="base.step(read_site_and_mood, Site, sentiment, when=lambda mood, site: mood.score < 0)",
        right="base.step(read_site_and_mood, Site, sentiment, when=lambda one, other: other.score < 0)",
        says=Says("PF-E122", "has no attribute 'score'"),
    ),
    Entry(
        name="a comparison of a text with a number",
        wrong="base.step(read_page, website, when=lambda page: page.content < 3)",
        right='base.step(read_page, website, when=lambda page: page.content < "m")',
        says=Says(UNTRACED, "page.content is str, which < cannot compare with 3"),
    ),
    Entry(
        name="a value instead of a truth",
        wrong="base.step(read_page, website, when=lambda page: page.content)",
        right='base.step(read_page, website, when=lambda page: page.content != "")',
        says=Says(UNTRACED, "returns page.content, which is str and no condition"),
    ),
    Entry(
        name="an attribute of what may be None",
        wrong="base.step(read_maybe_mood, maybe(judge), when=lambda mood: mood.score < 0)",
        right="base.step(read_maybe_mood, maybe(judge), when=lambda mood: not_(is_none(mood)))",
        says=Unseen("None is in no order: of a skipped step the predicate just does not hold"),
    ),
    Entry(
        name="an element for the whole list of a map",
        wrong='base.map(each_link, links, when=lambda link: link.url == "x")',
        right='base.map(each_link, links, when=lambda given: given[0].url == "x")',
        says=Says(UNTRACED, "link is list[Site], and .url of it is nothing the database could look at"),
    ),
    Entry(
        name="a misspelt attribute of an element",
        wrong='base.map(each_link, links, when=lambda given: given[0].ulr == "x")',
        right="base.map(each_link, links, when=lambda given: count(given) > 3)",
        says=Says("PF-E122", "has no attribute 'ulr'"),
    ),
    Entry(
        name="a misspelt attribute of a map's second input",
        wrong="base.map(each_link_with_mood, links, sentiment, when=lambda given, mood: mood.scroe > 0)",
        right="base.map(each_link_with_mood, links, sentiment, when=lambda given, mood: (count(given) > 3) & (mood.score > 0))",
        says=Says("PF-E122", "has no attribute 'scroe'"),
    ),
    Entry(
        name="a map's second input left out",
        wrong="base.map(each_link_with_mood, links, sentiment, when=lambda given: count(given) > 3)",
        right="base.map(each_link_with_mood, links, sentiment, when=lambda given, mood: count(given) > 3)",
        says=Says(UNTRACED, "takes 1 parameter (given), but is given 2 values (links, sentiment)"),
    ),
    Entry(
        name="an element for the whole input of a root map",
        wrong='texts.map(each_word, when=lambda word: word.upper() == "X")',
        right='texts.map(each_word, when=lambda given: startswith(given[0], "x"))',
        says=Says(UNTRACED, "word is list[str], and .upper of it is nothing the database could look at"),
    ),
    Entry(
        name="a misspelt attribute of all results",
        wrong='base.step(read_pages, collect(fetch), when=lambda given: any_(given, lambda page: page.contnt == "x"))',
        right='base.step(read_pages, collect(fetch), when=lambda given: any_(given, lambda page: page.content == "x"))',
        says=Says("PF-E122", "has no attribute 'contnt'"),
    ),
    Entry(
        name="a misspelt attribute within all_",
        wrong='base.map(each_link, links, when=lambda given: all_(given, lambda link: link.ulr == "x"))',
        right='base.map(each_link, links, when=lambda given: all_(given, lambda link: matches(link.url, "^https:")))',
        says=Says("PF-E122", "has no attribute 'ulr'"),
    ),
    Entry(
        name="count of what is no list",
        wrong="base.step(read_mood, sentiment, when=lambda mood: count(mood.score) > 3)",
        right="base.step(read_site, when=lambda site: count(site.tags) > 3)",
        says=Says(UNTRACED, "count is about lists, but mood.score is float"),
    ),
    Entry(
        name="startswith of a number",
        wrong='base.step(read_mood, sentiment, when=lambda mood: startswith(mood.score, "1"))',
        right='base.step(read_mood, sentiment, when=lambda mood: startswith(mood.label, "1"))',
        says=Says(UNTRACED, "startswith is about texts, but mood.score is float"),
    ),
    Entry(
        name="matches without a pattern",
        wrong="base.step(read_mood, sentiment, when=lambda mood: matches(mood.label))",
        right='base.step(read_mood, sentiment, when=lambda mood: matches(mood.label, "b.d"))',
        says=Says(UNTRACED, "missing 1 required positional argument: 'pattern'"),
    ),
    Entry(
        name="in_ with a number for the values",
        wrong="base.step(read_mood, sentiment, when=lambda mood: in_(mood.score, 3))",
        right='base.step(read_mood, sentiment, when=lambda mood: in_(mood.label, ["bad", "worse"]))',
        says=Says(UNTRACED, "in_ needs a list of choices, not 3"),
    ),
    Entry(
        name="a misspelt attribute of an array step's input",
        wrong='base.array(list_links, website, when=lambda page: page.contnt != "")',
        right='base.array(list_links, website, when=lambda page: page.content != "", unless={"website": {"title": "x"}})',
        says=Says("PF-E122", "has no attribute 'contnt'"),
    ),
    Entry(
        name="a predicate for another type",
        wrong="def is_bad(mood: Mood) -> bool:\n    return mood.score < 0\nbase.step(read_page, website, when=is_bad)",
        right="def is_bad(mood: Mood) -> bool:\n    return mood.score < 0\nbase.step(read_mood, sentiment, when=is_bad)",
        says=Says("PF-E122", "has no attribute 'score'"),
    ),
    Entry(
        name="an async predicate",
        wrong="async def is_bad(mood: Mood) -> bool:\n    return mood.score < 0\nbase.step(read_mood, sentiment, when=is_bad)",
        right="def is_bad(mood: Mood) -> bool:\n    return (mood.score < 0) & (mood.label != mood.label)\nbase.step(read_mood, sentiment, unless=is_bad)",
        says=Says(UNTRACED, "when is a coroutine function"),
    ),
    Entry(
        name="a handler for a predicate",
        wrong="base.map(each_link, links, unless=fetch)",
        right="base.map(each_link, links, unless=lambda given: count(given) == 0)",
        says=Says(UNTRACED, "unless is a coroutine function"),
    ),
    Entry(
        name="a misspelt attribute of a bound method's input",
        wrong='base.step(archive.store, website, when=lambda page: page.contnt == "x")',
        right='base.step(archive.store, website, when=lambda page: page.content == "x")',
        says=Says("PF-E122", "has no attribute 'contnt'"),
    ),
    Entry(
        name="a misspelt attribute of a generic model",
        wrong="base.step(read_box, boxed, when=lambda given: given.valu == 3)",
        right="base.step(read_box, boxed, when=lambda given: given.value == 3)",
        says=Says("PF-E122", "has no attribute 'valu'"),
    ),
    Entry(
        name="a misspelt attribute of a named step's input",
        wrong='base.step(named("again", read_page), website, when=lambda page: page.contnt == "x")',
        right='base.step(named("again", read_page), website, when=lambda page: page.content == "x")',
        says=Says("PF-E122", "has no attribute 'contnt'"),
    ),
    Entry(
        name="the last of ten inputs compared with a text",
        wrong=TEN
        + 'many.step(add, n1, n2, n3, n4, n5, n6, n7, n8, n9, n10, when=lambda a, b, c, d, e, f, g, h, j, k: k < "x")',
        right=TEN
        + "many.step(add, n1, n2, n3, n4, n5, n6, n7, n8, n9, n10, when=lambda a, b, c, d, e, f, g, h, j, k: k < a)",
        says=Says(UNTRACED, "k is int, which < cannot compare with 'x'"),
    ),
    Entry(
        name="an unknown attribute of the third input of a map",
        wrong=EACH + 'base.map(each, links, sentiment, website, unless=lambda given, mood, page: page.label == "x")',
        right=EACH
        + "base.map(each, links, sentiment, website, unless=lambda given, mood, page: page.content == mood.label)",
        says=Says("PF-E122", "Page has no attribute 'label'"),
    ),
    Entry(
        name="an unknown attribute of the input of a root array step",
        wrong=TAGS + "base.array(list_tags, when=lambda site: count(site.labels) > 3)",
        right=TAGS + "base.array(list_tags, when=lambda site: any_(site.tags, lambda tag: tag == site.url))",
        says=Says("PF-E122", "Site has no attribute 'labels'"),
    ),
)
