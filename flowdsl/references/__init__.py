"""Typed references written from schemas: `pgflow client`, and the checks of values against schemas alone.

`description` says what a flow's callers have to know, `simple` brings its schemas into a form of which models can be made,
`models` has a generator write those, and `file` puts the reference together.
"""
