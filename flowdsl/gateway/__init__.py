"""The only Python that speaks SQL: typed calls, rows, errors, connections."""
