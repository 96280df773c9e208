"""What the stored counts say beyond the paper, and the page that tells it: how stable the choice is, and what chooses better."""

from sweetgrad.analysis.findings.choosing import GRIDS, Chooser, judge
from sweetgrad.analysis.findings.live import gain_of_live
from sweetgrad.analysis.findings.page import findings_page
from sweetgrad.analysis.findings.profiles import read_candidates

__all__ = ["GRIDS", "Chooser", "findings_page", "gain_of_live", "judge", "read_candidates"]
