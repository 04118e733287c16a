"""A condition is written with `and`, which the database never sees."""

from news import Site, judge, report, website

from flowdsl import Flow

news = (
    Flow("news", Site)
    .step(website)
    .step(judge, website)
    .step(report, Site, judge, when=lambda site, mood: mood.score > 0.5 and mood.label != "spam")
)
