"""What a step is given: the run's input, other steps' outputs, in which order and how many."""

from tests.typing.entry import Entry, Says

WIRING = (
    Entry(
        name="a root step that does not take the run's input",
        wrong="base.step(read_page)",
        right="assert_type(base.step(read_site).returns(read_site), Flow[Site, str])",
        says=Says("PF-E105", "parameter 'page' takes Page, but the run's input is Site."),
    ),
    Entry(
        name="a list for one of its elements",
        wrong="base.step(read_page, links)",
        right="assert_type(base.step(read_links, links).returns(read_links), Flow[Site, int])",
        says=Says("PF-E105", "parameter 'page' takes Page, but 'links' is list[Site]."),
    ),
    Entry(
        name="the output of another step",
        wrong="base.step(read_page, summary)",
        right="assert_type(base.step(read_text, summary).returns(read_text), Flow[Site, int])",
        says=Says("PF-E105", "parameter 'page' takes Page, but 'summary' is str."),
    ),
    Entry(
        name="the output of another async step",
        wrong="base.step(read_text, sentiment)",
        right="assert_type(base.step(read_mood, sentiment).returns(read_mood), Flow[Site, float])",
        says=Says("PF-E105", "parameter 'text' takes str, but 'sentiment' is Mood."),
    ),
    Entry(
        name="an async handler given another type",
        wrong="base.step(read_page_later, summary)",
        right="assert_type(base.step(read_page_later, website).returns(read_page_later), Flow[Site, bytes])",
        says=Says("PF-E105", "parameter 'page' takes Page, but 'summary' is str."),
    ),
    Entry(
        name="swapped dependencies of different types",
        wrong="base.step(read_site_and_mood, sentiment, Site)",
        right="assert_type(base.step(read_site_and_mood, Site, sentiment).returns(read_site_and_mood), Flow[Site, str | None])",
        says=Says("PF-E105", "Dependencies are given in their order: swap those of 'site' and 'mood'."),
    ),
    Entry(
        name="a dependency is missing",
        wrong="base.step(read_site_and_mood, Site)",
        right="base.step(read_site_and_mood, Site, sentiment, timeout=30)",
        says=Says("PF-E106", "its handler takes 2 parameters (site, mood), but is given 1 value (Site)."),
    ),
    Entry(
        name="one dependency too many",
        wrong="base.step(read_page, website, Site)",
        right="def read_both(page: Page, site: Site) -> None: ...\n"
        "assert_type(base.step(read_both, website, Site).returns(read_both), Flow[Site, None])",
        says=Says("PF-E106", "takes 1 parameter (page), but is given 2 values (website, Site)."),
    ),
    Entry(
        name="a handler of two parameters without dependencies",
        wrong="base.step(read_site_and_mood)",
        right="def read_with_context(site: Site, ctx: Context) -> int:\n    return ctx.attempt\n"
        "assert_type(base.step(read_with_context).returns(read_with_context), Flow[Site, int])",
        says=Says("PF-E106", "Without dependencies a handler is given the run's input alone."),
    ),
    Entry(
        name="the third of three dependencies is wrong",
        wrong="base.step(read_site_text_and_page, Site, summary, sentiment)",
        right="assert_type(base.step(read_site_text_and_page, Site, summary, website).returns(read_site_text_and_page), Flow[Site, bool])",
        says=Says("PF-E105", "parameter 'page' takes Page | None, but 'sentiment' is Mood."),
    ),
    Entry(
        name="the input of another flow",
        wrong="base.step(read_page, list[str])",
        right="assert_type(texts.step(longest, list[str]).returns(longest), Flow[list[str], int])",
        says=Says("PF-E102", "unknown dependency 'list[str]'"),
    ),
    Entry(
        name="a class that is not the input type",
        wrong="base.step(read_page, Mood)",
        right="assert_type(base.step(read_site, Site).returns(read_site), Flow[Site, str])",
        says=Says("PF-E102", "Mood is a class and not the flow's input type"),
    ),
    Entry(
        name="a name instead of the dependency",
        wrong='base.step(read_page, "website")',
        right="base.step(read_page, website, priority=1).step(read_text, read_page)",
        says=Says("PF-E102", "Pass the function itself, not its name."),
    ),
    Entry(
        name="a name instead of the handler",
        wrong='base.step("read_page", website)',
        right='base.step(named("reading", read_page), website)',
        says=Says("PF-E119", "'read_page' cannot be called"),
    ),
    Entry(
        name="a number as a dependency",
        wrong="base.step(read_page, 3)",
        right="base.step(read_page, website, max_attempts=3)",
        says=Says("PF-E102", "3 is no dependency. Pass the function of a step."),
    ),
    Entry(
        name="a dependency in a list",
        wrong="base.step(read_page, [website])",
        right="base.step(read_page, website).step(read_text, read_page).step(read_number, read_text)",
        says=Says("PF-E102", "a list is no dependency. Give them one by one: website."),
    ),
    Entry(
        name="a step that was called instead of referred to",
        wrong="base.step(read_text, summary(Page(content='x')))",
        right="base.step(read_text, summary)",
        says=Says("PF-E102", "unknown dependency 'x'"),
    ),
    Entry(
        name="a named step gives what its function gives",
        wrong="base.step(read_page, second_summary)",
        right="assert_type(base.step(read_text, second_summary).returns(read_text), Flow[Site, int])",
        says=Says("PF-E105", "parameter 'page' takes Page, but 'second_summary' is str."),
    ),
    Entry(
        name="a named handler takes what its function takes",
        wrong='base.step(named("again", read_page), summary)',
        right='again = named("again", read_page)\nassert_type(base.step(again, website).returns(again), Flow[Site, str])',
        says=Says("PF-E105", "parameter 'page' takes Page, but 'summary' is str."),
    ),
    Entry(
        name="a whole list of inputs for one of them",
        wrong="texts.step(each_word)",
        right="texts.step(longest).map(each_word_times, list[str], longest)",
        says=Says("PF-E105", "parameter 'word' takes str, but the run's input is list[str]."),
    ),
    Entry(
        name="eleven dependencies",
        wrong="def add(*given: int) -> int:\n    return sum(given)\nmany.step(add, n1, n2, n3, n4, n5, n6, n7, n8, n9, n10, n11)",
        right="def add(*given: int) -> int:\n    return sum(given)\n"
        "assert_type(many.step(add, n1, n2, n3, n4, n5, n6, n7, n8, n9, n10).returns(add), Flow[Site, int])",
        says=Says("PF-E115", "11 dependencies, at most 10 are possible"),
    ),
)
