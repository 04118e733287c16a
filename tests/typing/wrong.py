"""Each line marked E is one mistake; a checker must report every one of them, and nothing else."""

from datetime import timedelta

from good import (
    Mood,
    Page,
    Site,
    annotate,
    archive,
    careful,
    count,
    double,
    escalate,
    fetch,
    flow,
    follow_up,
    judge,
    links,
    merge,
    pages,
    rank,
    repeat,
    save,
    second_summary,
    sentiment,
    shout,
    shouted,
    sum_up,
    summary,
    ten,
    ten_of_map,
    ticket,
    triple,
    website,
    weigh,
    words,
)

from flowdsl import Context, Flow, collect, maybe, named
from flowdsl.client import Client

f = Flow("analyze", Site)
w = Flow("words", list[str])

# wiring
f.step(sentiment)  # E a root step takes Site, not Page
f.step(sentiment, links)  # E list[Site] into Page
f.step(sentiment, summary)  # E str (sync) into Page
f.step(escalate, sentiment, Site)  # E swapped
f.step(escalate, Site)  # E a dependency is missing
f.step(sentiment, website, Site)  # E one dependency too many
f.step(save, Site, summary, fetch)  # E Page into str | None
f.step(merge, fetch, sentiment)  # E collect(...) forgotten
f.step(merge, collect(summary), sentiment)  # E list[str] into list[Page]
f.step(save, Site, escalate, escalate)  # E str | None into str
f.step(sentiment, second_summary)  # E a named step gives what its function gives
f.step(named("again", sentiment), summary)  # E a named handler takes what its function takes
f.step(sentiment, triple)  # E float (partial) into Page
f.step(sentiment, archive.store)  # E int (method) into Page
f.step(sentiment, archive)  # E str (callable object) into Page
f.step(count, rank, count)  # E a typed dict into str
f.step(sentiment, Mood)  # E another class than the input type
f.step(sentiment, "website")  # E a name instead of the function
f.step("website")  # E a name instead of the handler
f.step(links, collect(website))  # E list[Page] into Page
f.step(ten, double, double, double, double, double, double, double, double, double, double)  # E int into str, the tenth
w.step(shout)  # E the whole list into a str
f.step(website, list[str])  # E list[str] is not the input type of a handler that takes Site

# maps and arrays
f.map(fetch, website)  # E map over something that is no list
f.map(shout, summary)  # E map over a str
f.map(sentiment, links)  # E wrong element type
f.map(fetch, fetch)  # E map over a map step without collect
f.map(weigh, links)  # E the second dependency is missing
f.map(weigh, links, summary)  # E str into Mood
f.map(double, collect(fetch))  # E list[Page] into int
f.map(fetch)  # E root map over something that is no list
w.map(fetch)  # E root map with the wrong element type
w.map(repeat, list[str], summary)  # E str into int
f.map(shout, Site)  # E map over an input type that is no list
f.map(ten_of_map, words, double, double, double, double, double, double, double, double, double)  # E int into str
Flow("letters", str).map(shout)  # E root map over a str
f.array(website)  # E an array step must return a list
f.array(summary, website)  # E an array step must return a list (sync)
f.array(links, summary)  # E str into Page

# options
f.step(website, timeuot=3)  # E misspelt option
f.step(website, timeout="3")  # E no duration
f.step(website, timeout=2.5)  # E no whole seconds
f.step(website, retry_on=["TimeoutError"])  # E names instead of classes
f.step(website, retry_on=TimeoutError)  # E one class instead of several
f.step(website, queue=7)  # E no name
f.step(website, priority="high")  # E no number
f.step(website, max_attempts=timedelta(1))  # E a duration is no number of attempts
Flow("analyze", Site, deadline="1h")  # E no duration
Flow("analyze", Site, deadline=1.5)  # E no whole seconds
f.step(sentiment, website, 30)  # E options have names
Flow("analyze", Site, 3)  # E options have names
Flow("analyze", Site, retries=3)  # E misspelt option
Flow("analyze")  # E no input type
Flow("analyze", Site("x"))  # E a value instead of a type

