"""A refusal to be imported where assertions are removed (``python -O``)."""

if not __debug__:
    # `GroupMetadata.from_dict` of zarr pops a key inside an assert.
    raise ImportError(
        "sweetgrad cannot work under `python -O` or PYTHONOPTIMIZE: they remove assertions, by which zarr reads metadata, so "
        "that a sound store would look damaged. Run Python without -O, and unset PYTHONOPTIMIZE."
    )
