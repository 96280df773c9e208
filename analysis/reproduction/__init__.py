"""The paper's tables, reproduced from stores and compared with the published figures."""

from sweetgrad.analysis.reproduction.page import reproduction_page
from sweetgrad.analysis.reproduction.ranking import Ranking, rank_sweetimator

__all__ = ["Ranking", "rank_sweetimator", "reproduction_page"]
