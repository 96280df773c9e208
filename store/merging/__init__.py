"""One store of several: what goes into it is planned and compared first, then written."""

from sweetgrad.store.merging._merge import MergedProfile, MergeReport, merge

__all__ = ["MergeReport", "MergedProfile", "merge"]
