"""Crash proofs that ship: flows under load while workers, connections and the server are killed, and a verdict at the end."""
