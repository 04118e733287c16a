"""The SQL engine, as package data, and the manifest that puts it in order."""
