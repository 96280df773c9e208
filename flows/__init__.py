"""Orchestration: which architectures run where, resumed and watched; thin shells over the plain functions of the other rooms.

Importing this package needs neither Prefect nor torch; `profile` and the others load them when they are called.
"""

import os
import warnings

from sweetgrad.flows.estimate import estimate
from sweetgrad.flows.evolve import Evolution, evolve
from sweetgrad.flows.profile import ProfileSummary, profile
from sweetgrad.flows.score import score_network
from sweetgrad.flows.selection import select_archs
from sweetgrad.flows.supernet import SupernetSummary, supernet
from sweetgrad.flows.train import TrainSummary, train

__all__ = [
    "Evolution",
    "ProfileSummary",
    "SupernetSummary",
    "TrainSummary",
    "estimate",
    "evolve",
    "profile",
    "score_network",
    "select_archs",
    "supernet",
    "train",
]

# Prefect reads these when it is first imported. They are defaults: the user's settings take precedence.
for _name, _value in {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    # A failed task is reported by us, once, without its traceback; what Prefect and Dask log goes to Prefect's UI alone.
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
    "PREFECT_INTERNAL_LOGGING_LEVEL": "CRITICAL",
}.items():
    os.environ.setdefault(_name, _value)

# Prefect warns about it at import. The server of a run has a home of its own, and a configured one needs none here.
warnings.filterwarnings("ignore", message="Failed to create the Prefect home directory")
