"""The explorer: one self-contained HTML page to look around in a store, with two thresholds to drag."""

from sweetgrad.analysis.explorer.data import ProfilePage, collect
from sweetgrad.analysis.explorer.page import explore, render

__all__ = ["ProfilePage", "collect", "explore", "render"]
