"""The paper's tables again, from stores alone: what was published, our figures beside it, and the page that shows both."""

from sweetgrad.analysis.reproduction.page import reproduction_page
from sweetgrad.analysis.reproduction.ranking import Ranking, rank_sweetimator

__all__ = ["Ranking", "rank_sweetimator", "reproduction_page"]
