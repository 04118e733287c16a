"""Starting runs and reading their outputs: the values are checked again when they are sent, with a database at hand."""

from tests.typing.entry import Entry, Unseen

INPUT = Unseen("a run is no definition: `start` validates the input when it is called")
OUTPUT = Unseen("what a caller does with an output is none of the flow's business")
RUN = "run = await client.start(analyze, Site('x'))\n"


def _client(name: str, wrong: str, right: str, says: Unseen) -> Entry:
    return Entry(name=name, wrong=wrong, right=right, says=says)


CLIENTS = (
    _client(
        "another model for the input",
        "await client.start(analyze, Page(content='x'))",
        "assert_type(await client.start(analyze, Site('x')), Run[str])",
        INPUT,
    ),
    _client(
        "a dict for the input",
        "await client.start(analyze, {'url': 'x'})",
        "counted = Flow('counted', dict[str, int]).step(read_counts).returns(read_counts)\n"
        "assert_type(await client.start(counted, {'url': 1}), Run[int])",
        INPUT,
    ),
    _client(
        "a text for a list of texts",
        "await client.start(texts, 'a text')",
        "assert_type(await client.start(texts, ['a text']), Run[dict[str, Any]])",
        INPUT,
    ),
    _client(
        "no input",
        "await client.start(analyze)",
        "run = await client.start(analyze, Site('x'))\nassert_type(await run.result(), str)",
        INPUT,
    ),
    _client(
        "a name instead of the flow",
        "await client.start('analyze', Site('x'))",
        "assert_type(await client.start(base, Site('x')), Run[dict[str, Any]])",
        INPUT,
    ),
    _client(
        "one input for several",
        "await client.start_many(analyze, Site('x'))",
        "assert_type(await client.start_many(analyze, [Site('x'), Site('y')]), list[Run[str]])",
        INPUT,
    ),
    _client(
        "several inputs of another type",
        "await client.start_many(analyze, [Page(content='x')])",
        "runs = await client.start_many(analyze, (Site('x'),))\nassert_type(await runs[0].result(), str)",
        INPUT,
    ),
    _client(
        "the result of another type",
        RUN + "_number: int = await run.result()",
        RUN + "_text: str = await run.result()\nassert_type(_text, str)",
        OUTPUT,
    ),
    _client(
        "a result that may be None",
        "run = await client.start(base.returns(maybe(ticket)), Site('x'))\n_text: str = await run.result()",
        "run = await client.start(base.returns(maybe(ticket)), Site('x'))\nassert_type(await run.result(), str | None)",
        OUTPUT,
    ),
    _client(
        "a text for the time to wait",
        RUN + "await run.result(timeout='1m')",
        RUN + "assert_type(await run.result(timeout=timedelta(minutes=1)), str)",
        OUTPUT,
    ),
    _client(
        "an output of another type",
        RUN + "_number: int = await run.output(sentiment)",
        RUN + "assert_type(await run.output(sentiment), Mood)",
        OUTPUT,
    ),
    _client(
        "the output of a sync step of another type",
        RUN + "_number: int = await run.output(summary)",
        RUN + "assert_type(await run.output(summary), str)",
        OUTPUT,
    ),
    _client(
        "all results for one of them",
        RUN + "_page: Page = await run.output(collect(fetch))",
        RUN + "assert_type(await run.output(collect(fetch)), list[Page])",
        OUTPUT,
    ),
    _client(
        "an output that may be None",
        RUN + "_text: str = await run.output(maybe(ticket))",
        RUN + "assert_type(await run.output(maybe(ticket)), str | None)",
        OUTPUT,
    ),
    _client(
        "all results that may be None",
        RUN + "_pages: list[Page] = await run.output(maybe(collect(visit)))",
        RUN + "assert_type(await run.output(maybe(collect(visit))), list[Page] | None)",
        OUTPUT,
    ),
    _client(
        "the output of a method of another type",
        RUN + "_text: str = await run.output(archive.store)",
        RUN + "assert_type(await run.output(archive.store), int)",
        OUTPUT,
    ),
    _client(
        "the output of a named step of another type",
        RUN + "_number: int = await run.output(second_summary)",
        RUN + "assert_type(await run.output(second_summary), str)",
        OUTPUT,
    ),
    _client(
        "a name instead of the step",
        RUN + "await run.output('sentiment')",
        RUN + "assert_type(await run.output(boxed), Box[int])",
        OUTPUT,
    ),
    _client(
        "an old run taken for another flow's",
        RUN + "_run: Run[int] = client.run(analyze, run.run_id)",
        RUN + "assert_type(client.run(analyze, run.run_id), Run[str])",
        OUTPUT,
    ),
)
