"""The published format: create a store, write its shards, open it, verify it. Needs neither torch nor Prefect."""

import lazy_loader

import sweetgrad.store._assertions  # noqa: F401  (first: it refuses to go on without them)

# The names stand in `__init__.pyi`. `sweetgrad --help` imports this package, and must not wait for zarr, xarray and pandas.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
