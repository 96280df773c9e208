"""The ``sweetgrad`` program. Each command is a thin shell over a function of the same name in one of the rooms."""

from sweetgrad.flows.cli.app import main

__all__ = ["main"]
