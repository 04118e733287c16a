"""From flows to migrations: shapes are compared, differences become operations, operations become Alembic revisions.

    quoting, source   values as SQL and as Python text
    operations        what a migration does, as data that can be reversed
    diff              two shapes -> operations
    render            operations -> text, through the templates
    revision          the file's place in an Alembic tree
    baseline          what the tree's files say was compiled last
    execute           the function that generated files call

Importing this package loads neither Jinja nor Alembic, since every migration passes through it on its way to `execute`.
"""
