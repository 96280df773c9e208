"""One store of several: what goes into it is planned and compared first, then written."""

from sweetgrad.store.merging._merge import MergeReport, merge
from sweetgrad.store.merging._plan import MergedProfile

__all__ = ["MergeReport", "MergedProfile", "merge"]