# conditions
f.step(website, when="url")  # E a text instead of a pattern
f.step(website, when=["url"])  # E a list instead of a pattern
f.step(website, when={1: "x"})  # E keys are texts
f.step(website, unless=Site("x"))  # E a value instead of a pattern
f.step(website, unless=True)  # E a truth instead of a pattern
f.array(words, website, when={"website"})  # E a set instead of a pattern
f.map(fetch, links, unless=fetch)  # E a function instead of a pattern
f.step(website, when={}, when_unmet="skip_cascade")  # E no mode
f.step(website, when={}, when_unmet="cascade")  # E no mode
f.step(website, when={}, when_unmet=True)  # E no mode
f.step(website, when_exhausted="retry")  # E no mode
f.array(words, website, when_exhausted="ignore")  # E no mode
f.map(fetch, links, when_exhausted=None)  # E no mode
f.step(website, whne={"url": "x"})  # E misspelt option
f.returns(ticket, when={"url": "x"})  # E an output has no condition

# what may be skipped
f.step(sentiment, maybe(website))  # E Page | None into Page
f.step(ticket, maybe(judge))  # E Mood | None into Mood
f.step(merge, maybe(collect(fetch)), sentiment)  # E list[Page] | None into list[Page]
f.step(sum_up, maybe(fetch), follow_up)  # E collect(...) forgotten
f.step(sum_up, collect(maybe(fetch)), follow_up)  # E collect and maybe the wrong way round
f.step(follow_up, maybe(judge), maybe(ticket))  # E Mood | None into Mood
f.step(follow_up, judge, maybe(sentiment))  # E Mood | None into str | None
f.step(save, Site, maybe(summary), maybe(escalate))  # E str | None into str
f.map(fetch, maybe(links))  # E map over something that may be None
f.map(fetch, maybe(pages))  # E map over something that may be None (sync)
f.map(annotate, links, maybe(sentiment))  # E Mood | None into str | None
f.map(weigh, links, maybe(sentiment))  # E Mood | None into Mood
f.array(words, maybe(website))  # E Page | None into Page
f.step(sentiment, maybe("website"))  # E a name instead of the handler

# outputs
wrong_maybe: Flow[Site, str] = f.returns(maybe(ticket))  # E str | None, not str
wrong_maybes: Flow[Site, list[Page]] = careful  # E list[Page] | None, not list[Page]
wrong_each: Flow[Site, list[Page] | None] = f.returns(maybe(fetch))  # E collect(...) forgotten
wrong_output: Flow[Site, str] = f.returns(sentiment)  # E Mood, not str
wrong_input: Flow[Page, bool] = flow  # E the input is Site
wrong_list: Flow[Site, list[str]] = f.returns(collect(fetch))  # E list[Page], not list[str]
wrong_map: Flow[Site, list[Page]] = f.returns(fetch)  # E collect(...) forgotten
f.returns("save")  # E a name instead of the handler
shouted.returns(collect("shout"))  # E a name instead of the handler


def late(ctx: Context, page: Page) -> str:
    return page.content


f.step(late, website)  # E a Context comes last


async def use(client: Client) -> tuple[int, Page, str, str]:
    await client.start(flow, Page(content="x"))  # E wrong run input
    await client.start(flow, {"url": "x"})  # E a dict is no input of that type
    await client.start(shouted, "a text")  # E a str is no list of str
    await client.start(flow)  # E no input
    await client.start("analyze", Site("x"))  # E a name instead of the flow
    await client.start_many(flow, Site("x"))  # E one input instead of several
    run = await client.start(flow, Site("x"))
    note: str = await run.output(maybe(summary))  # E str | None into str
    number: int = await run.output(sentiment)  # E Mood into int
    page: Page = await run.output(collect(fetch))  # E list[Page] into Page
    text: str = await run.result()  # E bool into str
    await run.output("sentiment")  # E a name instead of the handler
    return number, page, text, note
