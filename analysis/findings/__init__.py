"""Findings beyond the paper: how stable the chosen interval is, which rules choose better; and the page that shows them."""

from sweetgrad.analysis.findings.choosing import GRIDS, Chooser, judge
from sweetgrad.analysis.findings.live import gain_of_live
from sweetgrad.analysis.findings.page import combination_page, findings_page
from sweetgrad.analysis.findings.profiles import read_candidates

__all__ = ["GRIDS", "Chooser", "combination_page", "findings_page", "gain_of_live", "judge", "read_candidates"]
