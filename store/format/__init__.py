"""The published format: bins, variables, blocks, specs and digests. It imports no other package of the store."""
