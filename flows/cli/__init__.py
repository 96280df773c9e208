"""The ``sweetgrad`` program. Each command is a thin shell over a function of the same name in one of the rooms."""

import sys

try:
    from sweetgrad.flows.cli.app import main
except ImportError as error:
    if __debug__:
        raise
    sys.exit(f"error: {error}")  # `python -O`, which sweetgrad.store refuses

__all__ = ["main"]
