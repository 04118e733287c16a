"""Benchmarks that ship: what a step, a start, a fan-out and a backlog cost on a server, measured in a database made for it."""
