"""The ``sweetgrad`` program. Each command is a thin shell over a function of the same name in one of the rooms."""

import sys

if not __debug__:
    try:
        import sweetgrad.store  # noqa: F401
    except ImportError as error:
        sys.exit(f"error: {error}")

from sweetgrad.flows.cli.app import main

__all__ = ["main"]
