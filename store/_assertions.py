"""Raise on import if assertions are disabled (``python -O``)."""

if not __debug__:
    # `GroupMetadata.from_dict` of zarr pops a key inside an assert.
    raise ImportError(
        "sweetgrad does not work under `python -O` or PYTHONOPTIMIZE: they remove assertions, on which zarr relies to read "
        "metadata, so an intact store would look damaged. Run Python without -O, and unset PYTHONOPTIMIZE."
    )
