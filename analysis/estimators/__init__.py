"""Estimators that are derived from what a profile holds, without running a network: a registry of plain functions.

``derived_estimators()`` has all of them by name, those of other packages included (entry-point group
``sweetgrad.derived_estimators``). Each is a function from a Dataset (`open_statistics`) to scores, dims ``(arch,)``.
"""

from sweetgrad.analysis.estimators import combinations, gradients, images, spectra
from sweetgrad.analysis.estimators.combinations import te_nas, te_nas_nobn
from sweetgrad.analysis.estimators.histogram import (
    LossSummary,
    loss_summary,
    params,
    params_live,
    params_weights,
    sweet_grad_abs,
    sweet_grad_norm,
    sweet_grad_sq,
    sweet_gradsign,
    sweet_snip,
    sweet_zico,
)
from sweetgrad.analysis.estimators.registry import (
    DerivedEstimator,
    Figure,
    available,
    derived,
    open_statistics,
    registered_by_others,
)

__all__ = [
    "DerivedEstimator",
    "Figure",
    "LossSummary",
    "available",
    "derived",
    "derived_estimators",
    "loss_summary",
    "open_statistics",
    "params",
    "params_live",
    "params_weights",
    "sweet_grad_abs",
    "sweet_grad_norm",
    "sweet_grad_sq",
    "sweet_gradsign",
    "sweet_snip",
    "sweet_zico",
    "te_nas",
    "te_nas_nobn",
]

BUILT_IN: dict[str, DerivedEstimator] = {
    name: value
    for room in (gradients, images, spectra, combinations)
    for name, value in vars(room).items()
    if isinstance(value, DerivedEstimator)
}
"""Estimators of sweetgrad, by name."""


def derived_estimators() -> dict[str, DerivedEstimator]:
    """All derived estimators by name: those of sweetgrad, then those that other packages registered.

    Raises
    ------
    ValueError
        As in `registered_by_others`.
    """
    return {**BUILT_IN, **registered_by_others()}
