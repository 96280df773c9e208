"""The ``sweetgrad`` program. Each command is a thin shell over a function of the same name in one of the rooms."""

import sys

if not __debug__:
    try:
        import sweetgrad.store  # noqa: F401
    except ImportError as error:
        sys.exit(f"error: {error}")

try:
    import dask  # noqa: F401
except Exception as error:
    # It reads its configuration when it is imported, and raises whatever a parser raises.
    words = " ".join(str(error).split())
    sys.exit(
        f"error: Dask's configuration cannot be read ({type(error).__name__}: {words}). Correct or remove the YAML files in "
        "~/.config/dask, /etc/dask or $DASK_CONFIG, and DASK_… in the environment."
    )

from sweetgrad.flows.cli.app import main

__all__ = ["main"]
