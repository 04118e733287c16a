"""References to flows and steps, as `pgflow client` writes them for services that have no handlers."""

from tests.typing.entry import Entry, Says, Unseen
from tests.typing.table.clients import INPUT, OUTPUT

ANNOTATION = Unseen("the reference itself is right; Python does not look at the annotation of a variable")
RUN = "run = await client.start(analyze_ref, Site('x'))\n"

REFERENCES = (
    Entry(
        name="another model for the input",
        wrong="await client.start(analyze_ref, Page(content='x'))",
        right="assert_type(await client.start(analyze_ref, Site('x')), Run[str])",
        says=INPUT,
    ),
    Entry(
        name="several inputs of another type",
        wrong="await client.start_many(analyze_ref, ['x'])",
        right="assert_type(await client.start_many(analyze_ref, [Site('x')]), list[Run[str]])",
        says=INPUT,
    ),
    Entry(
        name="a step instead of the flow",
        wrong="await client.start(sentiment_ref, Site('x'))",
        right="run = await client.start(analyze_ref, Site('x'))\n"
        "assert_type(client.run(analyze_ref, run.run_id), Run[str])",
        says=INPUT,
    ),
    Entry(
        name="the result of another type",
        wrong=RUN + "_number: int = await run.result()",
        right=RUN + "assert_type(await run.result(), str)",
        says=OUTPUT,
    ),
    Entry(
        name="an output of another type",
        wrong=RUN + "_text: str = await run.output(sentiment_ref)",
        right=RUN + "assert_type(await run.output(sentiment_ref), Mood)",
        says=OUTPUT,
    ),
    Entry(
        name="an output that may be None",
        wrong=RUN + "_mood: Mood = await run.output(maybe(sentiment_ref))",
        right=RUN + "assert_type(await run.output(maybe(sentiment_ref)), Mood | None)",
        says=OUTPUT,
    ),
    Entry(
        name="a reference to a flow of another output",
        wrong="_ref: FlowRef[Site, int] = analyze_ref",
        right='assert_type(FlowRef("analyze", Site, list[str]), FlowRef[Site, list[str]])',
        says=ANNOTATION,
    ),
    Entry(
        name="a reference to a flow of another input",
        wrong="_ref: FlowRef[Page, str] = analyze_ref",
        right='assert_type(FlowRef[Site, Mood | None]("analyze", Site, Mood | None), FlowRef[Site, Mood | None])',
        says=ANNOTATION,
    ),
    Entry(
        name="a reference to a step of another output",
        wrong="_ref: StepRef[Page] = sentiment_ref",
        right='assert_type(StepRef("analyze", "links", list[Site]), StepRef[list[Site]])',
        says=ANNOTATION,
    ),
    Entry(
        name="a number for the flow's name",
        wrong="FlowRef(7, Site, str)",
        right='FlowRef("seven", Site, str, fingerprint=None)',
        says=Says("ConfigError", "'7' cannot name a flow"),
    ),
    Entry(
        name="a reference without the type of the output",
        wrong='FlowRef("analyze", Site)',
        right='FlowRef("analyze", Site, type(None))',
        says=Says("TypeError", "missing 1 required positional argument: 'output'"),
    ),
    Entry(
        name="a step added to a reference",
        wrong="analyze_ref.step(read_site)",
        right="assert_type(analyze.slug == analyze_ref.slug, bool)",
        says=Says("AttributeError", "'FlowRef' object has no attribute 'step'"),
    ),
)
