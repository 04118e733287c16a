"""What fits what: unions, optional values, containers and their variance, generics, and `Any` at the edges."""

from tests.typing.entry import Entry, Says

TYPES = (
    Entry(
        name="an optional output for a value",
        wrong="base.step(read_page, lookup)",
        right="assert_type(base.step(read_maybe_page, lookup).returns(read_maybe_page), Flow[Site, bool])",
        says=Says("PF-E105", "parameter 'page' takes Page, but 'lookup' is Page | None."),
    ),
    Entry(
        name="another value for an optional one",
        wrong="base.step(read_title, length)",
        right="assert_type(base.step(read_title, summary).returns(read_title), Flow[Site, int])",
        says=Says("PF-E105", "parameter 'title' takes str | None, but 'length' is int."),
    ),
    Entry(
        name="a union for one of its members",
        wrong="base.step(read_page, either)",
        right="assert_type(base.step(read_page_or_mood, either).returns(read_page_or_mood), Flow[Site, str])",
        says=Says("PF-E105", "parameter 'page' takes Page, but 'either' is Page | Mood."),
    ),
    Entry(
        name="something else for a union",
        wrong="base.step(read_page_or_mood, summary)",
        right="assert_type(base.step(read_page_or_mood, sentiment).returns(read_page_or_mood), Flow[Site, str])",
        says=Says("PF-E105", "parameter 'given' takes Page | Mood, but 'summary' is str."),
    ),
    Entry(
        name="a typed dict for a text",
        wrong="base.step(read_text, totals)",
        right="assert_type(base.step(read_totals, totals).returns(read_totals), Flow[Site, int])",
        says=Says("PF-E105", "parameter 'text' takes str, but 'totals' is Totals."),
    ),
    Entry(
        name="a dict for a typed dict",
        wrong="base.step(read_totals, counts)",
        right="assert_type(base.step(read_counts, counts).returns(read_counts), Flow[Site, int])",
        says=Says("PF-E105", "parameter 'given' takes Totals, but 'counts' is dict[str, int]."),
    ),
    Entry(
        name="a typed dict for a dict",
        wrong="base.step(read_counts, totals)",
        right="def read_keys(given: Mapping[str, object]) -> int:\n    return len(given)\n"
        "assert_type(base.step(read_keys, totals).returns(read_keys), Flow[Site, int])",
        says=Says("PF-E105", "parameter 'given' takes dict[str, int], but 'totals' is Totals."),
    ),
    Entry(
        name="a number for a new type of it",
        wrong="base.step(read_user, length)",
        right="assert_type(base.step(read_user, user).returns(read_user), Flow[Site, int])",
        says=Says("PF-E105", "parameter 'given' takes UserId, but 'length' is int."),
    ),
    Entry(
        name="a new type for something else than its base",
        wrong="base.step(read_text, user)",
        right="assert_type(base.step(read_number, user).returns(read_number), Flow[Site, str])",
        says=Says("PF-E105", "parameter 'text' takes str, but 'user' is UserId."),
    ),
    Entry(
        name="a text for a literal",
        wrong="base.step(read_verdict, summary)",
        right="assert_type(base.step(read_verdict, verdict).returns(read_verdict), Flow[Site, bool])",
        says=Says("PF-E105", "parameter 'given' takes Literal['good', 'bad'], but 'summary' is str."),
    ),
    Entry(
        name="a literal that has more values than the parameter takes",
        wrong="def read_good(given: Literal['good']) -> bool:\n    return bool(given)\nbase.step(read_good, verdict)",
        right="assert_type(base.step(read_text, verdict).returns(verdict), Flow[Site, Literal['good', 'bad']])",
        says=Says("PF-E105", "parameter 'given' takes Literal['good'], but 'verdict' is Literal['good', 'bad']."),
    ),
    Entry(
        name="a text for an enum",
        wrong="base.step(read_level, summary)",
        right="assert_type(base.step(read_level, level).returns(level), Flow[Site, Level])",
        says=Says("PF-E105", "parameter 'given' takes Level, but 'summary' is str."),
    ),
    Entry(
        name="an enum for its value",
        wrong="base.step(read_text, level)",
        right="def read_any_level(given: Level | None) -> str:\n    return str(given)\nbase.step(read_any_level, level)",
        says=Says("PF-E105", "parameter 'text' takes str, but 'level' is Level."),
    ),
    Entry(
        name="a list of int for a list of float",
        wrong="base.step(read_floats, numbers)",
        right="assert_type(base.step(read_any_floats, numbers).returns(read_any_floats), Flow[Site, float])",
        says=Says("PF-E105", "parameter 'given' takes list[float], but 'numbers' is list[int]."),
    ),
    Entry(
        name="a list of something else",
        wrong="base.step(read_links, numbers)",
        right="assert_type(base.step(read_links, links).returns(links), Flow[Site, list[Site]])",
        says=Says("PF-E105", "parameter 'given' takes list[Site], but 'numbers' is list[int]."),
    ),
    Entry(
        name="a dict of int for a dict of float",
        wrong="base.step(read_float_counts, counts)",
        right="assert_type(base.step(read_any_counts, counts).returns(read_any_counts), Flow[Site, float])",
        says=Says("PF-E105", "parameter 'given' takes dict[str, float], but 'counts' is dict[str, int]."),
    ),
    Entry(
        name="a float for an int",
        wrong='base.step(triple, website, slug="triple").step(read_number, triple)',
        right="assert_type(base.step(read_float, length).returns(read_float), Flow[Site, str])",
        says=Says("PF-E105", "parameter 'number' takes int, but 'triple' is float."),
    ),
    Entry(
        name="a base class for its subclass",
        wrong="base.step(read_long_page, website)",
        right="assert_type(base.step(read_page, long_page).returns(long_page), Flow[Site, LongPage])",
        says=Says("PF-E105", "parameter 'page' takes LongPage, but 'website' is Page."),
    ),
    Entry(
        name="a generic model of another type",
        wrong="base.step(read_text_box, boxed)",
        right="assert_type(base.step(read_box, boxed).returns(boxed), Flow[Site, Box[int]])",
        says=Says("PF-E105", "parameter 'given' takes Box[str], but 'boxed' is Box[int]."),
    ),
    Entry(
        name="a generic model for what is in it",
        wrong="base.step(read_number, boxed)",
        right="assert_type(base.step(read_box, boxed).returns(read_box), Flow[Site, int])",
        says=Says("PF-E105", "parameter 'number' takes int, but 'boxed' is Box[int]."),
    ),
    Entry(
        name="a generic handler given too much",
        wrong="base.step(wrapped, summary, length)",
        right="base.step(wrapped, summary)",
        says=Says("PF-E106", "takes 1 parameter (value), but is given 2 values (summary, length)."),
    ),
    Entry(
        name="Any for a parameter, but one dependency too many",
        wrong="base.step(read_anything, website, summary)",
        right="assert_type(base.step(read_anything, website).returns(read_anything), Flow[Site, str])",
        says=Says("PF-E106", "takes 1 parameter (given), but is given 2 values (website, summary)."),
    ),
    Entry(
        name="an output of Any fits, but not beside a wrong one",
        wrong="base.step(read_site_and_mood, anything, summary)",
        right="assert_type(base.step(read_page, anything).returns(read_page), Flow[Site, str])",
        says=Says("PF-E105", "parameter 'mood' takes Mood, but 'summary' is str."),
    ),
    Entry(
        name="an input full of Any still is one value",
        wrong='Flow("loose", dict[str, Any]).step(read_site_and_mood)',
        right="def read_json(given: dict[str, Any]) -> list[Any]:\n    return list(given)\n"
        'assert_type(Flow("loose", dict[str, Any]).step(read_json).returns(read_json), Flow[dict[str, Any], list[Any]])',
        says=Says("PF-E106", "takes 2 parameters (site, mood), but is given 1 value (the run's input)."),
    ),
)
