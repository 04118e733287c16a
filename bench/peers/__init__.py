"""Other systems that keep workflows or queues in PostgreSQL, measured like ours, in an environment of their own.

Nothing here imports flowdsl: these modules run where the peers are installed, and flowdsl is not.
"""
