"""Executors that run handlers on a cluster: Dask (`flowdsl[dask]`) and Ray (`flowdsl[ray]`).

A cluster is no more than a place to call functions in. What is done, retried and waited for stays in the database, so a
cluster may be lost at any time: its calls become failed attempts, and the worker goes on.
"""
