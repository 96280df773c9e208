"""A self-contained HTML report of a store: measurements, intervals, correlations, estimators, figures, provenance."""

from sweetgrad.analysis.report.page import Picture, ProfileReport, StoreReport, collect, render, report

__all__ = ["Picture", "ProfileReport", "StoreReport", "collect", "render", "report"]
