"""What may be a handler: functions, methods, partials, objects that can be called; what comes after the dependencies."""

from tests.typing.entry import Entry, Says

HANDLERS = (
    Entry(
        name="a bound method given another type",
        wrong="base.step(archive.store, summary)",
        right="assert_type(base.step(archive.store, website).returns(archive.store), Flow[Site, int])",
        says=Says("PF-E105", "parameter 'page' takes Page, but 'summary' is str."),
    ),
    Entry(
        name="the output of a bound method",
        wrong="base.step(archive.store, website).step(read_page, archive.store)",
        right="base.step(archive.store, website).step(read_number, archive.store)",
        says=Says("PF-E105", "parameter 'page' takes Page, but 'store' is int."),
    ),
    Entry(
        name="an async bound method without its second dependency",
        wrong="base.step(archive.store_later, website)",
        right="assert_type(base.step(archive.store_later, website, sentiment).returns(archive.store_later), Flow[Site, int])",
        says=Says("PF-E106", "takes 2 parameters (page, mood), but is given 1 value (website)."),
    ),
    Entry(
        name="a method that was not bound",
        wrong="base.step(Archive.store, website)",
        right='base.step(Archive().store, website, slug="stored")',
        says=Says("PF-E119", "store is a method of Archive, without an object to call it on. Pass it of an object"),
    ),
    Entry(
        name="a classmethod given another type",
        wrong="base.step(Archive.described, sentiment)",
        right="assert_type(base.step(Archive.described, website).returns(Archive.described), Flow[Site, str])",
        says=Says("PF-E105", "parameter 'page' takes Page, but 'sentiment' is Mood."),
    ),
    Entry(
        name="a staticmethod given another type",
        wrong="base.step(Archive.printed, summary)",
        right="assert_type(base.step(Archive.printed, website).returns(Archive.printed), Flow[Site, bool])",
        says=Says("PF-E105", "parameter 'page' takes Page, but 'summary' is str."),
    ),
    Entry(
        name="the output of a staticmethod that is async",
        wrong="base.step(archive.printed, website).step(read_page, archive.printed)",
        right="base.step(archive.printed, website).step(read_number, archive.printed)",
        says=Says("PF-E105", "parameter 'page' takes Page, but 'printed' is bool."),
    ),
    Entry(
        name="an object that can be called given another type",
        wrong='base.step(archive, summary, slug="archived")',
        right='assert_type(base.step(archive, website, slug="archived").returns(archive), Flow[Site, str])',
        says=Says("PF-E105", "parameter 'page' takes Page, but 'summary' is str."),
    ),
    Entry(
        name="the output of an object that can be called",
        wrong='base.step(archive, website, slug="archived").step(read_page, archive)',
        right='base.step(archive, website, slug="archived").step(read_text, archive)',
        says=Says("PF-E105", "parameter 'page' takes Page, but 'archived' is str."),
    ),
    Entry(
        name="the output of a partial",
        wrong='base.step(triple, website, slug="triple").step(read_page, triple)',
        right='assert_type(base.step(triple, website, slug="triple").step(read_float, triple).returns(triple), Flow[Site, float])',
        says=Says("PF-E105", "parameter 'page' takes Page, but 'triple' is float."),
    ),
    Entry(
        name="a partial given another type",
        wrong='base.step(triple, summary, slug="triple")',
        right='base.step(functools.partial(scaled, 3), website, slug="triple")',
        says=Says("PF-E105", "parameter 'page' takes Page, but 'summary' is str."),
    ),
    Entry(
        name="a Context that comes first",
        wrong="def read_early(ctx: Context, page: Page) -> str:\n    return page.content\nbase.step(read_early, website)",
        right="def read_late(page: Page, ctx: Context) -> str:\n    return page.content\n"
        "assert_type(base.step(read_late, website).returns(read_late), Flow[Site, str])",
        says=Says("PF-E106", "only a Context may come after them"),
    ),
    Entry(
        name="a keyword-only parameter without a default",
        wrong="def read_strictly(page: Page, *, limit: int) -> str:\n    return page.content[:limit]\nbase.step(read_strictly, website)",
        right="def read_freely(page: Page, *, limit: int = 3) -> str:\n    return page.content[:limit]\n"
        "assert_type(base.step(read_freely, website).returns(read_freely), Flow[Site, str])",
        says=Says("PF-E116", "parameter 'limit' is keyword-only and has no default."),
    ),
    Entry(
        name="a handler without parameters",
        wrong="base.step(read_nothing)",
        right="def read_by_default(site: Site, limit: int = 3) -> int:\n    return limit\n"
        "assert_type(base.step(read_by_default).returns(read_by_default), Flow[Site, int])",
        says=Says("PF-E106", "takes 0 parameters (none), but is given 1 value (the run's input)."),
    ),
    Entry(
        name="a handler of any number of parameters given another type",
        wrong="base.step(read_each_page, website, summary)",
        right="assert_type(base.step(read_each_page, website, long_page).returns(read_each_page), Flow[Site, int])",
        says=Says("PF-E105", "parameter 'given' takes Page, but 'summary' is str."),
    ),
    Entry(
        name="collect as a handler",
        wrong="base.step(collect)",
        right="base.step(read_pages, collect(fetch))",
        says=Says("PF-E119", "collect is no handler. Pass the function itself"),
    ),
    Entry(
        name="a number as a handler",
        wrong="base.step(3, website)",
        right="base.step(read_page, website, max_attempts=30)",
        says=Says("PF-E119", "3 cannot be called"),
    ),
)
