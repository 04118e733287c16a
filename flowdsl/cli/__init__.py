"""The `pgflow` command: thin commands that parse, call one function of the layers below, and print."""
