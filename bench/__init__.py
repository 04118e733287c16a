"""Benchmarks: figures with the way they were measured."""
