"""One flow with ten mistakes."""

from news import Site, archive, count, fetch, judge, links, report, website

from flowdsl import Flow, collect, maybe, named

news = (
    Flow("daily news", Site, max_atempts=5)
    .step(website, timeout="30")
    .array(links, "website")
    .map(fetch, links)
    .step(count, fetch)
    .step(judge, collect(website))
    .step(report, judge, Site)
    .step(named("again", report), maybe(Site), judge)
    .step(archive, website)
    .returns("count")
)
