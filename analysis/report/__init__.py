"""One self-contained page about a store: what was measured and how, intervals, correlations, estimators, pictures, provenance."""

from sweetgrad.analysis.report.content import Picture, ProfileReport, StoreReport, collect
from sweetgrad.analysis.report.page import render, report

__all__ = ["Picture", "ProfileReport", "StoreReport", "collect", "render", "report"]
