"""The published format: bins, variables, blocks, specs and digests. Of the rooms of the store, this imports none."""
