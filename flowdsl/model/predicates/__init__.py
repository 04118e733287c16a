"""Predicates: functions over a step's inputs, traced once at definition time into what the database evaluates.

`tracing` calls the function with proxies, `expressions` is what comes of it, `jsonpath` and `words` write it down.
"""
