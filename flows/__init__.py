"""Orchestration: which architectures run where, resumed and watched; thin shells over the plain functions of the other rooms.

Importing this package needs neither Prefect nor torch; `profile` loads them when it is called.
"""

import os
import warnings
from typing import TYPE_CHECKING, Any

from sweetgrad.flows.selection import select_archs

if TYPE_CHECKING:
    from sweetgrad.flows.estimate_run import estimate
    from sweetgrad.flows.evolution import Evolution, evolve
    from sweetgrad.flows.run import ProfileSummary, profile
    from sweetgrad.flows.score import score_network
    from sweetgrad.flows.supernet_run import SupernetSummary, supernet
    from sweetgrad.flows.train_run import TrainSummary, train

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

# Prefect reads these when it is first imported. They are defaults: what the user has set stays.
for _name, _value in {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    # A failed task is reported by us, once, without its traceback; what Prefect and Dask log goes to Prefect's UI alone.
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
    "PREFECT_INTERNAL_LOGGING_LEVEL": "CRITICAL",
}.items():
    os.environ.setdefault(_name, _value)

# It says so at its import. The server of a run has a home of its own, and one that is configured elsewhere needs none here.
warnings.filterwarnings("ignore", message="Failed to create the Prefect home directory")


def __getattr__(name: str) -> Any:
    modules = {
        "Evolution": "evolution",
        "ProfileSummary": "run",
        "SupernetSummary": "supernet_run",
        "TrainSummary": "train_run",
        "estimate": "estimate_run",
        "evolve": "evolution",
        "profile": "run",
        "score_network": "score",
        "supernet": "supernet_run",
        "train": "train_run",
    }
    if name in modules:
        from importlib import import_module

        return getattr(import_module(f"sweetgrad.flows.{modules[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
