"""What a flow returns, and the types of flows as a whole."""

from tests.typing.entry import Entry, Says, Unseen

ANNOTATION = Unseen("the flow itself is right; Python does not look at the annotation of a variable")

OUTPUTS = (
    Entry(
        name="the output of another step",
        wrong="_flow: Flow[Site, str] = base.returns(sentiment)",
        right="_flow: Flow[Site, Mood] = base.returns(sentiment)\nassert_type(_flow, Flow[Site, Mood])",
        says=ANNOTATION,
    ),
    Entry(
        name="another input",
        wrong="_flow: Flow[Page, str] = analyze",
        right="_flow: Flow[Site, str] = analyze\nassert_type(_flow.input_type, type[Site])",
        says=ANNOTATION,
    ),
    Entry(
        name="all results of another type",
        wrong="_flow: Flow[Site, list[str]] = base.returns(collect(fetch))",
        right="assert_type(base.returns(collect(fetch)), Flow[Site, list[Page]])",
        says=ANNOTATION,
    ),
    Entry(
        name="a map step without collect as the output",
        wrong="_flow: Flow[Site, list[Page]] = base.returns(fetch)",
        right="_flow: Flow[Site, list[Page]] = base.returns(collect(fetch))",
        says=Says("PF-E108", "Ask for collect(fetch)."),
    ),
    Entry(
        name="an output that may be None",
        wrong="_flow: Flow[Site, str] = base.returns(maybe(ticket))",
        right="assert_type(base.returns(maybe(ticket)), Flow[Site, str | None])",
        says=ANNOTATION,
    ),
    Entry(
        name="all results that may be None",
        wrong="_flow: Flow[Site, list[Page]] = base.returns(maybe(collect(visit)))",
        right="assert_type(base.returns(maybe(collect(visit))), Flow[Site, list[Page] | None])",
        says=ANNOTATION,
    ),
    Entry(
        name="a map step that may be skipped without collect",
        wrong="_flow: Flow[Site, list[Page] | None] = base.returns(maybe(visit))",
        right="_flow: Flow[Site, list[Page] | None] = base.returns(maybe(collect(visit)))",
        says=Says("PF-E108", "Ask for maybe(collect(visit))."),
    ),
    Entry(
        name="a typed dict as the output for a dict",
        wrong="_flow: Flow[Site, dict[str, int]] = base.returns(totals)",
        right="assert_type(base.returns(totals), Flow[Site, Totals])",
        says=ANNOTATION,
    ),
    Entry(
        name="the outputs of all leaf steps for the output of one",
        wrong="_flow: Flow[Site, str] = base",
        right="assert_type(base, Flow[Site, dict[str, Any]])",
        says=ANNOTATION,
    ),
    Entry(
        name="a name instead of the output's step",
        wrong='base.returns("summary")',
        right="assert_type(base.returns(second_summary), Flow[Site, str])",
        says=Says("PF-E118", "Pass the function itself, not its name."),
    ),
    Entry(
        name="a name of a map step in collect",
        wrong='base.returns(collect("fetch"))',
        right="assert_type(base.returns(collect(weigh)), Flow[Site, list[float]])",
        says=Says("PF-E118", "unknown step 'fetch'"),
    ),
    Entry(
        name="a type as the output",
        wrong='base.returns("Page")',
        right="assert_type(base.returns(lookup), Flow[Site, Page | None])",
        says=Says("PF-E118", "unknown step 'Page'"),
    ),
    Entry(
        name="two outputs",
        wrong="base.returns(summary, sentiment)",
        right="def both(note: str, mood: Mood) -> tuple[str, Mood]:\n    return note, mood\n"
        "assert_type(base.step(both, summary, sentiment).returns(both), Flow[Site, tuple[str, Mood]])",
        says=Says("PF-E130", "returns"),
    ),
    Entry(
        name="no output",
        wrong="base.returns()",
        right="def nothing(note: str) -> None: ...\nassert_type(base.step(nothing, summary).returns(nothing), Flow[Site, None])",
        says=Says("PF-E130", "returns"),
    ),
    Entry(
        name="a misspelt method",
        wrong="base.setp(read_site)",
        right="assert_type(base.step(read_site), Flow[Site, dict[str, Any]])",
        says=Says("AttributeError", "setp"),
    ),
)
