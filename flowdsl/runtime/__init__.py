"""The worker: claims tasks, runs handlers, hands in results."""
