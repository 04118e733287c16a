"""Conditions as patterns, and what follows when they are not met or all attempts have failed."""

from tests.typing.entry import Entry, Says

CONDITIONS = (
    Entry(
        name="a text for a pattern",
        wrong='base.step(read_site, when="url")',
        right='base.step(read_site, when={"url": "x"})',
        says=Says("PF-E121", "when='url' is no pattern. Give a dict"),
    ),
    Entry(
        name="a list for a pattern",
        wrong='base.step(read_site, when=["url"])',
        right='base.step(read_site, when={"tags": ["url"]})',
        says=Says("PF-E121", "when=['url'] is no pattern. Give a dict"),
    ),
    Entry(
        name="a set for a pattern",
        wrong='base.array(list_links, website, when={"website"})',
        right='base.array(list_links, website, when={"website": {"content": ""}})',
        says=Says("PF-E121", "when={'website'} is no pattern. Give a dict"),
    ),
    Entry(
        name="a key that is no text",
        wrong='base.step(read_site, when={1: "x"})',
        right='base.step(read_site, when={"url": "1"}, unless={"url": "2"})',
        says=Says("PF-E121", "the key 1 is no text"),
    ),
    Entry(
        name="a value for a pattern",
        wrong='base.step(read_site, unless=Site("x"))',
        right='base.step(read_page, website, unless={"website": {"title": None}})',
        says=Says("PF-E121", "unless=Site(url='x', tags=[]) is no pattern"),
    ),
    Entry(
        name="a truth for a pattern",
        wrong="base.step(read_site, unless=True)",
        right="base.step(read_site, unless=None)",
        says=Says("PF-E121", "unless=True is no pattern"),
    ),
    Entry(
        name="a mode with an underscore",
        wrong='base.step(read_site, when={"url": "x"}, when_unmet="skip_cascade")',
        right='base.step(read_site, when={"url": "x"}, when_unmet="skip-cascade")',
        says=Says("PF-E112", "when_unmet='skip_cascade' is no mode. Did you mean 'skip-cascade'?"),
    ),
    Entry(
        name="half of a mode",
        wrong='base.map(each_link, links, when={"links": []}, when_unmet="cascade")',
        right='base.map(each_link, links, unless={"links": [{"url": "x"}]}, when_unmet="skip")',
        says=Says("PF-E112", "when_unmet='cascade' is no mode. Did you mean 'skip-cascade'?"),
    ),
    Entry(
        name="a truth for a mode",
        wrong='base.step(read_site, when={"url": "x"}, when_unmet=True)',
        right='base.step(read_site, when={"url": "x"}, when_unmet="fail")',
        says=Says("PF-E112", "when_unmet=True is no mode"),
    ),
    Entry(
        name="no mode for failed attempts",
        wrong='base.step(read_site, when_exhausted="retry")',
        right='base.step(read_site, when_exhausted="fail")',
        says=Says("PF-E112", "when_exhausted='retry' is no mode"),
    ),
    Entry(
        name="no mode for failed attempts of an array",
        wrong='base.array(list_links, website, when_exhausted="ignore")',
        right='base.array(list_links, website, when_exhausted="skip")',
        says=Says("PF-E112", "when_exhausted='ignore' is no mode"),
    ),
    Entry(
        name="None for a mode",
        wrong="base.map(each_link, links, when_exhausted=None)",
        right='base.map(each_link, links, when_exhausted="skip-cascade")',
        says=Says("PF-E112", "when_exhausted=None"),
    ),
    Entry(
        name="a misspelt condition",
        wrong='base.step(read_site, whne={"url": "x"})',
        right='base.step(read_site, when={"url": "x"}, when_exhausted="skip")',
        says=Says("PF-E112", "unknown option 'whne'. Did you mean 'when'?"),
    ),
    Entry(
        name="a condition of the output",
        wrong='base.returns(summary, when={"url": "x"})',
        right='assert_type(base.step(read_page, website, when={"run": {"url": "x"}}).returns(maybe(read_page)), Flow[Site, str | None])',
        says=Says("PF-E112", "unknown option 'when'"),
    ),
)
